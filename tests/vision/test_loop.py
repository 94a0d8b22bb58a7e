"""The loop with a source that hangs in native code: replaced, and given up in the end."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from tests.vision.shown import Shown
from vision.analyser import Analyser
from vision.config import CameraConfig
from vision.events import MessageDecoder, Sample, Stop, encode
from vision.link import Link
from vision.loop import MOST_ABANDONED, Around, CameraLoop
from vision.postprocess import Detections
from vision.zones import BAD_NOT_CONNECTED, GOOD

CONFIG = CameraConfig.model_validate(
    {
        "name": "cam",
        "source": "clip.avi",
        "analyse_fps": 20,
        "memory_mb": 100_000,  # the process of all tests is larger than a camera's may be
        "zone": [{"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}],
    }
)


PICTURE = np.zeros((50, 100, 3), np.uint8)


def detect(_: np.ndarray, __: float) -> tuple[Detections, np.ndarray]:
    """Three people in a view full of contrast that is never the same."""
    boxes = np.array([[10, 5, 20, 40], [40, 5, 50, 40], [70, 5, 80, 40]], np.float32)
    pixels = np.random.default_rng().integers(0, 255, (8, 8), np.uint8)
    return Detections(boxes, np.full(3, 0.9, np.float32)), pixels


def test_readers_that_hang_are_replaced_and_given_up_in_the_end() -> None:
    ours, theirs = socket.socketpair()
    opened: list[Shown] = []

    def hanging() -> Shown:
        opened.append(Shown(None, alive_ns=-(10**12)))
        return opened[-1]

    with ours:
        link = Link(theirs.detach())
        loop = CameraLoop(link, CONFIG, Analyser(CONFIG, detect, start_ns=0), hanging, Around())
        with pytest.raises(RuntimeError, match="hang in native code"):
            loop.run()
        samples = MessageDecoder().feed(ours.recv(65536))
        link.close()
    assert len(opened) == MOST_ABANDONED + 1
    assert [source.closed for source in opened] == [True] * (MOST_ABANDONED + 1)
    assert any(isinstance(sample, Sample) and sample.quality != GOOD for sample in samples)


def test_samples_flow_until_stop() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(120)
        analyser = Analyser(CONFIG, detect, start_ns=0)
        link = Link(theirs.detach())
        loop = CameraLoop(link, CONFIG, analyser, lambda: Shown(PICTURE), Around())
        thread = threading.Thread(target=loop.run)
        thread.start()
        decoder = MessageDecoder()
        samples: list[Sample] = []
        while not any(sample.quality == GOOD for sample in samples):
            received = decoder.feed(ours.recv(65536))
            samples += [message for message in received if isinstance(message, Sample)]
        ours.sendall(encode(Stop()))
        thread.join(120)
        assert not thread.is_alive()
        link.close()
    assert samples[-1].counts == [3]
    assert BAD_NOT_CONNECTED not in {sample.quality for sample in samples}


def test_a_process_that_grows_beyond_its_budget_ends_with_one_sentence() -> None:
    """200 MB is less than Python with all it loads here; the real default is 800."""
    ours, theirs = socket.socketpair()
    config = CONFIG.model_copy(update={"memory_mb": 1})
    with ours:
        link = Link(theirs.detach())
        analyser = Analyser(config, detect, start_ns=0)
        loop = CameraLoop(link, config, analyser, lambda: Shown(PICTURE), Around())
        with pytest.raises(RuntimeError, match=r"it uses \d+ MB of memory, memory_mb allows 1"):
            loop.run()
        link.close()

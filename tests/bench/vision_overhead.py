"""What the vision pipeline costs beyond decoding and bare onnxruntime, on the same frames.

For each frame, in one process and on one thread, three things are timed one after the other:
(a) decoding it to a picture, (b) the network alone on the tensor of this very frame, prepared
before, (c) everything that the camera's process does with it: decoding, letterbox, network, boxes,
suppression, view watch, tracking, zones. CPU time counts, not wall time, so that other load
disturbs less. Frame by frame pairs them closely, and the order of (b) and (c) alternates, so that
drift and warm caches fall on both. A round is all frames once; the median of the rounds' ratios is
reported.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vision.analyser import Analyser
from vision.config import DEFAULT_MODEL, CameraConfig
from vision.detector import STEP, Detector
from vision.frames import Frame, Image
from vision.manifest import read_model
from vision.preprocess import Letterbox, Preprocessor

FPS = 4.0
CAMERA = CameraConfig.model_validate(
    {
        "name": "bench",
        "source": "clip",
        "analyse_fps": FPS,
        "zone": [
            {"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]},
            {
                "name": "hot-work-1",
                "polygon": [[0.3, 0.34], [0.88, 0.34], [0.88, 0.66], [0.3, 0.66]],
                "max_people": 6,
            },
        ],
    }
)


@dataclass(frozen=True, slots=True)
class Overhead:
    """CPU milliseconds a frame (medians of the rounds) and the ratio of each round, less one."""

    decode_ms: float
    network_ms: float
    pipeline_ms: float
    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the rounds' ratios."""
        return statistics.median(self.ratios)


class _Stopwatch:
    """CPU time of this process, in three sums."""

    def __init__(self) -> None:
        self.sums_ns = [0, 0, 0]
        self._begin = 0

    def start(self) -> None:
        self._begin = time.process_time_ns()

    def stop(self, part: int) -> None:
        self.sums_ns[part] += time.process_time_ns() - self._begin


def measure(clip: Path, count: int, rounds: int) -> Overhead:
    """Measure the clip's first `count` frames, `rounds` times after one round to warm up."""
    cv2.setNumThreads(1)
    detector = Detector(read_model(DEFAULT_MODEL))
    tensors = _tensors(clip, count)
    _round(clip, tensors[: min(10, count)], detector)
    parts = [_round(clip, tensors, detector) for _ in range(rounds)]
    decode, network, pipeline = (statistics.median(p[i] for p in parts) for i in range(3))
    ratios = tuple(whole / (decoding + bare) - 1 for decoding, bare, whole in parts)
    return Overhead(decode, network, pipeline, ratios)


def _round(
    clip: Path, tensors: list[npt.NDArray[np.float32]], detector: Detector
) -> tuple[float, float, float]:
    """CPU milliseconds a frame of decoding, network alone, whole pipeline."""
    watch = _Stopwatch()
    alone, whole = _pictures(clip), _pictures(clip)
    analyser = Analyser(CAMERA, detector.look, start_ns=0)
    for index, tensor in enumerate(tensors):
        watch.start()
        next(alone)
        watch.stop(0)
        for part in (1, 2) if index % 2 else (2, 1):
            watch.start()
            if part == 1:
                detector.infer(tensor)
            else:
                now_ns = round(index * 1e9 / FPS)
                frame = Frame(next(whole), index, now_ns, now_ns, index == 0)
                analyser.feed(frame, now_ns=now_ns)
            watch.stop(part)
    decoding, network, pipeline = (total / 1e6 / len(tensors) for total in watch.sums_ns)
    return decoding, network, pipeline


def _tensors(clip: Path, count: int) -> list[npt.NDArray[np.float32]]:
    given = read_model(DEFAULT_MODEL).manifest.input
    assert given is not None
    shape = Letterbox(step=STEP)
    preprocessor = Preprocessor(given.side, given.mean, given.deviation, shape)
    pictures = _pictures(clip)
    return [preprocessor.feed(next(pictures)).copy() for _ in range(count)]


def _pictures(clip: Path) -> Iterator[Image]:
    """Decode frame by frame into one reused picture, on one thread."""
    capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    picture = None
    while capture.grab():
        picture = np.asarray(capture.retrieve(picture)[1], np.uint8)
        yield picture
    capture.release()
    raise SystemExit(f"{clip} has too few frames")

"""The judgement of one camera without thread, clock or model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from vision.analyser import VIEW_NS, Analyser, Output, ViewChange
from vision.config import CameraConfig
from vision.frames import Frame, LinkState
from vision.health import View, ViewWatch
from vision.link_watch import STARTUP_NS, LinkChange
from vision.postprocess import Detections
from vision.zones import BAD_CANNOT_JUDGE, BAD_NOT_CONNECTED, BAD_WAITING, GOOD, Headcount

CONFIG = CameraConfig.model_validate(
    {
        "name": "cam",
        "source": "clip.avi",
        "frozen_s": 20,
        "motion_floor_s": 0,
        "zone": [{"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}],
    }
)
S = 1_000_000_000
NOISE = np.random.default_rng(3)


class Rig:
    """An analyser that always finds two people, and a view that the test chooses."""

    def __init__(self) -> None:
        self.pixels: np.ndarray | None = None
        self.number = 0
        self.analyser = Analyser(CONFIG, self.detect, start_ns=0)

    def detect(self, _: np.ndarray, __: float) -> tuple[Detections, np.ndarray]:
        boxes = np.array([[10, 10, 20, 40], [60, 10, 70, 40]], np.float32)
        pixels = NOISE.integers(0, 255, (24, 24), np.uint8) if self.pixels is None else self.pixels
        return Detections(boxes, np.array([0.9, 0.8], np.float32)), pixels

    def feed(self, now_ns: int) -> list[Output]:
        frame = Frame(
            np.zeros((50, 100, 3), np.uint8), self.number, now_ns, now_ns, not self.number
        )
        self.number += 1
        return self.analyser.feed(frame, now_ns=now_ns)


def samples(outputs: list[Output]) -> list[Headcount]:
    return [output for output in outputs if isinstance(output, Headcount)]


def others(outputs: list[Output]) -> list[Output]:
    return [output for output in outputs if not isinstance(output, Headcount)]


def test_good_counts_once_a_second() -> None:
    rig = Rig()
    outputs = [output for tick in range(1, 13) for output in rig.feed(tick * S // 4)]
    assert outputs == [Headcount((2,), GOOD)] * 3
    assert rig.analyser.analysed_fps(3 * S) == 4.0


def test_waiting_then_lost_when_no_first_frame_comes() -> None:
    rig = Rig()
    opening = LinkState(None, 0, "")
    assert rig.analyser.tick(opening, S) == [Headcount((None,), BAD_WAITING)]
    assert others(rig.analyser.tick(opening, STARTUP_NS)) == []
    outputs = rig.analyser.tick(opening, STARTUP_NS + 1)
    assert others(outputs) == [LinkChange(lost=True, reason="no first frame yet")]


def test_an_open_that_failed_is_told_at_once() -> None:
    outputs = Rig().analyser.tick(LinkState(None, 0, "wrong login"), S)
    assert outputs == [LinkChange(True, "wrong login"), Headcount((None,), BAD_NOT_CONNECTED)]


def test_stale_frames_make_the_count_bad_at_stale_s_and_not_before() -> None:
    rig = Rig()
    rig.feed(S // 2)
    link = LinkState(S // 2, 0, "")
    assert samples(rig.analyser.tick(link, S // 2 + 5 * S)) == [Headcount((2,), GOOD)]
    outputs = rig.analyser.tick(link, S // 2 + 5 * S + 1)
    assert others(outputs) == [LinkChange(True, "no new frame for 5 s")]
    assert samples(rig.analyser.tick(link, 7 * S)) == [Headcount((None,), BAD_NOT_CONNECTED)]
    assert others(rig.analyser.tick(link, 8 * S)) == []
    assert rig.feed(9 * S)[0] == LinkChange(lost=False, reason="")
    assert samples(rig.analyser.tick(LinkState(9 * S, 0, ""), 10 * S)) == [Headcount((2,), GOOD)]


def test_a_black_view_is_not_judged_at_once_and_told_when_it_lasts() -> None:
    rig = Rig()
    rig.feed(S // 2)
    rig.pixels = np.full((24, 24), 7, np.uint8)
    assert rig.feed(S) == [Headcount((None,), BAD_CANNOT_JUDGE)]
    assert others(rig.feed(S + VIEW_NS - 1)) == []
    assert others(rig.feed(S + VIEW_NS)) == [ViewChange(View.BLACK)]
    rig.pixels = None
    assert others(rig.feed(4 * S)) == [ViewChange(View.CLEAR)]
    assert rig.analyser.counts == (2,)


def test_a_picture_that_never_changes_is_frozen() -> None:
    watch = ViewWatch(20.0)
    pixels = NOISE.integers(0, 255, (24, 24), np.uint8)
    assert watch.feed(pixels, 0) is View.CLEAR
    assert watch.feed(pixels.copy(), 20 * S - 1) is View.CLEAR
    assert watch.feed(pixels, 20 * S) is View.FROZEN
    assert watch.feed(pixels + 1, 21 * S) is View.CLEAR
    assert ViewWatch(0.0).feed(pixels, 10**18) is View.CLEAR


def _scene(seed: int) -> npt.NDArray[np.uint8]:
    """Thirty things on a wall."""
    rng = np.random.default_rng(seed)
    wall = np.full((240, 320), 90, np.uint8)
    for _ in range(30):
        down, across = rng.integers(0, 220), rng.integers(0, 300)
        high, wide = rng.integers(8, 60, 2)
        wall[down : down + high, across : across + wide] = rng.integers(20, 230)
    return wall


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("garbled", [2, 6, 8, 20])
def test_garbled_pictures_are_not_learned_as_the_view(seed: int, garbled: int) -> None:
    """A stream that starts on a bad line: the true view was told as moved, for good."""
    rng, watch = np.random.default_rng(seed), ViewWatch(30.0)
    clean = _scene(seed)

    def feed(picture: npt.NDArray[np.uint8], at_s: int) -> View:
        noise = rng.integers(-3, 4, picture.shape)
        return watch.feed(np.clip(picture + noise, 0, 255).astype(np.uint8), at_s * S)

    for at_s in range(garbled):
        feed(_scene(1_000 * (seed + 1) + at_s) if rng.random() < 0.7 else clean, at_s)
    said = [feed(clean, at_s) for at_s in range(garbled, garbled + 60)]
    assert set(said) == {View.CLEAR}
    other = [feed(_scene(7_777), at_s) for at_s in range(garbled + 60, garbled + 70)]
    assert other[-1] is View.MOVED


def test_where_somebody_could_be_recognised_is_known_of_every_frame() -> None:
    """Of a judged frame, of one whose view is unfit (nobody counts in it), and not of another."""
    rig = Rig()
    rig.feed(S)
    judged = list(rig.analyser.recognisable)
    assert len(judged) == 2
    rig.pixels = np.zeros((24, 24), np.uint8)  # black
    rig.feed(2 * S)
    assert rig.analyser.tracks == []
    unfit = rig.analyser.recognisable
    assert len(unfit) == 4  # where they were, and what was found in it anyway
    first = Frame(np.zeros((50, 100, 3), np.uint8), 9, 3 * S, 3 * S, True)
    rig.pixels = None
    rig.analyser.feed(first, now_ns=3 * S)
    assert list(rig.analyser.recognisable) == judged

"""The clock on a picture: read, judged, and never judged where it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.clips import find_clip
from tests.vision.bends import Image
from tests.vision.clocks import FACES, FORMAT, region, with_clock, written
from vision.clock_face import Line, find, read
from vision.clock_format import ClockFormatError, groups
from vision.clock_watch import Clock, ClockChange, ClockWatch, region_of
from vision.config import ClockConfig

START_S = 1_795_000_000  # 2026-11-18
STEP_NS = 1_000_000_000


@pytest.fixture(scope="module")
def scene() -> list[Image]:
    """Pictures of a street with people."""
    path = find_clip()
    assert path is not None, "vtest.avi is missing: run `make peers`"
    capture = cv2.VideoCapture(str(path))
    images = [np.asarray(capture.read()[1], np.uint8) for _ in range(150)]
    capture.release()
    return images[::3]


def clock(face: str, high: float, scene: list[Image], **changes: object) -> ClockConfig:
    """A clock where `with_clock` writes one."""
    box = region(written(START_S), face, high, scene[0].shape)
    return ClockConfig.model_validate({"region": box, **changes})


def run(watch: ClockWatch, frames: Iterator[tuple[Image, float]]) -> list[tuple[int, ClockChange]]:
    """Changes with the number of the frame; frames: picture and the gateway's time, one a second.

    The line is looked for a step a frame: so many frames go by for each.
    """
    said = []
    for number, (image, wall_s) in enumerate(frames):
        change = watch.feed(image, round(wall_s * 1e9), number * STEP_NS)
        if change is not None:
            said.append((number, change))
    return said


def shown(
    scene: list[Image], face: str, high: float, ahead_s: float, count: int = 170
) -> Iterator[tuple[Image, float]]:
    """A street with a clock that is ahead; the search for its line takes the first hundred."""
    for number in range(count):
        at_s = START_S + number
        image = scene[number % len(scene)]
        yield with_clock(image, written(at_s + ahead_s), face=face, high=high), at_s + 0.6


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("high", [11.0, 20.0])
def test_a_clock_is_found_and_read(face: str, high: float, scene: list[Image]) -> None:
    asked, config = groups(FORMAT), clock(face, high, scene)
    first = with_clock(scene[0], written(START_S), face=face, high=high)
    line = find(region_of(first, config), asked)
    assert line is not None
    right = 0
    for number in range(20):
        at_s = START_S + 86_399 * 37 * number
        image = with_clock(scene[number], written(at_s), face=face, high=high, quality=35)
        reading = read(region_of(image, config), line, asked)
        right += reading is not None and reading.shown_s == at_s + 8 * 3600
        assert reading is None or reading.shown_s == at_s + 8 * 3600
    assert right >= 15


def test_a_right_clock_a_wrong_one_and_one_that_stands(scene: list[Image]) -> None:
    config = clock("hershey", 14.0, scene)
    right = run(ClockWatch(config), shown(scene, "hershey", 14.0, ahead_s=-2))
    assert [change.state for _, change in right] == [Clock.RIGHT]
    wrong = run(ClockWatch(config), shown(scene, "hershey", 14.0, ahead_s=3600))
    assert [change.state for _, change in wrong] == [Clock.WRONG]
    assert wrong[0][1].ahead_s == pytest.approx(3599.4, abs=1)
    standing = (
        (with_clock(scene[n % len(scene)], written(START_S)), START_S + n) for n in range(170)
    )
    stopped = run(ClockWatch(config), standing)
    assert [change.state for _, change in stopped] == [Clock.STOPPED]


def test_a_clock_that_cannot_be_read_says_nothing(scene: list[Image]) -> None:
    config = clock("hershey", 14.0, scene)
    bare = ((scene[n % len(scene)], START_S + n) for n in range(170))
    assert run(ClockWatch(config), bare) == []
    faint = (
        (with_clock(scene[n % len(scene)], written(START_S + n), high=5, quality=15), START_S + n)
        for n in range(170)
    )
    assert all(change.state is Clock.RIGHT for _, change in run(ClockWatch(config), faint))


def test_a_clock_is_right_again_after_it_was_set(scene: list[Image]) -> None:
    config = clock("noto", 14.0, scene)

    def frames() -> Iterator[tuple[Image, float]]:
        for n in range(260):
            ahead = 75 if n < 170 else 0
            text = written(START_S + n + ahead)
            yield with_clock(scene[n % len(scene)], text, face="noto"), START_S + n + 0.3

    states = [change.state for _, change in run(ClockWatch(config), frames())]
    assert states == [Clock.WRONG, Clock.RIGHT]


@pytest.mark.parametrize(
    ("written_as", "said"),
    [
        ("%Y-%m-%d %H:%M", "needs %Y"),
        ("%Y-%m-%d %I:%M:%S", "%I is not known"),
        ("", "needs %Y"),
        ("%Y%m%d%H%M%S%S", "each once"),
    ],
)
def test_a_format_without_seconds_or_with_what_is_not_known_is_refused(
    written_as: str, said: str
) -> None:
    with pytest.raises(ClockFormatError, match=said):
        groups(written_as)
    with pytest.raises(ValidationError, match=said):
        ClockConfig.model_validate({"region": [[0, 0], [1, 1]], "format": written_as})


@given(
    top=st.floats(-50, 50), high=st.floats(1, 80), cell=st.floats(0.5, 60),
    starts=st.lists(st.floats(-100, 400), min_size=6, max_size=6), seed=st.integers(0, 99),
)  # fmt: skip
@settings(deadline=None, max_examples=25)
def test_nothing_is_read_out_of_noise(
    top: float, high: float, cell: float, starts: list[float], seed: int
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 300), np.uint8)
    line = Line(top, top + high, cell, tuple(starts))
    assert read(noise, line, groups(FORMAT)) is None

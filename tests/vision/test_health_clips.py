"""What the view watch says of real clips that are bent: no false word, no missed tampering.

A clip's first half is learned as it is; its second half is bent in one way. The harmless ways must
give no event at all, the others must be told in every clip. Found on them and stated here: on the
dim indoor clip (furg) a tilt, a rotation and a mirror image look alike to it and are not told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.clips import ROOT, find_clip
from tests.vision.bends import HARMLESS, TAMPERED, Bend, Image
from vision.health import View, ViewWatch

FRAMES = 90
STEP_NS = 500_000_000
SHARED = Path(os.environ.get("PLANTGATE_SHARED", ROOT.parent / "shared")) / "vision" / "clips"
MORE_CLIPS = ("intel_one-by-one-person-detection.mp4", "furg_house6.mp4")


EXPECTED: dict[str, set[View]] = {
    "defocused": {View.BLURRED},
    "a hand before it": {View.COVERED, View.BLURRED},
    "taped over": {View.MOVED, View.COVERED},
    "panned": {View.MOVED},
    "blinded": {View.OVER_EXPOSED},
    "capped": {View.BLACK},
    "tilted": {View.MOVED},
    "turned": {View.MOVED},
}
LOOKS_ALIKE = {("furg_house6.mp4", "tilted"), ("furg_house6.mp4", "turned")}


def _frames(path: Path) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(path))
    every = 3 if path.suffix == ".avi" else 6
    try:
        for number in range(FRAMES * every):
            done, image = capture.read()
            if not done:
                return
            if number % every == 0:
                scale = 416 / max(image.shape[:2])
                size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
                yield np.asarray(cv2.resize(image, size), np.uint8)
    finally:
        capture.release()


@pytest.fixture(scope="module")
def clips() -> dict[str, list[Image]]:
    """Frames of the clips that are here; the first is always had (make peers)."""
    walking = find_clip()
    if walking is None:
        pytest.fail("vtest.avi is missing: run `make peers`")
    paths = [walking, *(SHARED / name for name in MORE_CLIPS if (SHARED / name).exists())]
    return {path.name: list(_frames(path)) for path in paths}


def views(frames: list[Image], bend: Bend) -> list[View]:
    """Verdicts of the bent half."""
    rng, watch, said = np.random.default_rng(1), ViewWatch(30.0), []
    for number, image in enumerate(frames):
        bent = image if number < len(frames) // 2 else bend(image, rng)
        view = watch.feed(np.ascontiguousarray(bent[:, :, 1]), number * STEP_NS)
        if number >= len(frames) // 2:
            said.append(view)
    return said


@pytest.mark.parametrize("how", HARMLESS)
def test_weather_light_and_coding_are_not_told(how: str, clips: dict[str, list[Image]]) -> None:
    for name, frames in clips.items():
        assert set(views(frames, HARMLESS[how])) == {View.CLEAR}, name


@pytest.mark.parametrize("how", TAMPERED)
def test_what_blinds_or_turns_a_camera_is_told(how: str, clips: dict[str, list[Image]]) -> None:
    bend, expected = TAMPERED[how], EXPECTED[how]
    for name, frames in clips.items():
        said = views(frames, bend)
        if (name, how) in LOOKS_ALIKE:
            assert set(said) == {View.CLEAR}, "better than stated: take it off the list"
            continue
        told = [view for view in said if view in expected]
        assert len(told) >= len(said) - 2, (name, said)


def test_a_camera_that_is_meant_to_move_is_not_said_to_be_moved(
    clips: dict[str, list[Image]],
) -> None:
    watch, frames = ViewWatch(30.0, moves=True), next(iter(clips.values()))
    for number, image in enumerate(frames):
        bent = image if number < 45 else np.roll(image, image.shape[1] // 8, 1)
        assert watch.feed(np.ascontiguousarray(bent[:, :, 1]), number * STEP_NS) is View.CLEAR


def test_a_view_that_comes_back_is_clear_again(clips: dict[str, list[Image]]) -> None:
    watch, frames = ViewWatch(30.0), next(iter(clips.values()))
    for number, image in enumerate(frames):
        away = 30 <= number < 60
        bent = np.roll(image, image.shape[1] // 8, 1) if away else image
        view = watch.feed(np.ascontiguousarray(bent[:, :, 1]), number * STEP_NS)
        if number >= 33 and not 59 <= number < 63:
            assert view is (View.MOVED if away else View.CLEAR), number

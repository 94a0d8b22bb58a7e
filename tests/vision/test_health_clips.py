"""What the view watch says of real clips that are bent: no false word, no missed tampering.

A clip's first half is learned as it is; its second half is bent in one way. The harmless ways must
give no event at all, the others must be told in every clip. Found on them and stated here: on the
dim indoor clip (furg) a tilt, a rotation and a mirror image look alike to it and are not told.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.clips import ROOT, find_clip
from vision.health import View, ViewWatch

Image = npt.NDArray[np.uint8]
Bend = Callable[[Image, np.random.Generator], Image]

FRAMES = 90
STEP_NS = 500_000_000
SHARED = Path(os.environ.get("PLANTGATE_SHARED", ROOT.parent / "shared")) / "vision" / "clips"
MORE_CLIPS = ("intel_one-by-one-person-detection.mp4", "furg_house6.mp4")


def _bytes(image: npt.NDArray[np.floating[Any]]) -> Image:
    clipped: Image = np.clip(image, 0, 255).astype(np.uint8)
    return clipped


def _rain(image: Image, rng: np.random.Generator) -> Image:
    wet = image.copy()
    for x, y in rng.integers(0, (image.shape[1], image.shape[0]), (150, 2)).tolist():
        cv2.line(wet, (x, y), (x + 2, y + 12), (200, 200, 200), 1)
    return wet


def _infrared(image: Image, _: np.random.Generator) -> Image:
    grey = cv2.createCLAHE(2.0).apply(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    return np.asarray(cv2.merge([grey, grey, grey]), np.uint8)


def _arc(image: Image, _: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    down, across = np.mgrid[:height, :width]
    far = (across - width * 0.6) ** 2 + (down - height * 0.5) ** 2
    return _bytes(image + 400.0 * np.exp(-far / 1800.0)[..., None])


def _coarse_jpeg(image: Image, _: np.random.Generator) -> Image:
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def _shaken(image: Image, rng: np.random.Generator) -> Image:
    return np.roll(image, tuple(rng.integers(-6, 7, 2).tolist()), (0, 1))


HARMLESS: dict[str, Bend] = {
    "nothing": lambda image, _: image,
    "shaken": _shaken,
    "darker": lambda image, _: _bytes(image * 0.35),
    "brighter": lambda image, _: _bytes(image * 1.5 + 20),
    "infrared": _infrared,
    "noise": lambda image, rng: _bytes(image + rng.normal(0, 8, image.shape)),
    "rain": _rain,
    "coarse jpeg": _coarse_jpeg,
    "arc flash": _arc,
}


def _hand(image: Image, _: np.random.Generator) -> Image:
    skin = np.array([60.0, 80.0, 110.0])
    return _bytes(cv2.GaussianBlur(image, (0, 0), 40) * 0.2 + skin * 0.8)


def _taped(image: Image, rng: np.random.Generator) -> Image:
    taped = image.astype(np.float64)
    taped[:, : int(image.shape[1] * 0.85)] = (70, 90, 100)
    return _bytes(taped + rng.normal(0, 2, image.shape))


def _turned(image: Image, _: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 12, 1)
    mirrored = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(mirrored, np.uint8)


TAMPERED: dict[str, tuple[Bend, set[View]]] = {
    "defocused": (
        lambda image, _: np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8),
        {View.BLURRED},
    ),
    "a hand before it": (_hand, {View.COVERED, View.BLURRED}),
    "taped over": (_taped, {View.MOVED, View.COVERED}),
    "panned": (lambda image, _: np.roll(image, image.shape[1] // 8, 1), {View.MOVED}),
    "blinded": (lambda image, _: _bytes(image + 180.0), {View.OVER_EXPOSED}),
    "capped": (lambda image, rng: _bytes(4 + rng.normal(0, 1.5, image.shape)), {View.BLACK}),
    "tilted": (lambda image, _: np.roll(image, image.shape[0] // 7, 0), {View.MOVED}),
    "turned": (_turned, {View.MOVED}),
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
    bend, expected = TAMPERED[how]
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

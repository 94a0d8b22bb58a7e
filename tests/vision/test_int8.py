"""The person model in 8-bit integers: the shipped one, and one that a site makes for itself."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from drivers.contract import Quality
from gateway.cli.vision import command
from tests.bench.tiles import Counted, counted_frames
from tests.clips import clip_or_fail, drawn_clip
from tests.vision.recorder import camera, running
from vision.config import DEFAULT_MODEL, INT8_MODEL
from vision.detector import Detector
from vision.manifest import read_model
from vision.postprocess import overlaps

SCORE = 0.45
ALIKE = 0.5  # intersection over union


@pytest.fixture(scope="module")
def frames() -> list[Counted]:
    return counted_frames(clip_or_fail())[::3]


def agreement(one: Detector, other: Detector, frames: list[Counted]) -> tuple[float, float]:
    """Share of the people of `one` that `other` finds too, and the other way round."""
    hits, counts = np.zeros(2), np.zeros(2)
    for frame in frames:
        mine, theirs = (each.feed(frame.image, SCORE) for each in (one, other))
        close = overlaps(mine.boxes, theirs.boxes) >= ALIKE
        hits += close.any(axis=1).sum(), close.any(axis=0).sum()
        counts += len(mine), len(theirs)
    share = hits / counts
    return float(share[0]), float(share[1])


def test_the_shipped_model_in_integers_finds_the_same_people(frames: list[Counted]) -> None:
    model = read_model(INT8_MODEL)
    assert model.manifest.name == "person-nanodet-416-int8"
    shipped, integers = Detector(read_model(DEFAULT_MODEL)), Detector(model)
    assert integers.features == shipped.features
    found, true = agreement(shipped, integers, frames)  # on all 63 frames 0.997, 0.986
    assert found >= 0.95
    assert true >= 0.93
    errors = [len(integers.feed(one.image, SCORE)) - one.people for one in frames]
    assert np.abs(errors).mean() <= 0.65  # on all 63 frames 0.38; in floats 0.35


def test_a_site_makes_its_own_with_its_own_pictures(frames: list[Counted], tmp_path: Path) -> None:
    pictures, made = tmp_path / "pictures", tmp_path / "made"
    pictures.mkdir()
    for number, frame in enumerate(frames[:8]):
        cv2.imwrite(str(pictures / f"{number}.png"), frame.image)
    arguments = ["export", str(DEFAULT_MODEL), "--to", str(made), "--int8", str(pictures)]
    answer = CliRunner().invoke(command, arguments)
    assert answer.exit_code == 0, answer.output
    path = made / "person-nanodet-416-int8.onnx"
    assert f"{path}: detect, SHA-256" in answer.output
    model = read_model(path)
    assert len(model.content) < 0.6 * DEFAULT_MODEL.stat().st_size
    found, true = agreement(Detector(read_model(DEFAULT_MODEL)), Detector(model), frames[8:14])
    assert found >= 0.9
    assert true >= 0.85
    (pictures / "0.png").unlink()
    answer = CliRunner().invoke(command, arguments)
    assert answer.exit_code == 2
    assert "7 pictures are too few to tell how large activations become" in answer.output


async def test_a_camera_runs_in_integers_and_says_which_model_it_was(tmp_path: Path) -> None:
    clip = str(drawn_clip(tmp_path / "yard.avi"))
    async with running(camera(clip, precision="int8")) as seen:
        await seen.until(lambda: Quality.GOOD in seen.qualities())
    sha256 = seen.event("vision.started").attributes["model_sha256"]
    assert sha256 == read_model(INT8_MODEL).manifest.sha256


def test_precision_is_of_the_shipped_model() -> None:
    with pytest.raises(ValidationError, match="precision chooses between shipped models"):
        camera("clip.avi", precision="int8", model="own.onnx")
    with pytest.raises(ValidationError, match="cuda does not compute these integers"):
        camera("clip.avi", precision="int8", provider="cuda")

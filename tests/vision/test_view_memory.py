"""What was learned of a view outlives the process: a camera moved while it was down is found."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.clips import find_clip
from tests.vision.bends import HARMLESS, Image
from tests.vision.recorder import camera, running
from vision.health import Look, View, ViewWatch
from vision.view_memory import ViewMemory

STEP_NS = 500_000_000


@pytest.fixture(scope="module")
def street() -> list[Image]:
    """Pictures of a street, 416 wide."""
    path = find_clip()
    assert path is not None, "vtest.avi is missing: run `make peers`"
    capture = cv2.VideoCapture(str(path))
    images = [np.asarray(capture.read()[1], np.uint8) for _ in range(120)][::3]
    capture.release()
    return [np.asarray(cv2.resize(one, (416, 312)), np.uint8) for one in images]


def said(watch: ViewWatch, images: list[Image], first: int = 0) -> list[View]:
    """Verdicts, two pictures a second."""
    return [
        watch.feed(np.ascontiguousarray(image[:, :, 1]), number * STEP_NS)
        for number, image in enumerate(images, start=first)
    ]


def learned(street: list[Image]) -> Look:
    """What a process learns of the street."""
    watch = ViewWatch(30.0)
    assert set(said(watch, street)) == {View.CLEAR}
    known = watch.learned
    assert known is not None
    return known


def test_a_camera_that_was_moved_meanwhile_is_found_at_once(street: list[Image]) -> None:
    known = learned(street)
    panned = [np.roll(image, image.shape[1] // 8, 1) for image in street]
    watch = ViewWatch(30.0, known=known)
    assert set(said(watch, panned)) == {View.MOVED}
    watch.relearn()
    assert set(said(watch, panned, 100)) == {View.CLEAR}, "somebody said that it is right so"
    assert set(said(watch, street, 200)) == {View.MOVED}, "and now the old view is the wrong one"


@pytest.mark.parametrize("how", HARMLESS)
def test_weather_and_light_that_changed_meanwhile_are_no_other_view(
    how: str, street: list[Image]
) -> None:
    rng = np.random.default_rng(1)
    bent = [HARMLESS[how](image, rng) for image in street]
    assert set(said(ViewWatch(30.0, known=learned(street)), bent)) == {View.CLEAR}


def test_a_file_is_of_one_camera_as_it_is_configured(tmp_path: Path, street: list[Image]) -> None:
    path, config = tmp_path / "views" / "cam.npz", camera("rtsp://192.0.2.1/live")
    memory, known = ViewMemory(path, config), learned(street)
    assert memory.load() is None
    assert memory.save(known)
    kept = memory.load()
    assert kept is not None
    assert np.array_equal(kept.coarse, known.coarse)
    assert np.array_equal(kept.edges, known.edges)
    assert kept.fine == known.fine
    zone = {"name": "all", "polygon": [[0, 0], [1, 0], [1, 1]]}
    for other in (camera("rtsp://192.0.2.2/live"), camera("rtsp://192.0.2.1/live", zone=[zone])):
        assert ViewMemory(path, other).load() is None
    assert ViewMemory(path, camera("rtsp://192.0.2.1/live", score=0.3)).load() is not None
    content = path.read_bytes()
    for torn in (b"", content[:100], content[:-1], b"\x00" * len(content)):
        path.write_bytes(torn)
        assert memory.load() is None
    memory.forget()
    memory.forget()


async def test_the_process_finds_it_and_learns_anew_when_told(tmp_path: Path) -> None:
    source, memory = tmp_path / "street.avi", tmp_path / "views" / "cam.npz"
    _clip(source, 0)
    config = camera(str(source), analyse_fps=4, clip_before_s=1.0)
    async with running(config, memory=memory) as seen:
        await seen.until(memory.exists)
    _clip(source, 96)
    async with running(config, memory=memory) as seen:
        await seen.until(lambda: "vision.view" in seen.kinds())
        moved = seen.event("vision.view")
        assert moved.attributes == {"view": "moved"}
        assert "plantgate camera relearn" in moved.text
        assert moved.picture.startswith(b"\xff\xd8"), "with a picture that shows it"
        seen.events.clear()
        seen.source.relearn()
        await seen.until(lambda: "vision.view" in seen.kinds())
        assert seen.kinds() == ["vision.view_relearned", "vision.view"]
        assert seen.event("vision.view").attributes == {"view": "clear"}


def _clip(target: Path, pan: int) -> None:
    """Ten seconds of the street, panned by so many pixels."""
    path = find_clip()
    assert path is not None
    capture = cv2.VideoCapture(str(path))
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (768, 576))
    for _ in range(100):
        writer.write(np.roll(np.asarray(capture.read()[1], np.uint8), pan, 1))
    writer.release()
    capture.release()

"""A site's own detectors: a vote over frames, zones, and an alarm with its picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import SourceEvent
from gateway.rules.headcount import HeadcountAlarms
from tests.clips import find_clip
from tests.vision.recorder import WHOLE, camera, running
from vision.config import DEFAULT_MODEL, CameraConfig
from vision.postprocess import Detections
from vision.sightings import Sightings, Vote

IMAGE = np.zeros((100, 200, 3), np.uint8)


@given(st.integers(2, 6), st.integers(0, 6), st.lists(st.booleans(), max_size=60))
def test_a_vote_needs_hits_of_the_last_and_ends_with_none(
    hits: int, more: int, seen: list[bool]
) -> None:
    of = hits + more
    vote, last, active = Vote(hits, of), [False] * of, False
    for one in seen:
        last = [*last[1:], one]
        expected = sum(last) >= hits or (active and any(last))
        assert vote.feed(one) == (expected != active)
        active = vote.active
        assert active == expected


@given(st.integers(2, 5), st.integers(0, 4), st.lists(st.booleans(), max_size=60))
def test_one_bad_frame_raises_nothing(hits: int, more: int, noise: list[bool]) -> None:
    """Whatever comes, so long as fewer than `hits` of any `of` frames show it."""
    of = hits + more
    vote, last = Vote(hits, of), [False] * of
    for one in noise:
        thinned = one and sum(last[1:]) + 1 < hits
        last = [*last[1:], thinned]
        assert not vote.feed(thinned)
        assert not vote.active


def watched(**changes: object) -> CameraConfig:
    detector = {"alarm": "flame", "model": "flame.onnx", "hits": 2, "of": 3, **changes}
    left = {"name": "left", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}
    return CameraConfig.model_validate(
        {"name": "cam", "source": "clip.avi", "zone": [left], "detector": [detector]}
    )


def at(*boxes: tuple[float, float, float, float]) -> Detections:
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(rows, np.full(len(rows), 0.9, np.float32))


def test_only_what_lies_in_the_zone_counts_and_what_stood_goes_on_standing() -> None:
    seen = [at()]
    config = watched(zone="left")
    sightings = Sightings(config, [lambda _, __: seen[0]])
    seen[0] = at((150, 40, 170, 60))  # to the right of it
    assert sightings.feed(IMAGE) == []
    assert sightings.feed(IMAGE) == []
    seen[0] = at((20, 40, 40, 60), (150, 40, 170, 60))
    assert sightings.feed(IMAGE) == []
    (raised,) = sightings.feed(IMAGE)
    assert (raised.alarm, raised.zone, raised.count, raised.active) == ("flame", "left", 1, True)
    assert raised.boxes == ((20.0, 40.0, 40.0, 60.0),)
    again = Sightings(config, [lambda _, __: seen[0]], active=["left/flame"])
    assert again.feed(IMAGE) == []
    seen[0] = at()
    assert [again.feed(IMAGE) for _ in range(2)] == [[], []]
    (gone,) = again.feed(IMAGE)
    assert (gone.count, gone.active) == (0, False)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"zone": "right"}, "no zone 'right'"),
        ({"hits": 4}, "4 hits of 3 frames"),
        ({"alarm": "fire"}, "flame"),
        ({"hits": 1}, "greater than or equal"),
    ],
)
def test_wrong_detectors_are_named(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        watched(**changes)


async def test_a_detector_of_the_site_raises_its_alarm_with_a_picture(tmp_path: Path) -> None:
    """The person model under another name stands for a detector of flames."""
    clip = find_clip()
    assert clip is not None, "vtest.avi is missing: make peers"
    model = tmp_path / "flame.onnx"
    shutil.copy(DEFAULT_MODEL, model)
    shutil.copy(DEFAULT_MODEL.with_suffix(".toml"), model.with_suffix(".toml"))
    detector = {"alarm": "flame", "model": str(model), "hits": 2, "of": 3}
    zone = [{"name": "all", "polygon": WHOLE}]
    async with running(camera(str(clip), zone=zone, detector=[detector])) as seen:
        await seen.until(lambda: "vision.flame" in seen.kinds())
    event = seen.event("vision.flame")
    assert event.picture[:3] == b"\xff\xd8\xff"
    assert event.attributes["active"] is True
    assert event.attributes["zone"] == "picture"
    assert int(event.attributes["people"]) > 0
    assert "明火" in event.text


def test_a_sighting_becomes_an_alarm_once_and_returns() -> None:
    alarms = HeadcountAlarms(new_id=lambda: bytes(16 * [7]))

    def event(active: bool) -> SourceEvent:
        said: dict[str, str | int | float | bool] = {"zone": "picture", "people": int(active)}
        said |= {"limit": 0, "active": active}
        return SourceEvent("vision.smoke", "cam", 10**18, "", said)

    (raised,) = alarms.feed(event(True), now_ns=0)
    assert alarms.feed(event(True), now_ns=1) == []
    assert alarms.sources == ("cam/picture/smoke",)
    (gone,) = alarms.feed(event(False), now_ns=2)
    assert (raised.source, raised.condition, raised.text) == (
        "cam/picture", "smoke", "cam/picture: smoke seen.",
    )  # fmt: skip
    assert gone.alarm_id == raised.alarm_id
    assert alarms.open_count == 0

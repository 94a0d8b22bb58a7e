"""How fast people walk on real frames, by the real detector and a calibration published elsewhere.

vtest.avi shows people who walk, stroll and stand: nobody runs. `vtest_ground.json` says where its
ground points come from, and that it was recorded at 7 pictures a second but plays at 10: as it
plays, people go 1.43 times too fast, and still nobody runs. Played three times as fast, walkers
cover ground as runners do, with real boxes, real people behind each other and real lost tracks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision.config import DEFAULT_MODEL, CameraConfig
from vision.detector import Detector
from vision.ground_grid import standing
from vision.ground_watch import GroundWatch, Running
from vision.manifest import read_model
from vision.postprocess import Detections
from vision.speeds import Pacing, Run
from vision.track import Tracker, TrackerRules

STEP = 3  # of 795 frames
RECORDED_FPS, FILE_FPS = 7.0, 10.0
WIDTH, HEIGHT = 768, 576
POINTS = json.loads(Path(__file__).with_name("vtest_ground.json").read_text())["points"]
ANYTHING = Pacing(-10.0, 1.5, 0.0)


def camera(over_m_s: float = 2.5) -> CameraConfig:
    whole = [[0, 0], [1, 0], [1, 1], [0, 1]]
    zone = {"name": "all", "polygon": whole, "running": {"over_m_s": over_m_s}}
    return CameraConfig.model_validate(
        {"name": "vtest", "source": "vtest.avi", "ground": {"points": POINTS}, "zone": [zone]}
    )


@pytest.fixture(scope="module")
def found(vtest: Path) -> list[Detections]:
    """What the detector finds in every third frame of the whole clip."""
    detector = Detector(read_model(DEFAULT_MODEL))
    capture = cv2.VideoCapture(str(vtest))
    seen = []
    number = 0
    while capture.grab():
        if number % STEP == 0:
            seen.append(detector.look(np.asarray(capture.retrieve()[1], np.uint8), 0.27)[0])
        number += 1
    capture.release()
    assert len(seen) == 265
    return seen


def frames(
    found: list[Detections], fps: float
) -> Iterator[tuple[GroundWatch, Tracker, list[Running]]]:
    """Tracker and watch after each frame, and who was told to run in it."""
    config = camera()
    assert config.ground is not None
    watch = GroundWatch(config, config.ground.fitted())
    tracker = Tracker(TrackerRules.for_rate(fps / STEP), config.score)
    for index, people in enumerate(found):
        now_ns = round(index * STEP / fps * 1e9) + 1
        tracks = tracker.feed(people, WIDTH, HEIGHT, now_ns=now_ns)
        changes = watch.feed(tracks, WIDTH, HEIGHT, number=index * STEP, received_ns=now_ns)
        yield watch, tracker, [one for one in changes if isinstance(one, Running)]


def runs(found: list[Detections], fps: float) -> list[Running]:
    return [one for _, _, told in frames(found, fps) for one in told if one.active]


def test_people_who_walk_never_run(found: list[Detections]) -> None:
    assert runs(found, RECORDED_FPS) == []
    assert runs(found, FILE_FPS) == []


def test_people_walk_at_the_speed_of_people(found: list[Detections]) -> None:
    ways: list[Run] = []
    for watch, tracker, _ in frames(found, RECORDED_FPS):
        for track in tracker.everybody:
            if track.confirmed and not track.missed:
                way = watch.way_of(track.id, ANYTHING)
                ways += [way] if way is not None else []
    walking = np.array([way.m_s for way in ways if way.m_s > 0.5])  # the others stroll and stand
    assert len(ways) > 800
    low, middle, high = np.percentile(walking, [5, 50, 95])  # measured: 0.6, 1.1, 1.5
    assert low < middle
    assert 0.9 < middle < 1.3
    assert high < 1.8
    assert max(way.least_m_s for way in ways) < 2.0


def test_people_who_cover_ground_like_runners_are_told(found: list[Detections]) -> None:
    told: dict[int, float] = {}
    for watch, _, _ in frames(found, 3 * RECORDED_FPS):
        told |= {track: run.m_s for track, run in watch.runs.items()}
    assert len(told) >= 10
    assert 3.0 < max(told.values()) < 6.5


def test_people_look_as_tall_as_people(found: list[Detections]) -> None:
    ground = camera().ground
    assert ground is not None
    fitted = ground.fitted()
    people = [
        one
        for seen in found[::5]
        for one in standing(fitted, seen.boxes[seen.scores > 0.5].astype(float), WIDTH, HEIGHT)
        if one.metres is not None
    ]
    assert len(people) > 150
    assert 1.55 < np.median([one.stature_m for one in people]) < 1.85

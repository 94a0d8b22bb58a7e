"""Rows of tiles: people far off in a large picture, counted with and without them, and the cost.

A main stream is put together of frames of vtest.avi whose people were counted by eye (see
tests/vision/test_vtest_counts.py): six of them, three across, are 2304x1152 pixels with some 35
people, of whom the network sees 11 to 20 pixels in the whole picture. `shrunk` makes both picture
and people smaller. Single frames, no tracking, score 0.45; CPU time of the process.

`python -m tests.bench tiles` takes about 2 minutes.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tests.bench.table import Row
from tests.clips import clip_or_exit
from vision.config import DEFAULT_MODEL, CameraConfig
from vision.detector import Detector
from vision.frames import Image
from vision.manifest import read_model
from vision.tiling import TiledDetect

SIX = 6
SCORE = 0.45
COUNTED = tuple(
    Path(__file__).parents[1] / "vision" / f"{name}.json"
    for name in ("vtest_counts", "vtest_counts_held_out", "vtest_counts_new")
)
GRIDS: tuple[dict[str, int], ...] = (
    {},
    {"columns": 2, "rows": 2},
    {"columns": 3, "rows": 2},
    {"least_person_px": 50},
)


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """A picture and how many people are in it."""

    image: Image
    people: int


@dataclass(frozen=True, slots=True)
class Errors:
    """Found minus counted in each picture; tiles; median CPU of a picture, ms."""

    differences: tuple[int, ...]
    tiles: int
    cpu_ms: float

    @property
    def mean(self) -> float:
        """Mean absolute error."""
        return statistics.fmean(abs(one) for one in self.differences)


def counted_frames(clip: Path, most: int = 1000) -> list[Counted]:
    """The frames of the clip whose people were counted, in the order of the files."""
    truth = [
        (frame["index"], frame["people"])
        for path in COUNTED
        for frame in json.loads(path.read_text(encoding="utf-8"))["frames"]
    ][:most]
    capture, found, wanted = cv2.VideoCapture(str(clip)), {}, {index for index, _ in truth}
    for index in range(max(wanted) + 1):
        if not capture.grab():
            raise SystemExit(f"{clip} has too few frames")
        if index in wanted:
            found[index] = np.asarray(capture.retrieve()[1], np.uint8)
    capture.release()
    return [Counted(found[index], people) for index, people in truth]


def main_streams(frames: Sequence[Counted], shrunk: float = 1.0) -> list[Counted]:
    """Six frames each as one picture."""
    pictures = []
    for start in range(0, len(frames) - SIX + 1, SIX):
        six = frames[start : start + SIX]
        images = [one.image for one in six]
        image = np.vstack([np.hstack(images[:3]), np.hstack(images[3:])])
        small = cv2.resize(image, None, fx=1 / shrunk, fy=1 / shrunk, interpolation=cv2.INTER_AREA)
        pictures.append(Counted(np.asarray(small, np.uint8), sum(one.people for one in six)))
    return pictures


def errors(detector: Detector, pictures: Iterable[Counted], grid: dict[str, int]) -> Errors:
    """Count in each picture; an empty grid: in the whole picture only."""
    cv2.setNumThreads(1)
    tiled, detect = None, detector.look
    if grid:
        config = CameraConfig.model_validate(
            {"name": "bench", "source": "clip", "motion_floor_s": 0.0, "tiles": grid}
        )
        part = detector.twin().feed
        tiled = TiledDetect(config, detector.look, part, detector.side, time.monotonic_ns)
        detect = tiled.detect
    differences, spent = [], []
    for one in pictures:
        began = time.process_time()
        found, _ = detect(one.image, SCORE)
        spent.append((time.process_time() - began) * 1e3)
        differences.append(len(found) - one.people)
    tiles = len(tiled.tiles) if tiled is not None else 0
    return Errors(tuple(differences), tiles, statistics.median(spent))


def rows(folder: Path) -> list[Row]:
    """The error of the headcount in each setting; 0 people is the bar that nothing reaches."""
    del folder
    detector, frames = Detector(read_model(DEFAULT_MODEL)), counted_frames(clip_or_exit())
    found = []
    for shrunk in (1.0, 2.0, 3.0):
        pictures = main_streams(frames, shrunk)
        height, width = pictures[0].image.shape[:2]
        bare = 0.0
        for grid in GRIDS if shrunk == 1.0 else GRIDS[:3]:
            one = errors(detector, pictures, grid)
            bare = bare or one.cpu_ms
            people = statistics.fmean(picture.people for picture in pictures)
            said = ", ".join(f"{key} {value}" for key, value in grid.items()) or "whole picture"
            found.append(
                Row(f"headcount in {width}x{height}, {said}: mean absolute error", one.mean,
                    "people", 0, limit=f"{one.cpu_ms / bare:.2f} x the whole picture alone",
                    detail=f"{people:.1f} people in each of {len(pictures)}; bias"
                    f" {statistics.fmean(one.differences):+.1f}; {one.tiles} tiles,"
                    f" {one.cpu_ms:.0f} ms")
            )  # fmt: skip
    return found

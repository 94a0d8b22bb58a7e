"""`python -m tests.vision.running_rates`: false and missed alarms of running 奔跑, on drawn scenes.

Scenes are those of tests/vision/walkers.py, at rates of analysis of 4 to 8 fps, with cameras on
masts of 4 to 8 m. False: any alarm while everybody walks, at 2 m/s at most, per camera-hour.
Missed: runs of 12 to 25 m, one at a time between two people who walk, during which no alarm came.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.vision.walkers import Mast, Person, Yard, watched
from vision.config import CameraConfig
from vision.ground_watch import GroundWatch, Running

MASTS = (Mast(4.0, 0.25), Mast(6.0, 0.35), Mast(8.0, 0.45))
WHOLE = [[0, 0], [1, 0], [1, 1], [0, 1]]
POINTS = [
    {"picture": [0.2, 0.9], "metres": [-2.0, 5.0]}, {"picture": [0.8, 0.9], "metres": [2.0, 5.0]},
    {"picture": [0.7, 0.4], "metres": [4.0, 20.0]}, {"picture": [0.3, 0.4], "metres": [-4.0, 20.0]},
]  # fmt: skip


def camera(fps: float, **running: float) -> CameraConfig:
    """A camera that watches its whole picture; the ground is given to the watch."""
    zone = {"name": "all", "polygon": WHOLE, "running": running, "clear_s": 3.0}
    return CameraConfig.model_validate(
        {"name": "cam", "source": "rtsp://h/1", "analyse_fps": fps, "zone": [zone],
         "ground": {"points": POINTS}}
    )  # fmt: skip


@dataclass
class Rates:
    """What came of it."""

    hours: float = 0.0
    false: int = 0
    runs: int = 0
    told: int = 0


def walking(seed: int, fps: float, seconds: float, *, people: int, hard: bool) -> Rates:
    """Everybody walks. hard: a low wall, stalls of the line, boxes that become one."""
    rng = random.Random(seed)
    mast = MASTS[seed % len(MASTS)]
    yard = Yard(mast, rng, [])
    if hard:
        yard.wall = (mast.near_m + 6.0, -6.0, 3.0)
    else:
        yard.merges = yard.false_boxes = 0.0
    yard.people = [yard.walker() for _ in range(people)]
    watch = GroundWatch(camera(fps), mast.ground(rng))
    stalls_s = 120.0 if hard else 0.0
    changes = [one for _, one in watched(yard, watch, fps, seconds, stalls_s=stalls_s)]
    false = sum(isinstance(one, Running) and one.active for one in changes)
    return Rates(hours=seconds / 3600, false=false)


def runs(seed: int, fps: float, m_s: float, count: int) -> Rates:
    """One after the other somebody runs through, while two walk."""
    rng = random.Random(seed)
    found = Rates()
    for number in range(count):
        mast = MASTS[number % len(MASTS)]
        yard = Yard(mast, rng, [])
        yard.people = [yard.walker() for _ in range(2)]
        start, goal = _way(yard)
        length = float(np.hypot(goal[0] - start[0], goal[1] - start[1]))
        watch = GroundWatch(camera(fps), mast.ground(rng))
        runner = Person(start, goal, m_s, rng.uniform(1.55, 1.85))
        yard.comes[12.0] = runner  # until then the pace becomes known
        changes = list(watched(yard, watch, fps, 12.0 + length / m_s))
        found.runs += 1
        found.told += any(isinstance(one, Running) and one.active for _, one in changes)
    return found


def _way(yard: Yard) -> tuple[tuple[float, float], tuple[float, float]]:
    """A way of 12 to 25 m within sight."""
    while True:
        start, goal = yard.place(), yard.place()
        if 12.0 <= np.hypot(goal[0] - start[0], goal[1] - start[1]) <= 25.0:
            return start, goal


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0, help="of each row")
    parser.add_argument("--runs", type=int, default=60, help="of each row")
    asked = parser.parse_args(arguments)
    for hard in (True, False):
        for fps in (4.0, 5.0, 8.0):
            total = Rates()
            for seed in range(6):
                one = walking(seed, fps, asked.hours * 600, people=3 + seed, hard=hard)
                total.hours, total.false = total.hours + one.hours, total.false + one.false
            print(f"{'hard' if hard else 'plain'}, {fps:g} fps: {total.false} false in"
                  f" {total.hours:.1f} camera-hours", flush=True)  # fmt: skip
    for fps in (4.0, 5.0, 8.0):
        for m_s in (3.0, 3.5, 4.0, 5.0, 6.0):
            found = runs(1, fps, m_s, asked.runs)
            print(f"running at {m_s:g} m/s, {fps:g} fps: {found.told} of {found.runs} told",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""People who walk, run, meet and disappear on drawn ground, as a camera and a detector see them.

A pinhole camera on a mast, ground truth in metres, and what stands between: boxes that shake (as
much as the shipped detector's do on vtest.avi, and not independently from frame to frame), frames
in which somebody is not found, people hidden by others or by a low wall (the lower edge of the box
is then that wall's), two boxes that become one, boxes where nobody is, pictures that arrive late,
and a line that stands still and then gives everything at four times the speed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from vision.ground import Ground
from vision.ground_watch import Gathering, GroundWatch, Running
from vision.postprocess import Detections
from vision.track import Tracker, TrackerRules

WIDTH, HEIGHT = 640, 360
CAMERA_FPS = 25.0
SHAKES = 0.6  # how much of a box's shaking goes on into the next frame
WALL_M = 0.9
Place = tuple[float, float]


@dataclass(frozen=True)
class Mast:
    """A camera at x = y = 0 that looks along y, `down` radians below the horizon. focal: pixels."""

    high_m: float
    down: float
    focal: float = 457.0  # 70 degrees across

    def see(self, x: float, y: float, z: float) -> Place:
        """Picture of a point in pixels."""
        sine, cosine = np.sin(self.down), np.cos(self.down)
        ahead = y * cosine + (self.high_m - z) * sine
        below = -y * sine + (self.high_m - z) * cosine
        return WIDTH / 2 + self.focal * x / ahead, HEIGHT / 2 + self.focal * below / ahead

    def ground(self, rng: random.Random, reach_m: float = 15.0) -> Ground:
        """A calibration by six points that somebody pointed at to within 2 pixels."""
        metres = [(x, y) for y in (self.near_m + 2, 15.0, 28.0) for x in (-0.35 * y, 0.35 * y)]
        picture = []
        for x, y in metres:
            u, v = self.see(x, y, 0.0)
            picture.append(((u + rng.gauss(0, 2)) / WIDTH, (v + rng.gauss(0, 2)) / HEIGHT))
        return Ground(np.array(picture), np.array(metres), reach_m=reach_m)

    @property
    def near_m(self) -> float:
        """Where the ground comes into the picture."""
        return self.high_m / float(np.tan(self.down + np.arctan(HEIGHT / 2 / self.focal)))


@dataclass
class Person:
    """Somebody on the way from place to place. m_s: of this way."""

    at: Place
    goal: Place
    m_s: float
    tall_m: float
    waits_s: float = 0.0
    shake: list[float] = field(default_factory=lambda: [0.0] * 4)
    unseen_s: float = 0.0


@dataclass
class Yard:
    """A scene.

    wall: (y, from x, to x) of a low wall.  merges: share of touching boxes that do.  comes: who
    comes later, by second.
    """

    mast: Mast
    rng: random.Random
    people: list[Person]
    wall: tuple[float, float, float] | None = None
    misses: float = 0.1
    merges: float = 0.3
    false_boxes: float = 0.01
    walk: tuple[float, float] = (1.3, 0.25)
    comes: dict[float, Person] = field(default_factory=dict)

    def place(self) -> Place:
        """Somewhere in sight."""
        y = self.rng.uniform(self.mast.near_m + 1, 30.0)
        return self.rng.uniform(-0.6 * y, 0.6 * y), y

    def walker(self) -> Person:
        """Somebody who walks."""
        return Person(self.place(), self.place(), self._pace(), self.rng.uniform(1.55, 1.85))

    def _pace(self) -> float:
        return min(2.0, max(0.5, self.rng.gauss(*self.walk)))

    def step(self, seconds: float) -> None:
        """Everybody goes on."""
        for one in self.people:
            if one.waits_s > 0:
                one.waits_s -= seconds
                continue
            dx, dy = one.goal[0] - one.at[0], one.goal[1] - one.at[1]
            left, way = float(np.hypot(dx, dy)), one.m_s * seconds
            if way < left:
                one.at = (one.at[0] + dx / left * way, one.at[1] + dy / left * way)
                continue
            one.at, one.goal, one.m_s = one.goal, self.place(), self._pace()
            one.waits_s = self.rng.choice((0.0, 0.0, 5.0))

    def seen(self, seconds: float) -> Detections:
        """What a detector finds, `seconds` after the frame before."""
        boxes = [self._box(one, seconds) for one in sorted(self.people, key=lambda p: p.at[1])]
        shown = [box for box in boxes if box is not None]
        kept: list[list[float]] = []
        for box in shown:  # the nearest first
            over = next((other for other in kept if _covered(box, other) > 0.6), None)
            if over is None:
                kept.append(box)
            elif self.rng.random() < self.merges:
                over[:] = [*map(min, over[:2], box[:2]), *map(max, over[2:], box[2:])]
        if self.rng.random() < self.false_boxes:
            x, y = self.rng.uniform(50, 550), self.rng.uniform(50, 250)
            kept.append([x, y, x + 25, y + 70])
        scores = np.array([self.rng.uniform(0.46, 0.9) for _ in kept], np.float32)
        found = np.array(kept, np.float32).reshape(-1, 4)
        return Detections(found[np.argsort(-scores)], np.sort(scores)[::-1])

    def _box(self, one: Person, seconds: float) -> list[float] | None:
        one.unseen_s -= seconds
        if one.unseen_s > 0:
            return None
        if self.rng.random() < self.misses * min(1.0, seconds * 4):
            one.unseen_s = self.rng.choice((0.1, 0.3, 0.8))
            return None
        x, y = one.at
        (u, low), (_, high) = self.mast.see(x, y, 0.0), self.mast.see(x, y, one.tall_m)
        tall = low - high
        wide = 0.38 * tall
        if self.wall is not None:
            wall_y, left, right = self.wall
            if y > wall_y and left < x * wall_y / y < right:
                low = min(low, self.mast.see(0.0, wall_y, WALL_M)[1])
        size = (0.052 * wide, 0.025 * tall, 0.08 * wide, 0.025 * tall)
        fresh = (1 - SHAKES**2) ** 0.5
        one.shake = [SHAKES * a + fresh * self.rng.gauss(0, 1) for a in one.shake]
        du, dlow, dwide, dhigh = (a * b for a, b in zip(one.shake, size, strict=True))
        box = [
            u + du - (wide + dwide) / 2, high + dhigh, u + du + (wide + dwide) / 2, low + dlow,
        ]  # fmt: skip
        box = [
            min(max(side, 0.0), most) for side, most in zip(box, (640, 360, 640, 360), strict=True)
        ]
        return box if box[2] - box[0] > 4 and box[3] - box[1] > 12 else None


def watched(
    yard: Yard, watch: GroundWatch, fps: float, seconds: float, *, stalls_s: float = 0.0
) -> Iterator[tuple[float, Running | Gathering]]:
    """Run the scene through tracker and watch; gives (second, change).

    stalls_s: mean time between two stalls of the line, of 1 to 5 s; 0: none.
    """
    tracker = Tracker(TrackerRules.for_rate(fps), 0.45)
    rng = yard.rng
    taken_s = arrived_s = last_s = 0.0
    free_s = rng.expovariate(1 / stalls_s) if stalls_s else float("inf")
    behind_s = 0.0
    while taken_s < seconds:
        step_s = 1.0 / fps
        if taken_s > free_s:
            behind_s = rng.uniform(1.0, 5.0)
            arrived_s += behind_s
            free_s = taken_s + rng.expovariate(1 / stalls_s)
        moved_s = step_s
        if behind_s > 0:
            moved_s, behind_s = 4 * step_s, behind_s - 3 * step_s
        taken_s, arrived_s = taken_s + moved_s, arrived_s + step_s
        late_s = abs(rng.gauss(0, 0.03))
        yard.step(moved_s)
        for when in [one for one in yard.comes if one <= taken_s]:
            yard.people.append(yard.comes.pop(when))
        now_ns = round(max(last_s + 0.01, arrived_s + late_s) * 1e9)
        last_s = now_ns / 1e9
        found = yard.seen(moved_s)
        tracks = tracker.feed(found, WIDTH, HEIGHT, now_ns=now_ns)
        number = round(taken_s * CAMERA_FPS)
        changes = watch.feed(tracks, WIDTH, HEIGHT, number=number, received_ns=now_ns)
        yield from ((taken_s, change) for change in changes)


def _covered(box: list[float], other: list[float]) -> float:
    wide = min(box[2], other[2]) - max(box[0], other[0])
    high = min(box[3], other[3]) - max(box[1], other[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return max(0.0, wide) * max(0.0, high) / area

"""How fast somebody moves over the ground, and how sure that is. Pure.

Guarantees: a speed is told only of a way

- that is seen from end to end: no break of more than GAP_NS, feet inside the picture, each place
  known (vision/ground.py), none so far from the one before that no human gets there (FASTEST_M_S),
  nor of somebody who looks much smaller or taller than in the frame before (OTHER);
- that was walked as one: with any one jump of the feet taken out (another person taken for this
  one, two boxes that become one) the rest is as fast;
- in which the feet did not merely come into sight or go behind something: then the lower edge of a
  box moves away while the person shrinks, and a person who walks away does not shrink;
- during which pictures came at their usual pace (vision/pace.py).

The error holds the jitter of boxes, of the model or as found, whichever is larger, and that of the
calibration. What is told is a lower bound: two standard errors below the best estimate.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.ground import Ground, Places
from vision.pace import Pace
from vision.track import Track

Float64Array = npt.NDArray[np.float64]

GAP_NS = 600_000_000
"""One frame missed at 4 a second. Through longer breaks ids are exchanged most."""
FASTEST_M_S = 9.0
MOST_NS = 10_000_000_000
SURE = 2.0
"""Standard errors."""
TOGETHER = 1.5
"""By how much jitter of neighbouring frames is worse than independent: a gait takes a second."""
SHRINKS = 0.12
"""Change of the apparent stature over a way from which the feet were hidden, or came out."""
UP, ACROSS = 0.03, 0.05
"""Standard errors of a foot point: of a box's height downwards, of its width sideways. Found in
vtest.avi, beside a straight line through five frames at 7 a second: 0.025 and 0.052."""
LEAST_STEPS = 5
OTHER = 0.25
"""Change of the apparent stature, from frame to frame, of another person or a box of two."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where somebody stood in one frame.

    number, ns: of the frame.  x, y: metres.  jitter: variance of x, covariance, variance of y, by
    the box.  stature: apparent height, metres.  down: of the feet, fraction of the frame.
    """

    number: int
    ns: int
    x: float
    y: float
    jitter: tuple[float, float, float]
    stature: float
    down: float


@dataclass(frozen=True, slots=True)
class Run:
    """A way.  m_s: best estimate; error_m_s: its standard error.  start, end: metres."""

    m_s: float
    error_m_s: float
    seconds: float
    metres: float
    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def least_m_s(self) -> float:
        """Speed that was at least reached."""
        return self.m_s - SURE * self.error_m_s


@dataclass(frozen=True, slots=True)
class Pacing:
    """What counts as fast: `over_m_s` for `for_s` at least and over `least_m` at least."""

    over_m_s: float
    for_s: float
    least_m: float


def foot_jitter(boxes: Float64Array, width: int, height: int) -> Float64Array:
    """Standard errors [n, 2] of foot points of boxes[n, 4], as fractions of the frame."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(size * (ACROSS, UP) / (width, height))


def cut(boxes: Float64Array, width: int, height: int) -> npt.NDArray[np.bool_]:
    """Which boxes the frame cuts off below or at a side: their feet are elsewhere."""
    return np.asarray(
        (boxes[:, 0] <= 1.0)
        | (boxes[:, 2] >= width - 1.0)
        | (boxes[:, 3] >= height - 0.01 * height)
    )


class Walks:
    """The ways of all tracks of one camera, MOST_NS of each."""

    def __init__(self) -> None:
        self._steps: dict[int, deque[Step]] = {}

    def forget(self) -> None:
        """Another scene, or nothing to be seen."""
        self._steps.clear()

    def of(self, track: int) -> Sequence[Step]:
        """The way of one track, oldest first."""
        return self._steps.get(track, ())

    def feed(
        self, tracks: Sequence[Track], places: Places, heights: Float64Array,
        downs: Float64Array, *, number: int, now_ns: int,
    ) -> None:  # fmt: skip
        """Take one frame. heights: of boxes, in widths of the frame; downs: of feet."""
        alive = {track.id for track in tracks}
        for gone in self._steps.keys() - alive:
            del self._steps[gone]
        for row, track in enumerate(tracks):
            if track.missed:
                continue
            x, y = places.metres[row].tolist()
            if math.isnan(x):
                self._steps.pop(track.id, None)
                continue
            (xx, xy), (_, yy) = places.jitter[row].tolist()
            stature = float(heights[row] * places.across_m[row])
            down = float(downs[row])
            self._add(track.id, Step(number, now_ns, x, y, (xx, xy, yy), stature, down))

    def _add(self, track: int, step: Step) -> None:
        steps = self._steps.setdefault(track, deque())
        if steps:
            before = steps[-1]
            span_ns = step.ns - before.ns
            far_m = _apart(before, step)
            most_m = FASTEST_M_S * span_ns / 1e9 + 3.0 * (_jitter_m(before) + _jitter_m(step))
            other = abs(math.log(step.stature / before.stature)) > OTHER
            if not 0 < span_ns <= GAP_NS or far_m > most_m or other:
                steps.clear()
        steps.append(step)
        while step.ns - steps[0].ns > MOST_NS:
            steps.popleft()


def run_of(steps: Sequence[Step], pacing: Pacing, ground: Ground, pace: Pace) -> Run | None:
    """The newest way of somebody, if it is surely as fast as `pacing` asks; see the module."""
    way = _way(steps, pacing)
    if way is None:
        return None
    seconds = pace.seconds(way[-1].number - way[0].number, way[-1].ns - way[0].ns)
    if seconds is None:
        return None
    return measured(way, seconds, ground, pacing.over_m_s)


def _way(steps: Sequence[Step], pacing: Pacing) -> list[Step] | None:
    """The shortest way to now that is long enough both ways, if it could be fast enough."""
    if len(steps) < LEAST_STEPS:
        return None
    last = steps[-1]
    for first in range(len(steps) - LEAST_STEPS, -1, -1):
        span_s = (last.ns - steps[first].ns) / 1e9
        if span_s < pacing.for_s:
            continue
        far_m = _apart(steps[first], last)
        if far_m < 0.8 * pacing.over_m_s * span_s:
            return None
        if far_m >= pacing.least_m:
            return [steps[row] for row in range(first, len(steps))]
    return None


def measured(way: Sequence[Step], seconds: float, ground: Ground, over_m_s: float) -> Run | None:
    """Speed along a way that took `seconds`; None unless it is surely more than over_m_s."""
    clock = np.array([step.ns for step in way], np.float64)
    time = (clock - clock[0]) * (seconds / (clock[-1] - clock[0]))
    places = np.array([(step.x, step.y) for step in way])
    centred = time - time.mean()
    weight = float(np.square(centred).sum())
    slope = centred @ places / weight
    m_s = float(np.linalg.norm(slope))
    if m_s <= over_m_s or _comes_into_sight(way, centred, weight):
        return None
    ahead = slope / m_s
    rest = (places - places.mean(axis=0)) @ ahead - centred * m_s
    found = float(np.square(rest).sum()) / (len(way) - 2)
    xx, xy, yy = np.mean([step.jitter for step in way], axis=0)
    by_model = float(ahead[0] ** 2 * xx + 2 * ahead[0] * ahead[1] * xy + ahead[1] ** 2 * yy)
    jitter = TOGETHER * (max(found, by_model) / weight) ** 0.5
    ends = places.mean(axis=0) + np.outer((centred[0], centred[-1]), slope)
    scale = ground.apart_error_m(ends[0], ends[1]) / seconds
    error = float(np.hypot(jitter, scale))
    if m_s - SURE * error <= over_m_s or _without_a_jump(time, places @ ahead) <= over_m_s:
        return None
    (x1, y1), (x2, y2) = ends.tolist()
    return Run(m_s, error, seconds, m_s * seconds, (x1, y1), (x2, y2))


def _comes_into_sight(way: Sequence[Step], centred: Float64Array, weight: float) -> bool:
    """Tell whether somebody shrinks as his feet move up in the picture, or grows the other way."""
    span = float(centred[-1] - centred[0])
    stature = np.log([step.stature for step in way])
    down = np.array([step.down for step in way])
    change = float(centred @ stature) / weight * span
    moved = float(centred @ down) / weight * span
    return abs(change) > SHRINKS and change * moved > 0


def _without_a_jump(time: Float64Array, along: Float64Array) -> float:
    """The least speed that remains when any one jump, between two frames, is taken out."""
    least = np.inf
    for cut_at in range(1, len(time)):
        weight = moved = 0.0
        for part in (slice(None, cut_at), slice(cut_at, None)):
            centred = time[part] - time[part].mean()
            weight += float(np.square(centred).sum())
            moved += float(centred @ along[part])
        least = min(least, moved / weight) if weight > 0 else least
    return float(least)


def _apart(one: Step, other: Step) -> float:
    return math.hypot(one.x - other.x, one.y - other.y)


def _jitter_m(step: Step) -> float:
    return math.sqrt(step.jitter[0] + step.jitter[2])

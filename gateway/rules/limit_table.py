"""The limits of all points as arrays, and the exact inequalities of the four conditions.

| condition | raised at | returned at | held |
|---|---|---|---|
| high_high 高高, high 高 | value >= limit | value < limit - deadband | otherwise |
| low 低, low_low 低低 | value <= limit | value > limit + deadband | otherwise |

A limit counts as reached when the value equals it, as process control systems commonly do it. With
deadband 0 the two inequalities are complements. `limit -/+ deadband` is computed in decimal, so a
limit of 0.8 with a deadband of 0.1 returns below 0.7, not below 0.7000000000000001.

A row is one point with at least one limit that the gateway judges. Arrays are [condition, row],
NaN where there is no limit (every comparison with NaN is false). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from drivers.contract import ValueKind
from gateway.model.point import Limits, Point

BELOW_RATIO, ABOVE_RATIO = 0.4 / 16, 1 / 16
"""How far outside its range, in spans, a reading is no reading but a failure: below 3.6 mA and from
21 mA on of 4 to 20 mA (NAMUR NE 43; from general knowledge)."""
CONDITIONS = ("high_high", "high", "low", "low_low")
HIGH = slice(0, 2)
LOW = slice(2, 4)
RULES = tuple(f"limit.{condition}/1" for condition in CONDITIONS)

_Floats = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.intp]
_Flags = npt.NDArray[np.bool_]


class LimitTable:
    """Static side of LimitAlarms: which rows there are, and where each condition changes."""

    def __init__(self, points: Sequence[Point]) -> None:
        """Take the points that have limits and are judged by the gateway, in order of id.

        Raises ValueError that names every point whose limits cannot be judged: not finite, a
        negative deadband or delay, limits on a text point.
        """
        wrong = [text for point in points if point.limits.any() for text in _mistakes(point)]
        if wrong:
            raise ValueError("; ".join(wrong))
        self.points = tuple(
            sorted(
                (p for p in points if p.limits.any() and p.alarm_source == "gateway"),
                key=lambda point: point.id,
            )
        )
        shape = (len(CONDITIONS), len(self.points))
        self.limit = np.full(shape, math.nan)
        self.clear = np.full(shape, math.nan)
        self.on_delay_ns = np.zeros(len(self.points), np.int64)
        self.off_delay_ns = np.zeros(len(self.points), np.int64)
        believed = [believed_between(point) for point in self.points]
        self.believed_low = np.array([low for low, _ in believed])
        self.believed_high = np.array([high for _, high in believed])
        self._row_of = np.full(1 + max((p.id for p in self.points), default=0), -1, np.intp)
        for row, point in enumerate(self.points):
            self._row_of[point.id] = row
            self.on_delay_ns[row] = round(point.limits.on_delay_s * 1e9)
            self.off_delay_ns[row] = round(point.limits.off_delay_s * 1e9)
            for number, limit in enumerate(of_conditions(point.limits)):
                if limit is not None:
                    self.limit[number, row] = limit
                    self.clear[number, row] = _clear(limit, point.limits.deadband, high=number < 2)
        # The outermost values at which an inactive condition stays inactive.
        with np.errstate(all="ignore"):  # the neighbour of the greatest float is inf: meant
            self._below = np.nextafter(self.limit[HIGH], -math.inf)
            self._above = np.nextafter(self.limit[LOW], math.inf)

    def rows(self, ids: npt.NDArray[np.int32]) -> _Rows:
        """Row of each point id, -1 where the point has no limits here."""
        inside = (ids >= 0) & (ids < len(self._row_of))
        return np.where(inside, self._row_of[np.where(inside, ids, 0)], -1)

    def wanted(self, rows: _Rows, values: _Floats, active: _Flags) -> _Flags:
        """Tell per condition and row whether the value asks for a change of `active`."""
        limit, clear = self.limit[:, rows], self.clear[:, rows]
        reached = np.empty(active.shape, np.bool_)
        returned = np.empty(active.shape, np.bool_)
        reached[HIGH] = values >= limit[HIGH]
        reached[LOW] = values <= limit[LOW]
        returned[HIGH] = values < clear[HIGH]
        returned[LOW] = values > clear[LOW]
        return np.where(active, returned, reached)

    def quiet(self, rows: _Rows, active: _Flags) -> tuple[_Floats, _Floats]:
        """Closed interval of values, per row, for which `wanted` is false in every condition."""
        low = np.full(len(rows), -math.inf)
        high = np.full(len(rows), math.inf)
        for number in range(2):
            is_active = active[number]
            edge = np.where(is_active, self.clear[number, rows], self._below[number, rows])
            low = np.where(is_active, np.fmax(low, edge), low)
            high = np.where(is_active, high, np.fmin(high, edge))
        for number in range(2, 4):
            is_active = active[number]
            edge = np.where(is_active, self.clear[number, rows], self._above[number - 2, rows])
            low = np.where(is_active, low, np.fmax(low, edge))
            high = np.where(is_active, np.fmin(high, edge), high)
        return low, high


def believed_between(point: Point) -> tuple[float, float]:
    """Values between which a reading of a point can be one; all where it has no range."""
    low, high = point.range_low, point.range_high
    if low is None or high is None:
        return -math.inf, math.inf
    return low - BELOW_RATIO * (high - low), high + ABOVE_RATIO * (high - low)


def of_conditions(limits: Limits) -> tuple[float | None, ...]:
    """Limits in the order of CONDITIONS."""
    return limits.high_high, limits.high, limits.low, limits.low_low


def _clear(limit: float, deadband: float, *, high: bool) -> float:
    band = Decimal(repr(deadband))
    return float(Decimal(repr(limit)) - band if high else Decimal(repr(limit)) + band)


def _mistakes(point: Point) -> list[str]:
    limits = point.limits
    found = []
    if point.kind is ValueKind.TEXT:
        found.append(f"{point.name}: a text point cannot have limits")
    if not all(limit is None or math.isfinite(limit) for limit in of_conditions(limits)):
        found.append(f"{point.name}: a limit must be a finite number")
    for name in ("deadband", "on_delay_s", "off_delay_s"):
        number = getattr(limits, name)
        if not (math.isfinite(number) and number >= 0.0):
            found.append(f"{point.name}: {name} must be 0 or more, not {number!r}")
    return found

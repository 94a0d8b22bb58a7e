"""Groups of conditions of one kind: columns in, what each row asks for out. Pure, vectorised.

A row is one alarm on one point. `ask` takes samples of unique rows and gives, per sample, whether
the condition asks to be active and whether the sample can be judged at all. An active condition
stays until it is clearly gone (deadband). Nothing here knows delays; see conditions.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from drivers.contract import SEVERITY_MASK, Quality
from gateway.rules.condition_spec import AlarmSpec, Kind

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Times = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint16]

_MINUTE_NS = 60e9
_NOT_FOR_ALARM = (
    Quality.GOOD_SIMULATED, Quality.UNCERTAIN_INHIBITED, Quality.UNCERTAIN_WARM_UP,
    Quality.UNCERTAIN_CALIBRATING, Quality.UNCERTAIN_UNDER_TEST,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of unique rows. now_ns: of the batch; taken_ns: of each sample; both monotonic."""

    rows: Rows
    values: Floats
    quality: Codes
    source_ns: Times
    taken_ns: Times
    now_ns: int

    def of(self, rows: Rows, chosen: Rows) -> Samples:
        """Some of these samples, for some rows."""
        return Samples(
            rows, self.values[chosen], self.quality[chosen], self.source_ns[chosen],
            self.taken_ns[chosen], self.now_ns,
        )  # fmt: skip


class Group(Protocol):
    """All rows of one kind."""

    def ask(self, samples: Samples, active: Flags) -> tuple[Flags, Flags]:
        """Give (asks to be active, can be judged) for each sample."""
        ...


def judged(values: Floats, quality: Codes) -> Flags:
    """Tell which samples may decide about an alarm."""
    good = ((quality & SEVERITY_MASK) < 0x8000) & ~np.isnan(values)
    if np.count_nonzero(quality):
        for code in _NOT_FOR_ALARM:
            good &= quality != code
    return good


class MatchGroup:
    """The value is one of a few."""

    def __init__(self, specs: Sequence[AlarmSpec]) -> None:
        most = max(len(spec.values) for spec in specs)
        self._match = np.full((len(specs), most), math.nan)
        for row, spec in enumerate(specs):
            self._match[row, : len(spec.values)] = spec.values

    def ask(self, samples: Samples, active: Flags) -> tuple[Flags, Flags]:
        """See Group."""
        del active
        hit = (samples.values[:, None] == self._match[samples.rows]).any(axis=1)
        return hit, judged(samples.values, samples.quality)


class QualityGroup:
    """The quality is bad, or one of a few, and the value, if it is one, within bounds."""

    def __init__(self, specs: Sequence[AlarmSpec]) -> None:
        most = max([1, *(len(spec.qualities) for spec in specs)])
        self._any_bad = np.array([not spec.qualities for spec in specs])
        self._codes = np.full((len(specs), most), 0xFFFF, np.uint16)  # no code has all bits
        for row, spec in enumerate(specs):
            self._codes[row, : len(spec.qualities)] = spec.qualities
        self._least = np.array([spec.least for spec in specs])
        self._most = np.array([spec.most for spec in specs])
        self._holds_bad = np.array([spec.holds == "bad" for spec in specs])
        self._holds = np.array([spec.holds == "judged" for spec in specs])

    def ask(self, samples: Samples, active: Flags) -> tuple[Flags, Flags]:
        """See Group. Every quality can be judged, but for what a row holds at."""
        del active
        if not np.count_nonzero(samples.quality):
            nothing = np.zeros(len(samples.rows), np.bool_)
            return nothing, ~nothing
        hit = (samples.quality[:, None] == self._codes[samples.rows]).any(axis=1)
        bad = (samples.quality & SEVERITY_MASK) >= 0x8000
        hit |= self._any_bad[samples.rows] & bad
        hit &= ~(samples.values < self._least[samples.rows])
        hit &= ~(samples.values > self._most[samples.rows])
        held = self._holds_bad[samples.rows] & bad
        held |= self._holds[samples.rows] & ~judged(samples.values, samples.quality)
        return hit, hit | ~held


class RateGroup:
    """The value changes by `limit` or more a minute, between a base and `over_s` later.

    Within the window a change that is already too great for all of it counts at once.
    """

    def __init__(self, specs: Sequence[AlarmSpec]) -> None:
        count = len(specs)
        self._limit = np.array([spec.limit for spec in specs])
        self._clear = np.array([spec.limit - spec.deadband for spec in specs])
        self._direction = np.array([spec.direction for spec in specs])
        self._over_ns = np.array([spec.over_s * 1e9 for spec in specs])
        self._base = np.full(count, math.nan)
        self._base_ns = np.zeros(count, np.int64)

    def ask(self, samples: Samples, active: Flags) -> tuple[Flags, Flags]:
        """See Group. Time is the device's; a step back of it starts a new window."""
        rows = samples.rows
        usable = judged(samples.values, samples.quality)
        passed = (samples.source_ns - self._base_ns[rows]).astype(np.float64)
        first = np.isnan(self._base[rows]) | (passed <= 0)
        over = self._over_ns[rows]
        change = samples.values - self._base[rows]
        direction = self._direction[rows]
        change = np.where(direction == 0, np.abs(change), change * direction)
        whole = passed >= over
        rate = change / np.maximum(passed, over) * _MINUTE_NS
        asks = np.where(active, rate >= self._clear[rows], rate >= self._limit[rows])
        renew = usable & (first | whole)
        self._base[rows[renew]] = samples.values[renew]
        self._base_ns[rows[renew]] = samples.source_ns[renew]
        return asks, usable & ~first & (whole | asks)


class FrozenGroup:
    """The value has not changed for `after_s`; asked again by the clock."""

    def __init__(self, specs: Sequence[AlarmSpec]) -> None:
        self._after_ns = np.array([round(spec.after_s * 1e9) for spec in specs], np.int64)
        self._since_ns = np.full(len(specs), -1, np.int64)
        self._value = np.full(len(specs), math.nan)

    def ask(self, samples: Samples, active: Flags) -> tuple[Flags, Flags]:
        """See Group."""
        del active
        rows = samples.rows
        usable = judged(samples.values, samples.quality)
        changed = usable & (samples.values != self._value[rows])
        self._value[rows[changed]] = samples.values[changed]
        self._since_ns[rows[changed]] = samples.now_ns
        since = self._since_ns[rows]
        return (samples.now_ns - since >= self._after_ns[rows]) & (since >= 0), usable


class StaleGroup:
    """No sample for `after_s`; a sample asks for the end, `due` for the beginning."""

    def __len__(self) -> int:
        """Count of rows."""
        return len(self._after_ns)

    def __init__(self, specs: Sequence[AlarmSpec]) -> None:
        self._after_ns = np.array([round(spec.after_s * 1e9) for spec in specs], np.int64)
        self._seen_ns = np.full(len(specs), -1, np.int64)  # -1: not begun

    def ask(self, samples: Samples, active: Flags) -> tuple[Flags, Flags]:
        """See Group."""
        self._seen_ns[samples.rows] = samples.now_ns
        return np.zeros(len(active), np.bool_), np.ones(len(active), np.bool_)

    def begin(self, now_ns: int) -> None:
        """Count the silence from now on where nothing has come yet."""
        self._seen_ns[self._seen_ns < 0] = now_ns

    def due(self, now_ns: int, active: Flags) -> Rows:
        """Rows that have been silent too long and are not active."""
        silent = (self._seen_ns >= 0) & (now_ns - self._seen_ns >= self._after_ns)
        return np.flatnonzero(silent & ~active)

    def next_ns(self, active: Flags) -> int | None:
        """When the next row would have been silent too long."""
        waiting = (self._seen_ns >= 0) & ~active
        if not np.count_nonzero(waiting):
            return None
        return int((self._seen_ns + self._after_ns)[waiting].min())


class Newest:
    """Newest value of every point that a row is over: values[row, slot], and whether it counts.

    shown: slot of the value that is the alarm's own, or -1 where none is.
    """

    def __init__(self, rows: int, slots: int) -> None:
        self.values = np.full((rows, slots), math.nan)
        self.usable = np.zeros((rows, slots), np.bool_)
        self.shown = np.zeros(rows, np.intp)

    def take(self, rows: Rows, slots: Rows, values: Floats, quality: Codes) -> None:
        """Remember."""
        self.values[rows, slots] = values
        self.usable[rows, slots] = judged(values, quality)

    def own(self, rows: Rows) -> Floats:
        """Values that the alarms of these rows report."""
        shown = self.shown[rows]
        return np.where(shown >= 0, self.values[rows, shown], math.nan)


class PairGroup:
    """Two points that must fit each other; a sample of either asks."""

    def __init__(self, specs: Sequence[AlarmSpec]) -> None:
        self.newest = Newest(len(specs), 2)
        self._limit = np.array([spec.limit for spec in specs])
        down = [spec.kind is Kind.DISAGREEMENT and spec.direction < 0 for spec in specs]
        inside = [-spec.deadband if low else spec.deadband
                  for spec, low in zip(specs, down, strict=True)]  # fmt: skip
        self._clear = self._limit - np.array(inside)
        self._kind = specs[0].kind
        self._low = np.array([spec.direction < 0 for spec in specs])

    def ask(self, samples: Samples, active: Flags) -> tuple[Flags, Flags]:
        """See Group."""
        rows = samples.rows
        one, two = self.newest.values[rows].T
        usable = self.newest.usable[rows, 0] & self.newest.usable[rows, 1]
        if self._kind is Kind.DEVIATION:
            away = np.abs(one - two)
            return np.where(active, away >= self._clear[rows], away >= self._limit[rows]), usable
        if self._kind is Kind.VALVE:
            return (one != 0) != (two != 0), usable
        low, on = self._low[rows], two != 0
        limit, clear = self._limit[rows], self._clear[rows]
        reached = np.where(low, one <= limit, one >= limit)
        gone = np.where(low, one > clear, one < clear)
        return (reached & ~on) | (gone & on), usable


Evaluate = Callable[[Mapping[str, float]], object]


class ExpressionGroup:
    """Expressions over newest values; one evaluation a row and moment of the batch."""

    def __init__(self, specs: Sequence[AlarmSpec], compiled: Sequence[Evaluate]) -> None:
        self._compiled = tuple(compiled)
        self._names = [tuple(spec.variables) for spec in specs]
        self.newest = Newest(len(specs), max(1, *map(len, self._names)))
        for row, spec in enumerate(specs):
            points = [*spec.variables.values()]
            own = spec.points[0] if spec.points else ""
            self.newest.shown[row] = points.index(own) if own in points else -1

    def ask(self, samples: Samples, active: Flags) -> tuple[Flags, Flags]:
        """See Group. A row with an unknown value, or whose expression fails, is not judged."""
        del active
        asks = np.zeros(len(samples.rows), np.bool_)
        usable = np.zeros(len(samples.rows), np.bool_)
        for at, row in enumerate(samples.rows.tolist()):
            names = self._names[row]
            if not self.newest.usable[row, : len(names)].all():
                continue
            values = self.newest.values[row].tolist()
            try:
                found = self._compiled[row](dict(zip(names, values, strict=False)))
            except (ValueError, TypeError, RuntimeError):
                continue
            usable[at] = isinstance(found, bool)
            asks[at] = found is True
        return asks, usable

"""Which samples a destination with a thin line is sent, and which alarms. Pure, vectorised.

Guarantees, for every point that a `Choice` takes:

- The first sample in each group of records is kept: a group is read by itself, and whoever comes
  later knows every point's value after one group (60 s).
- A sample whose quality is not that of the last one kept is kept. So is one that lies elsewhere
  among the point's alarm limits (below, on or above each, and each less its deadband): thinning
  never hides that a limit was crossed, in either direction.
- Of a point that has neither range nor deadband, every change from one whole number or text to
  another is kept: it is a state (a bit, a mode), not a measurement.
- What is left out, and only that: a sample that follows the last kept one in the same span of
  `every_ns` of its source's time, and, with `on_change`, one that differs from it by no more than
  the deadband.

What a filter of points leaves out is decided by the catalogue alone. An alarm is left out only
where it names a point, place or hazard, and none that was chosen; one that says nowhere is sent.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from buffer.block import ColumnBatch
from buffer.contract import Columns
from gateway.wire.v1 import uplink_pb2 as wire

_LIMITS = (("low_low", 1.0), ("low", 1.0), ("high", -1.0), ("high_high", -1.0))
_FLOAT, _INT, _UINT, _TEXT = range(4)
_KINDS = {"f": _FLOAT, "i": _INT, "u": _UINT}

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Choice:
    """What one destination takes of the log. Empty tuples choose everything.

    points: names with * and ?, as in gds-1/*.  places, hazards: codes or names as the catalogue has
    them.  A point is chosen if each list that is given holds it.  on_change: only values that
    changed by more than the deadband: the point's own, or deadband_percent of its range where that
    is more.  every_ns: at most one sample of a point in each span of so many ns; 0 for no limit.
    """

    points: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    hazards: tuple[str, ...] = ()
    on_change: bool = False
    deadband_percent: float = 0.0
    every_ns: int = 0

    @property
    def selects(self) -> bool:
        """Tell whether some points, places or hazards are left out."""
        return bool(self.points or self.places or self.hazards)

    @property
    def thins(self) -> bool:
        """Tell whether samples of chosen points are left out."""
        return self.on_change or self.every_ns > 0

    def words(self) -> str:
        """What is left out, in words that tell two choices apart."""
        parts = [
            f"only {name} {', '.join(sorted(chosen))}"
            for name, chosen in (
                ("points", self.points),
                ("places", self.places),
                ("hazards", self.hazards),
            )
            if chosen
        ]
        if self.on_change:
            least = f" or {self.deadband_percent:g} % of range" if self.deadband_percent else ""
            parts.append(f"only changes beyond the deadband{least}")
        if self.every_ns:
            parts.append(f"at most one sample in {self.every_ns / 1e9:g} s")
        return "; ".join(parts) or "nothing"

    def takes_point(self, point: wire.Point) -> bool:
        """Tell whether a point of a catalogue is chosen."""
        return (
            (not self.points or any(fnmatch.fnmatchcase(point.name, one) for one in self.points))
            and (not self.places or point.place in self.places)
            and (not self.hazards or point.hazard in self.hazards)
        )


class Chosen:
    """A choice over one catalogue: which points, with which deadband and limits; by point id."""

    def __init__(self, choice: Choice, points: Sequence[wire.Point]) -> None:
        size = max((point.id for point in points), default=0) + 1
        self.choice = choice
        self.taken = np.zeros(size, np.bool_)
        self.deadband = np.zeros(size)
        self.state = np.ones(size, np.bool_)  # whole numbers are states, not measurements
        self.edges = np.full((2 * len(_LIMITS), size), np.nan)
        self.names: dict[str, bool] = {}
        for point in points:
            self._add(point)

    def _add(self, point: wire.Point) -> None:
        taken = self.names[point.name] = self.choice.takes_point(point)
        at = point.id
        self.taken[at] = taken
        span = point.range_high - point.range_low
        ranged = point.HasField("range_low") and point.HasField("range_high") and span > 0
        least = span * self.choice.deadband_percent / 100 if ranged else 0.0
        self.deadband[at] = max(point.deadband, least)
        self.state[at] = not ranged and point.deadband == 0
        for row, (name, inward) in enumerate(_LIMITS):
            if point.HasField(name):  # type: ignore[arg-type]  # names of optional fields
                limit = getattr(point, name)
                self.edges[2 * row, at] = limit
                self.edges[2 * row + 1, at] = limit + inward * point.deadband

    def takes_name(self, name: str) -> bool | None:
        """Tell whether the point of that name is chosen; None where there is none."""
        return self.names.get(name)

    def takes_alarm(self, alarm: wire.Alarm) -> bool:
        """Tell whether an alarm is sent; it is unless what it names was not chosen."""
        choice = self.choice
        known = self.takes_name(alarm.source)
        if known is not None:
            return known
        told = [
            (alarm.place, choice.places),
            (alarm.hazard, choice.hazards),
        ]
        return all(not chosen or not said or said in chosen for said, chosen in told)


class Thinner:
    """Feed the batches of one group in order; remembers of each point the last sample kept."""

    def __init__(self, chosen: Chosen) -> None:
        self._chosen = chosen
        self._size = 0
        self._seen = np.zeros(0, np.bool_)
        self._kind = np.zeros(0, np.int8)
        self._bits = np.zeros(0, np.uint64)
        self._quality = np.zeros(0, np.uint16)
        self._band = np.zeros(0, np.int16)
        self._span = np.zeros(0, np.int64)
        self._texts: dict[int, str] = {}

    def feed(self, batch: ColumnBatch) -> ColumnBatch | None:
        """Give the part of a batch that is kept: itself if all is, None if nothing is."""
        chosen = self._chosen
        points = batch.points
        wanted = np.full(len(points), not chosen.choice.selects)
        known = (points >= 0) & (points < len(chosen.taken))
        wanted[known] = chosen.taken[points[known]]
        if chosen.choice.thins:
            at = np.flatnonzero(wanted)
            self._grow(points[at])
            for wave in _waves(points[at]):
                part = at[wave]
                wanted[part] = self._decide(batch, part)
        if wanted.all():
            return batch if len(points) else None
        return cut(batch, wanted) if wanted.any() else None

    def _decide(self, batch: ColumnBatch, at: Indices) -> Mask:
        """Which of these samples, each of another point, are kept; and remember them."""
        choice = self._chosen.choice
        points, quality = batch.points[at], batch.quality[at]
        values = _part(batch.values, at)
        times = np.broadcast_to(np.asarray(batch.source_time_ns, np.int64), len(batch))[at]
        kind = _TEXT if isinstance(values, tuple) else _KINDS[values.dtype.kind]
        band = self._band_of(points, values)
        bits = _bits(values)
        span = times // choice.every_ns if choice.every_ns else np.zeros(len(at), np.int64)
        changed, state = self._changed(points, values)
        wanted: Mask = changed.copy() if choice.on_change else np.ones(len(at), np.bool_)
        if choice.every_ns:
            wanted &= span != self._span[points]
        wanted |= (changed & state) | (self._kind[points] != kind)
        wanted |= ~self._seen[points] | (quality != self._quality[points])
        wanted |= band != self._band[points]
        kept = points[wanted]
        self._seen[kept] = True
        self._kind[kept] = kind
        self._bits[kept] = bits[wanted]
        self._quality[kept] = quality[wanted]
        self._band[kept] = band[wanted]
        self._span[kept] = span[wanted]
        if isinstance(values, tuple):
            for index in np.flatnonzero(wanted).tolist():
                self._texts[int(points[index])] = values[index]
        return wanted

    def _changed(self, points: npt.NDArray[np.int32], values: Columns) -> tuple[Mask, Mask]:
        """Which values differ from the last kept beyond the deadband, and which are states."""
        state = np.ones(len(points), np.bool_)
        if isinstance(values, tuple):
            last = [self._texts.get(point) for point in points.tolist()]
            return np.array([a != b for a, b in zip(values, last, strict=True)], np.bool_), state
        before = self._bits[points].view(values.dtype)
        known = points < len(self._chosen.deadband)
        deadband = np.zeros(len(points))
        deadband[known] = self._chosen.deadband[points[known]]
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(values.astype(np.float64) - before.astype(np.float64)) > deadband
        state[known] = self._chosen.state[points[known]]
        differ: Mask = np.not_equal(values, before)
        if values.dtype.kind == "f":
            nan, was_nan = np.isnan(values), np.isnan(before)
            differ &= ~(nan & was_nan)
            apart |= nan | was_nan
            state &= (np.floor(values) == values) & (np.floor(before) == before)
        return differ & (apart | (deadband == 0)), state

    def _band_of(self, points: npt.NDArray[np.int32], values: Columns) -> npt.NDArray[np.int16]:
        """Where each value lies among its point's limits: a digit (below, on, above) for each.

        What is not a number lies nowhere (-1).
        """
        band = np.zeros(len(points), np.int16)
        if isinstance(values, tuple):
            return band
        edges = self._chosen.edges
        known = points < edges.shape[1]
        numbers = values.astype(np.float64)
        for row in edges[:, points[known]]:
            band[known] = 3 * band[known] + (numbers[known] >= row) + (numbers[known] > row)
        band[np.isnan(numbers)] = -1
        return band

    def _grow(self, points: npt.NDArray[np.int32]) -> None:
        top = int(points.max(initial=-1)) + 1
        if top <= self._size:
            return
        more = max(top, 2 * self._size) - self._size
        for name in ("_seen", "_kind", "_bits", "_quality", "_band", "_span"):
            held = getattr(self, name)
            setattr(self, name, np.concatenate([held, np.zeros(more, held.dtype)]))
        self._size += more


def cut(batch: ColumnBatch, mask: Mask) -> ColumnBatch:
    """The samples of a batch that a mask names."""
    times = batch.source_time_ns
    return ColumnBatch(
        batch.points[mask],
        _part(batch.values, np.flatnonzero(mask)),
        batch.quality[mask],
        times if isinstance(times, int) else times[mask],
        batch.gateway_time_ns,
    )


def _part(values: Columns, at: Indices) -> Columns:
    if isinstance(values, tuple):
        return tuple([values[index] for index in at.tolist()])
    return values[at]


def _bits(values: Columns) -> npt.NDArray[np.uint64]:
    if isinstance(values, tuple):
        return np.zeros(len(values), np.uint64)
    return np.ascontiguousarray(values).view(np.uint64)


def _waves(points: npt.NDArray[np.int32]) -> list[Indices]:
    """Indices in order, cut so that no wave holds a point twice: the k-th wave its k-th samples."""
    if not len(points):
        return []
    order = np.argsort(points, kind="stable")
    ordered = points[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    if len(starts) == len(points):
        return [np.arange(len(points))]
    lengths = np.diff(starts, append=len(points))
    rank = np.empty(len(points), np.intp)
    rank[order] = np.arange(len(points)) - np.repeat(starts, lengths)
    return [np.flatnonzero(rank == turn) for turn in range(int(lengths.max()))]

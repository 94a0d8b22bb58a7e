"""How complete what is held is: by stream and hour, and by point. Pure; the same at both ends.

The platform feeds what its store holds, the site what its own log holds, and both get one score.

Streams: sequences are gapless, so every missing one is known. A missing sequence has no time; those
between two records are spread evenly between their times, those before the first record count in
its hour. A gap is explained where the gateway declared it gone or a gap record names it, else it is
unexplained: still under way, or lost. A record is late when it was received more than `late_ns`
after it was made.

Silence: where nothing was made for longer than SILENCE_NS (the gateway stood still, or what it made
is not here and it has not said so), the hours in between count the time that was silent; nothing
was expected of it, so the score alone would call it complete. An hour that is silent as a whole is
told, with score 0.

Derived streams: a record speaks for a range of the log's sequences; those without a record of
their own are counted as withheld, which was agreed on and is no loss.

Points: each sample is of exactly one kind, the first that fits: bad or uncertain for a reason,
under test (simulated, calibrating, warming up, inhibited, under test), planned outage (out of
service), late (its source's time that far behind the gateway's), flat-lined (a float value
unchanged for `flat_ns`), good. The score of a point is good and flat-lined samples to all but
those under test or in a planned outage; None where nothing else was sent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from buffer.block import ColumnBatch
from buffer.ranges import RangeSet
from drivers.contract import Quality, quality_word

HOUR_NS = 3_600 * 1_000_000_000
LATE_NS = 60 * 1_000_000_000
"""Default. No standard was found that gives a number; a minute is the rollup of the local log."""
FLAT_NS = 24 * HOUR_NS
"""Default, likewise our own: a day without the smallest step of a noisy analog."""
SILENCE_NS = 600 * 1_000_000_000
"""Likewise our own: ten key records of telemetry (buffer: one a minute while values come)."""
LONGEST_SILENCE_NS = 92 * 24 * HOUR_NS
"""A quarter: longer is a gateway out of service, or a clock years off, which no hours tell."""
_UNDER_TEST = frozenset(
    {
        Quality.GOOD_SIMULATED,
        Quality.UNCERTAIN_UNDER_TEST,
        Quality.UNCERTAIN_WARM_UP,
        Quality.UNCERTAIN_CALIBRATING,
        Quality.UNCERTAIN_INHIBITED,
    }
)
_NOT_COUNTED = ("under_test", "planned_outage")
_FINE = ("good", "flat")


@dataclass(slots=True)
class Hour:
    """One hour of one stream; counts of sequences, late_ns the greatest lateness."""

    start_ns: int
    received: int = 0
    explained: int = 0
    unexplained: int = 0
    late: int = 0
    late_ns: int = 0
    withheld: int = 0
    silent_ns: int = 0

    @property
    def expected(self) -> int:
        """Sequences that the gateway gave out in this hour."""
        return self.received + self.withheld + self.explained + self.unexplained

    @property
    def score(self) -> float:
        """Part of what was expected that is here, 0 to 1; 0 for an hour of nothing but silence."""
        if not self.expected:
            return 0.0 if self.silent_ns else 1.0
        return (self.received + self.withheld) / self.expected


class StreamScore:
    """Feed the records of one stream in order of sequence, then read `hours`."""

    def __init__(
        self, explained: RangeSet, late_ns: int = LATE_NS, first: int = 1, silence_ns: int = 0
    ) -> None:
        """explained: sequences declared gone; first: oldest sequence that is to be expected.

        silence_ns: how long nothing may be made before it counts as silence; 0 for a stream that
        may be silent.
        """
        self._silence_ns = silence_ns
        self._explained = explained
        self._late_ns = late_ns
        self._following = first
        self._last_ns: int | None = None
        self._hours: dict[int, Hour] = {}

    def feed(self, sequence: int, time_ns: int, received_ns: int, *, first: int = 0) -> None:
        """Take one record: when the gateway made it, and when it was received.

        first: first sequence that it speaks for; 0 for itself alone.
        """
        first = first or sequence
        if first > self._following:
            before = time_ns if self._last_ns is None else self._last_ns
            self._missing(self._following, first, before, time_ns)
        if self._last_ns is not None:
            self._silent(self._last_ns, time_ns)
        hour = self._hour(time_ns)
        hour.received += 1
        hour.withheld += sequence - first
        lateness = max(0, received_ns - time_ns)
        hour.late += lateness > self._late_ns
        hour.late_ns = max(hour.late_ns, lateness)
        self._following, self._last_ns = max(self._following, sequence + 1), time_ns

    def hours(self, stop: int = 0, said_ns: int = 0, until_ns: int = 0) -> list[Hour]:
        """Hours in order. stop: one past the newest sequence the gateway is known to have.

        said_ns: when it said so; where nothing is here at all, it is missing in that hour.
        until_ns: silence lasts until then, where nothing more is expected to be there yet.
        """
        last_ns = said_ns if self._last_ns is None else self._last_ns
        if stop > self._following and last_ns:
            self._missing(self._following, stop, last_ns, last_ns)
            self._following = stop
        if until_ns and last_ns:
            self._silent(last_ns, until_ns)
        return [self._hours[start] for start in sorted(self._hours)]

    def _silent(self, from_ns: int, to_ns: int) -> None:
        silent_ns = to_ns - from_ns
        if not self._silence_ns or not self._silence_ns < silent_ns <= LONGEST_SILENCE_NS:
            return
        while from_ns < to_ns:
            stop_ns = min(to_ns, (from_ns // HOUR_NS + 1) * HOUR_NS)
            self._hour(from_ns).silent_ns += stop_ns - from_ns
            from_ns = stop_ns

    def _missing(self, start: int, stop: int, from_ns: int, to_ns: int) -> None:
        unexplained = self._explained.missing(start, stop)
        explained = RangeSet([(start, stop)])
        for low, high in unexplained:
            explained.discard(low, high)
        span_ns = max(0, to_ns - from_ns)
        for ranges, name in ((unexplained, "unexplained"), (explained, "explained")):
            for low, high in ranges:
                for hour, count in _spread(
                    low - start, high - start, stop - start, from_ns, span_ns
                ):
                    row = self._hour(hour * HOUR_NS)
                    setattr(row, name, getattr(row, name) + count)

    def _hour(self, time_ns: int) -> Hour:
        start_ns = time_ns // HOUR_NS * HOUR_NS
        found = self._hours.get(start_ns)
        if found is None:
            found = self._hours[start_ns] = Hour(start_ns)
        return found


def _spread(low: int, high: int, count: int, from_ns: int, span_ns: int) -> list[tuple[int, int]]:
    """Hours, and how many of the missing numbers [low, high) of `count` fall into each.

    Number k lies at from + span * (k + 1) / (count + 1).
    """
    found: list[tuple[int, int]] = []
    while low < high:
        hour = (from_ns + span_ns * (low + 1) // (count + 1)) // HOUR_NS
        stop = high
        if span_ns:
            # First k whose time is in a later hour.
            room_ns = (hour + 1) * HOUR_NS - from_ns
            stop = min(high, max(low + 1, -(-room_ns * (count + 1) // span_ns) - 1))
        found.append((hour, stop - low))
        low = stop
    return found


def kind_of(code: int) -> str:
    """Kind of a sample by its quality alone: good, under_test, planned_outage, or the words."""
    if code in _UNDER_TEST:
        return "under_test"
    if code == Quality.BAD_OUT_OF_SERVICE:
        return "planned_outage"
    return quality_word(code)


@dataclass(slots=True)
class PointScore:
    """Samples of one point, or of all points of one hazard, by kind."""

    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def score(self) -> float | None:
        """Good and flat-lined samples to all that count; None where none does."""
        counted = sum(n for kind, n in self.kinds.items() if kind not in _NOT_COUNTED)
        return sum(self.kinds[kind] for kind in _FINE) / counted if counted else None


class PointScores:
    """Feed the batches of one log in order, then read `points` by id."""

    def __init__(self, late_ns: int = LATE_NS, flat_ns: int = FLAT_NS) -> None:
        self._late_ns = late_ns
        self._flat_ns = flat_ns
        self._value: dict[int, float] = {}
        self._changed_ns: dict[int, int] = {}
        self.points: dict[int, PointScore] = {}

    def feed(self, batch: ColumnBatch, *, counted: bool = True) -> None:
        """Take one batch; one that is not counted only says since when values stand still."""
        if not counted:
            self._flat(batch, np.broadcast_to(np.asarray(batch.source_time_ns), len(batch)))
            return
        count = len(batch)
        times = np.broadcast_to(np.asarray(batch.source_time_ns, np.int64), count)
        kinds = np.where(batch.gateway_time_ns - times > self._late_ns, "late", "good").astype(
            object
        )
        flat = self._flat(batch, times)
        kinds[flat & (kinds == "good")] = "flat"
        for code in np.unique(batch.quality).tolist():
            if code != Quality.GOOD:
                kinds[batch.quality == code] = kind_of(code)
        for point, kind in zip(batch.points.tolist(), kinds.tolist(), strict=True):
            self.points.setdefault(point, PointScore()).kinds[kind] += 1

    def _flat(self, batch: ColumnBatch, times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        flat = np.zeros(len(batch), np.bool_)
        if isinstance(batch.values, tuple) or batch.values.dtype.kind != "f":
            return flat
        rows = zip(batch.points.tolist(), batch.values.tolist(), times.tolist(), strict=True)
        for index, (point, value, time_ns) in enumerate(rows):
            if self._value.get(point) != value:
                self._value[point], self._changed_ns[point] = value, time_ns
            flat[index] = time_ns - self._changed_ns[point] >= self._flat_ns
        return flat


def by_hazard(points: dict[int, PointScore], hazards: dict[int, str]) -> dict[str, PointScore]:
    """Add up points of the same hazard (重大危险源 code); points without one stand under ""."""
    found: dict[str, PointScore] = {}
    for point, score in points.items():
        found.setdefault(hazards.get(point, ""), PointScore()).kinds.update(score.kinds)
    return found

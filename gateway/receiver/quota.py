"""How much one gateway may send. Pure: time is an argument.

Guarantees: nothing within the quota waits. What is over it is taken all the same and told (a pause
for the bulk lane, a slower reading of the priority lane), so a gateway that listens loses nothing
and never has to send twice. One that does not listen is ended once it is OVERRUN_SECONDS of its
quota beyond, so what it can make a receiver store is bounded too. Alarms are never paused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BURST_SECONDS = 10
"""Saved-up quota: a reconnect brings the start of a backlog at once."""
OVERRUN_SECONDS = 30
DAY_OVERRUN_BYTES = 16 * 1024 * 1024
"""What may be under way when the day's quota ends: windows and messages of both lanes."""
HOLD_SECONDS = 2.0
"""Longest that a reader is held up, far below the 10 s after which a gateway takes it for dead."""
_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of one gateway; 0 is none. bytes: telemetry and evidence; records: the other lane."""

    bytes_per_s: int = 0
    bytes_per_day: int = 0
    records_per_s: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a message: tell a pause, read on later, end with a sentence; or nothing."""

    pause_ms: int = 0
    hold_s: float = 0.0
    over: str = ""


FINE = Verdict()


@dataclass(slots=True)
class _Bucket:
    """Token bucket that may go below zero; level in units of what it counts."""

    rate: int
    level: float = 0.0
    at_ns: int | None = None

    def take(self, count: int, now_ns: int) -> float:
        """Take; returns the seconds until it is level again, 0 if it is."""
        if not self.rate:
            return 0.0
        full = float(self.rate * BURST_SECONDS)
        if self.at_ns is None:
            self.level = full
        else:
            passed_s = max(0, now_ns - self.at_ns) / _SECOND_NS
            self.level = min(full, self.level + passed_s * self.rate)
        self.at_ns = now_ns
        self.level -= count
        return max(0.0, -self.level / self.rate)


@dataclass(slots=True)
class Meter:
    """Counts what one gateway sends, over both lanes and all its connections."""

    quota: Quota
    _bytes: _Bucket = field(init=False)
    _records: _Bucket = field(init=False)
    _day: int = -1
    _day_bytes: int = 0

    def __post_init__(self) -> None:
        """Start with full buckets."""
        self._bytes = _Bucket(self.quota.bytes_per_s)
        self._records = _Bucket(self.quota.records_per_s)

    def bulk(self, size_bytes: int, *, now_ns: int, wall_ns: int) -> Verdict:
        """Judge telemetry or evidence of so many bytes. now_ns: monotonic; wall_ns: the day's."""
        late_s = self._bytes.take(size_bytes, now_ns)
        if late_s > OVERRUN_SECONDS:
            limit = self.quota.bytes_per_s
            return Verdict(over=f"more than {limit} bytes a second, and no pause when told to")
        day, into_day_ns = divmod(wall_ns, _DAY_NS)
        if day != self._day:
            self._day, self._day_bytes = day, 0
        self._day_bytes += size_bytes
        beyond = self._day_bytes - self.quota.bytes_per_day
        if self.quota.bytes_per_day and beyond > 0:
            if beyond > DAY_OVERRUN_BYTES:
                limit = self.quota.bytes_per_day
                return Verdict(over=f"more than {limit} bytes in a day, and no pause when told to")
            return Verdict(pause_ms=(_DAY_NS - into_day_ns) // 1_000_000)
        return Verdict(pause_ms=int(late_s * 1000)) if late_s else FINE

    def priority(self, records: int, *, now_ns: int) -> Verdict:
        """Judge so many alarms or events. They are read more slowly, never told to wait."""
        late_s = self._records.take(records, now_ns)
        return Verdict(hold_s=min(late_s, HOLD_SECONDS)) if late_s else FINE

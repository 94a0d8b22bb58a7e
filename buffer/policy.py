"""Decisions of the buffer: when to commit, when a key starts, what to evict, what gaps to report.

Guarantees: pure; time comes in as an argument. Counts of reported gaps add up exactly to what was
missing. Eviction goes oldest group first and never touches the group that is being written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from buffer.contract import Gap, Stream

GIB = 1 << 30
MIB = 1 << 20
HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS


@dataclass(frozen=True, slots=True)
class BufferConfig:
    """Settings of the buffer; defaults are the design's (design: buffer).

    commit_ms, commit_bytes: a telemetry commit happens at the latest so long after its first
        batch, or when so many encoded bytes are expected (more in one commit is slower, measured).
    key_every_s: a key starts a new group that often; the unit of eviction.
    retention_days: older groups and records are evicted once every destination has acknowledged
        them.
    quota_bytes, quota_hours: per stream; the oldest go when it is exceeded, acknowledged or not.
        No quota in hours is set by default.
    rollup_quota_bytes: of the one-minute rollup; 0 makes none.
    verify_whole_bytes: files up to this size are verified row by row at every start (64 MiB take
        about 0.1 s), larger ones in their newest rows, and then as a whole in the background.
    queue_bytes: raw bytes queued for the writers before `room` waits; at four times that
        batches are refused.
    min_free_bytes: with less room than this on the file system telemetry.db does not grow:
        telemetry goes where acknowledged telemetry was, and is shed where there is none left, or
        with less than half of this (the WAL may grow by 16 MiB).
    reserve_bytes: pre-allocated for alarms and gap records, given up when the disk is full.
    gap_interval_s: an open gap is reported again at most that often.
    lock_wait_ms: a commit waits so long for another process (inspection) to let go of the file.
    sign_every_s: heads are signed that often, where there is a key.
    attempts: commits are tried so often, with close, reopen and verify between.
    """

    commit_ms: int = 100
    commit_bytes: int = 80_000
    key_every_s: int = 60
    retention_days: float = 30
    quota_bytes: Mapping[Stream, int] = field(
        default_factory=lambda: {
            Stream.ALARM: 256 * MIB,
            Stream.EVENT: GIB,
            Stream.TELEMETRY: 8 * GIB,
            Stream.EVIDENCE: 4 * GIB,
        }
    )
    quota_hours: Mapping[Stream, float] = field(default_factory=dict)
    rollup_quota_bytes: int = 2 * GIB
    verify_whole_bytes: int = 64 * MIB
    queue_bytes: int = 64 * MIB
    min_free_bytes: int = 64 * MIB
    reserve_bytes: int = 16 * MIB
    gap_interval_s: int = 3_600
    sign_every_s: int = 3_600
    attempts: int = 3
    lock_wait_ms: int = 1_000


class CommitPolicy:
    """When the batches that wait become a commit."""

    def __init__(self, config: BufferConfig) -> None:
        self._wait_ns = config.commit_ms * 10**6
        self._bytes = config.commit_bytes
        self._bytes_a_sample = 2.0
        self._samples = 0
        self._since_ns: int | None = None

    def add(self, samples: int, now_ns: int) -> bool:
        """Take in a batch; tells whether to commit at once."""
        if self._since_ns is None:
            self._since_ns = now_ns
        self._samples += samples
        return self._samples * self._bytes_a_sample >= self._bytes

    def deadline_ns(self) -> int | None:
        """When to commit at the latest; None while nothing waits."""
        return None if self._since_ns is None else self._since_ns + self._wait_ns

    def taken(self) -> None:
        """Everything that waited is being committed."""
        self._samples = 0
        self._since_ns = None

    def observed(self, samples: int, encoded_bytes: int) -> None:
        """Learn what a sample costs, in slow steps."""
        if samples:
            self._bytes_a_sample += (encoded_bytes / samples - self._bytes_a_sample) / 8
            self._bytes_a_sample = max(self._bytes_a_sample, 0.05)

    def samples_a_record(self) -> int:
        """How many samples make one record of about commit_bytes."""
        return max(1, int(self._bytes / self._bytes_a_sample))


class KeyPolicy:
    """When a telemetry record is a key: the first, every key_every_s, on request, after a loss."""

    def __init__(self, config: BufferConfig) -> None:
        self._every_ns = config.key_every_s * 10**9
        self._started_ns: int | None = None
        self._catalogue = b""

    def starts(self, now_ns: int, catalogue: bytes) -> bool:
        """Tell whether the next record is a key."""
        return (
            self._started_ns is None
            or now_ns - self._started_ns >= self._every_ns
            or catalogue != self._catalogue
        )

    def stored_key(self, now_ns: int, catalogue: bytes) -> None:
        """A key has been stored."""
        self._started_ns = now_ns
        self._catalogue = catalogue

    def force(self) -> None:
        """The next record is a key: asked for, or its predecessor was lost."""
        self._started_ns = None


@dataclass(frozen=True, slots=True)
class Held:
    """One unit of eviction: a group of telemetry, or one record of another stream.

    first_id, last_id: rows, inclusive.  used_bytes: payload and row overhead.
    kept: it must not be evicted (the catalogue of a group that is held).
    """

    first_id: int
    last_id: int
    first_ns: int
    last_ns: int
    used_bytes: int
    kept: bool = False


EXPIRED_AT_ONCE = 2
"""Groups that one check may evict for their age alone. One group is made between two checks, so
two keep up; a clock that jumped a year ahead then costs two groups a minute and not the log."""


EVERYTHING = 1 << 62


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stream may keep.

    quota_bytes: the oldest go when more is held.  quota_from_ns: what ended before this is past
    the quota in hours.  retention_from_ns: what ended before this is past retention, and goes if
    it is acknowledged: rows up to acknowledged_id are, by every destination.
    """

    quota_bytes: int
    quota_from_ns: int
    retention_from_ns: int
    acknowledged_id: int = EVERYTHING


def limits(config: BufferConfig, stream: Stream, wall_ns: int, acknowledged_id: int) -> Limits:
    """Limits of a stream now."""
    hours = config.quota_hours.get(stream)
    return Limits(
        config.quota_bytes[stream],
        -EVERYTHING if hours is None else wall_ns - int(hours * HOUR_NS),
        wall_ns - int(config.retention_days * DAY_NS),
        acknowledged_id,
    )


def choose_evictions(
    held: Iterable[Held],
    used_bytes: int,
    limit: Limits,
    *,
    expired_at_once: int = EXPIRED_AT_ONCE,
) -> list[tuple[str, Held]]:
    """What to evict, oldest first, with its cause (retention or quota).

    held: oldest first, without the group that is being written. Stops at the first unit that may
    stay. Age alone takes at most `expired_at_once` units, whichever limit it is past.
    """
    chosen: list[tuple[str, Held]] = []
    for unit in held:
        cause = _cause(unit, used_bytes, limit, is_age_left=len(chosen) < expired_at_once)
        if not cause:
            break
        if unit.kept:
            continue
        chosen.append((cause, unit))
        used_bytes -= unit.used_bytes
    return chosen


def _cause(unit: Held, used_bytes: int, limit: Limits, *, is_age_left: bool) -> str:
    is_sent = unit.last_id <= limit.acknowledged_id
    if is_age_left and is_sent and unit.last_ns < limit.retention_from_ns:
        return "retention"
    over_hours = is_age_left and unit.last_ns < limit.quota_from_ns
    return "quota" if used_bytes > limit.quota_bytes or over_hours else ""


def choose_for_room(held: Iterable[Held], short_bytes: int, limit: Limits) -> list[Held]:
    """What to evict, oldest first, to make `short_bytes` of room on a disk that is nearly full.

    Only what every destination has: new telemetry is worth more than a second copy of old.
    """
    chosen: list[Held] = []
    for unit in held:
        if short_bytes <= 0 or unit.last_id > limit.acknowledged_id:
            break
        chosen.append(unit)
        short_bytes -= unit.used_bytes
    return chosen


AGED_A_MINUTE = 100


class AgePace:
    """How many records of one stream may go for their age alone.

    A minute AGED_A_MINUTE and twice what was stored in the minute before: that keeps up with any
    rate, and a clock that jumped a year ahead costs some hundreds of records a minute, not all.
    """

    def __init__(self) -> None:
        self._since_ns: int | None = None
        self._left, self._stored = AGED_A_MINUTE, 0

    def stored(self, now_ns: int) -> None:
        """A record was stored; `now_ns` is monotonic."""
        self._turn(now_ns)
        self._stored += 1

    def took(self, count: int) -> None:
        """So many went."""
        self._left -= count

    def left(self, now_ns: int) -> int:
        """How many may go now."""
        self._turn(now_ns)
        return max(self._left, 0)

    def _turn(self, now_ns: int) -> None:
        if self._since_ns is None:
            self._since_ns = now_ns
        passed_ns = now_ns - self._since_ns
        if passed_ns < LOOK_FROM_NS:
            return
        recent = self._stored if passed_ns < 2 * LOOK_FROM_NS else 0
        self._left, self._stored, self._since_ns = AGED_A_MINUTE + 2 * recent, 0, now_ns


LOOK_FROM_NS = 60 * 10**9
LOOK_AT_LATEST_NS = HOUR_NS


def next_look_ns(oldest: Held | None, limit: Limits, now_ns: int) -> int | None:
    """When a log that nobody writes to is to be looked at for what has grown too old.

    In monotonic time: when the oldest unit ends its time, not more often than each minute, at
    least each hour (clocks step, and what was not acknowledged may be by then).
    """
    if oldest is None:
        return None
    wait_ns = oldest.last_ns - max(limit.retention_from_ns, limit.quota_from_ns)
    return now_ns + min(max(wait_ns, LOOK_FROM_NS), LOOK_AT_LATEST_NS)


def capacity_hours(used_bytes: int, quota_bytes: int, held_ns: int) -> float:
    """Hours that the quota lasts at the rate seen so far; infinite where nothing is held."""
    if used_bytes <= 0 or held_ns <= 0:
        return float("inf")
    return quota_bytes / used_bytes * held_ns / HOUR_NS


def merge_gaps(one: Gap, other: Gap) -> Gap:
    """One gap that stands for two of the same stream and cause; counts add up."""
    return replace(
        one,
        first=min(one.first, other.first),
        last=max(one.last, other.last),
        first_ns=min(one.first_ns, other.first_ns),
        last_ns=max(one.last_ns, other.last_ns),
        count=one.count + other.count,
    )


class GapLedger:
    """One open gap per stream and cause.

    The first loss is reported at once; what follows is added up and reported at most once per
    interval. A gap closes when an interval passes without a loss. Every loss is in exactly
    one report.
    """

    def __init__(self, interval_ns: int, pending: Sequence[Gap] = ()) -> None:
        self._interval_ns = interval_ns
        self._pending: dict[tuple[Stream, str, bool], Gap | None] = {}
        self._reported_ns: dict[tuple[Stream, str, bool], int] = {}
        for gap in pending:
            key = (gap.stream, gap.cause, gap.first == 0)
            before = self._pending.get(key)
            self._pending[key] = gap if before is None else merge_gaps(before, gap)
            self._reported_ns[key] = -(1 << 62)

    def add(self, gap: Gap, now_ns: int) -> list[Gap]:
        """Take in a loss; gives what to report now."""
        key = (gap.stream, gap.cause, gap.first == 0)
        if key not in self._pending:
            self._pending[key] = None
            self._reported_ns[key] = now_ns
            return [gap]
        before = self._pending[key]
        self._pending[key] = gap if before is None else merge_gaps(before, gap)
        return self.tick(now_ns)

    def tick(self, now_ns: int) -> list[Gap]:
        """What is due for a report."""
        due = [
            key for key, at_ns in self._reported_ns.items() if now_ns - at_ns >= self._interval_ns
        ]
        reports: list[Gap] = []
        for key in due:
            gap = self._pending[key]
            if gap is None:
                del self._pending[key], self._reported_ns[key]
                continue
            reports.append(gap)
            self._pending[key] = None
            self._reported_ns[key] = now_ns
        return reports

    def close(self) -> list[Gap]:
        """Everything not yet reported; closes all gaps."""
        reports = self.pending()
        self._pending.clear()
        self._reported_ns.clear()
        return reports

    def copy(self) -> GapLedger:
        """Independent copy, to return to when a report could not be written."""
        twin = GapLedger(self._interval_ns)
        twin._pending = dict(self._pending)
        twin._reported_ns = dict(self._reported_ns)
        return twin

    def pending(self) -> list[Gap]:
        """What was lost and not yet reported, to be kept across a restart."""
        return [gap for gap in self._pending.values() if gap is not None]

    def next_deadline_ns(self) -> int | None:
        """When `tick` has something to report next."""
        waiting = [
            self._reported_ns[key] + self._interval_ns
            for key, gap in self._pending.items()
            if gap is not None
        ]
        return min(waiting, default=None)

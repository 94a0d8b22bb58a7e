"""What of one transaction's works is new, known or refused, decided under the streams' locks.

A sequence that is not acknowledged has no record, so it is new without looking further; this is
all that live traffic costs. Only what comes a second time is looked up: first around the day that
it says itself, then, because a forged twin may carry another time, in all days.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.check import SEQUENCE_STOP, Entry, Fault
from gateway.receiver.contract import (
    ANOTHER_RECORD,
    BROKEN_CHAIN,
    Entries,
    Gaps,
    Stored,
    StoreFailedError,
    Work,
    runs,
    stream_key,
)
from gateway.receiver.postgres.connect import Connection
from gateway.receiver.postgres.days import DAY_NS
from gateway.receiver.waiting import WaitingGroups


@dataclass(slots=True)
class _Line:
    """One stream in this transaction: what was acknowledged around it, its head, what is added."""

    acknowledged: RangeSet = field(default_factory=RangeSet)
    head_sequence: int = 0
    head_hash: bytes = b""
    hashes: dict[int, bytes] = field(default_factory=dict)
    added: RangeSet = field(default_factory=RangeSet)
    gone: RangeSet = field(default_factory=RangeSet)


class Ledger:
    """Locks every stream that the works touch, then decides work by work.

    new: (stream key, record) to be copied.  faults: (log, stream, fault) to be noted.
    """

    def __init__(self, db: Connection, works: Iterable[Work]) -> None:
        self._db = db
        self._lines: dict[int, _Line] = {}
        self.new: list[tuple[int, Entry]] = []
        self.faults: list[tuple[int, Stream, Fault]] = []
        touched = [work for work in works if isinstance(work, Entries | Gaps)]
        self._lock(touched)
        for work in touched:
            if isinstance(work, Entries):
                self._look_up(work)

    def store(self, work: Entries, waiting: WaitingGroups) -> Stored:
        """Decide about records; what is new goes to `new`."""
        key = stream_key(work.log, work.stream)
        line = self._lines[key]
        outcome = Stored(refused=list(work.faults))
        self.faults += [(work.log, work.stream, fault) for fault in work.faults]
        for run in runs(work.entries):
            before = self._hash_before(line, run[0].sequence)
            if before and before != run[0].previous_hash and not run[0].begins_chain:
                # Stored all the same: to refuse it would lose a record over what another one says.
                fault = Fault(run[0].sequence, "chain", run[0].hash, BROKEN_CHAIN)
                self.faults.append((work.log, work.stream, fault))
            for entry in run:
                self._store_one(work, entry, outcome, waiting)
        line.added.update(outcome.acknowledged)
        return outcome

    def note_gaps(self, work: Gaps) -> Stored:
        """Acknowledge ranges that the gateway no longer holds."""
        line = self._lines[stream_key(work.log, work.stream)]
        ranges = RangeSet(work.ranges)
        line.added.update(ranges)
        line.gone.update(ranges)
        return Stored(acknowledged=ranges)

    def move_cursors(self) -> None:
        """Write what was added to each stream, and its newest record."""
        rows = [
            (to_multirange(line.added), to_multirange(line.gone), line.head_sequence,
             line.head_hash, key)
            for key, line in sorted(self._lines.items())
            if line.added
        ]  # fmt: skip
        if rows:
            self._db.cursor().executemany(
                "UPDATE streams SET acknowledged = acknowledged + %s::int8multirange,"
                " gone = gone + %s::int8multirange, head_sequence = %s, head_hash = %s"
                " WHERE stream_key = %s",
                rows,
            )

    def _store_one(
        self, work: Entries, entry: Entry, outcome: Stored, waiting: WaitingGroups
    ) -> None:
        key = stream_key(work.log, work.stream)
        line = self._lines[key]
        stored = line.hashes.get(entry.sequence)
        if stored is None:
            needed = waiting.needed(work.log, work.stream, entry)
            if needed:
                outcome.needed += [needed] if needed not in outcome.needed else []
                return
            self.new.append((key, entry))
            line.hashes[entry.sequence] = entry.hash
            if entry.sequence > line.head_sequence:
                line.head_sequence, line.head_hash = entry.sequence, entry.hash
        elif stored != entry.hash:
            fault = Fault(entry.sequence, "conflict", entry.hash, ANOTHER_RECORD)
            outcome.refused.append(fault)
            self.faults.append((work.log, work.stream, fault))
            return
        outcome.acknowledged.add(entry.first, entry.sequence + 1)

    @staticmethod
    def _hash_before(line: _Line, sequence: int) -> bytes:
        if sequence <= 1:
            return b""
        if line.head_sequence == sequence - 1:
            return line.head_hash
        return line.hashes.get(sequence - 1, b"")

    def _lock(self, works: Sequence[Entries | Gaps]) -> None:
        spans: dict[int, tuple[int, int]] = {}
        for work in works:
            key = stream_key(work.log, work.stream)
            low, high = spans.get(key, (SEQUENCE_STOP, 0))
            for start, stop in _spans(work):
                low, high = min(low, start - 1), max(high, stop)
            spans[key] = low, high
        if not spans:
            return
        keys = sorted(spans)
        rows = self._db.execute(
            "SELECT stream_key, head_sequence, head_hash,"
            " (acknowledged * int8multirange(int8range(low, high)))::text"
            " FROM streams JOIN unnest(%s::bigint[], %s::bigint[], %s::bigint[])"
            " AS asked (key, low, high) ON key = stream_key"
            " ORDER BY stream_key FOR UPDATE OF streams",
            (keys, [min(spans[key]) for key in keys], [max(spans[key]) for key in keys]),
        ).fetchall()
        for found, sequence, digest, ranges in rows:
            self._lines[int(str(found))] = _Line(
                from_multirange(str(ranges)), int(str(sequence)), _bytes(digest)
            )
        for key in keys:
            if key not in self._lines:
                raise StoreFailedError(f"stream {key} belongs to no log of this store")

    def _look_up(self, work: Entries) -> None:
        """Learn the hashes of what is stored already of these records and of their predecessors."""
        key = stream_key(work.log, work.stream)
        line = self._lines[key]
        asked = {entry.sequence for entry in work.entries}
        asked |= {run[0].sequence - 1 for run in runs(work.entries)} - {line.head_sequence}
        asked = {sequence for sequence in asked
                 if sequence in line.acknowledged and sequence not in line.hashes}  # fmt: skip
        if not asked:
            return
        times = [entry.time_ns for entry in work.entries]
        found = self._hashes(key, asked, (min(times) - DAY_NS, max(times) + DAY_NS))
        rest = asked - set(found)
        if rest:
            found |= self._hashes(key, rest, (-(1 << 63), (1 << 63) - 1))
        line.hashes.update(found)

    def _hashes(self, key: int, asked: set[int], between_ns: tuple[int, int]) -> dict[int, bytes]:
        rows = self._db.execute(
            "SELECT sequence, hash FROM records WHERE stream_key = %s AND sequence = ANY(%s)"
            " AND time_ns BETWEEN %s AND %s",
            (key, sorted(asked), *between_ns),
        ).fetchall()
        return {int(str(sequence)): _bytes(digest) for sequence, digest in rows}


def to_multirange(ranges: RangeSet) -> str:
    """Ranges as PostgreSQL writes an int8multirange."""
    return "{" + ",".join(f"[{start},{stop})" for start, stop in ranges) + "}"


def from_multirange(text: str) -> RangeSet:
    """Read what `to_multirange` writes."""
    ranges = RangeSet()
    for part in text.strip("{}").replace("),", ");").split(";"):
        if part:
            start, stop = part.strip("[)").split(",")
            ranges.add(int(start), int(stop))
    return ranges


def _spans(work: Entries | Gaps) -> Iterable[tuple[int, int]]:
    if isinstance(work, Gaps):
        return work.ranges
    return [(run[0].sequence, run[-1].sequence + 1) for run in runs(work.entries)]


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("the server returned no bytes")
    return value

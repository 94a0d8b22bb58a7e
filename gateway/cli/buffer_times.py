"""True times of a data directory, by the anchor records that it holds itself.

Guarantees: what `plantgate query` prints of the same records (gateway/receiver/corrections.py). The
anchors are read once, when the first record that was not synchronised is met: all that are held,
also those of former log ids, because a boot may outlive one.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from buffer.contract import Record, Stream
from buffer.database import RECORDS, TELEMETRY
from buffer.inspection import Inspection
from gateway.model.clock import Anchors, Stamp, anchor_of
from gateway.wire.v1 import uplink_pb2 as wire

ROWS_AT_ONCE = 20_000
GROUPS_AT_ONCE = 200


class TrueTimes:
    """Of one data directory. as_recorded: leave every time as the gateway wrote it."""

    def __init__(self, inspection: Inspection, *, as_recorded: bool = False) -> None:
        self._inspection = inspection
        self._as_recorded = as_recorded
        self._anchors: Anchors | None = None

    def shift_ns(self, record: Record) -> int:
        """What is to be added to the gateway's wall-clock times in a record."""
        stamp = Stamp(record.boot_id, record.monotonic_ns, record.time_ns, record.synchronised)
        return self._shift_ns(stamp)

    def sequences(self, from_ns: int, to_ns: int) -> tuple[int, int]:
        """First and last sequence of telemetry that may hold times in [from_ns, to_ns]."""
        first, last = self._inspection.sequences_between(Stream.TELEMETRY, from_ns, to_ns)
        for group_first, group_last, low_ns, high_ns in self._moved():
            if low_ns <= to_ns and high_ns >= from_ns:
                is_none = first > last
                first = group_first if is_none else min(first, group_first)
                last = group_last if is_none else max(last, group_last)
        return first, last

    def _moved(self) -> Iterator[tuple[int, int, int, int]]:
        """Groups whose times are shifted: first and last sequence, first and last true time."""
        try:
            reader = self._inspection.reader(TELEMETRY)
        except KeyError:
            return
        base, after = reader.base(self._inspection.log_id(), Stream.TELEMETRY) or 0, 0
        query = (
            "SELECT t.id, g.last_id, g.first_ns, g.last_ns, b.value, t.monotonic_ns, t.time_ns,"
            " t.synchronised FROM finished_group g JOIN {table} t ON t.id = g.id"
            " JOIN name b ON b.id = t.boot WHERE g.id > ? ORDER BY g.id LIMIT ?"
        )
        newest = (
            "SELECT min(t.id), max(t.id), min(t.first_ns), max(t.last_ns), b.value,"
            " t.monotonic_ns, t.time_ns, t.synchronised FROM {table} t"
            " JOIN name b ON b.id = t.boot WHERE t.id > ? HAVING min(t.id) NOT NULL"
        )
        while True:
            rows = reader.ask(Stream.TELEMETRY, query, max(after, base), GROUPS_AT_ONCE)
            is_last = not rows
            rows = rows or reader.ask(Stream.TELEMETRY, newest, max(after, base))
            for first, last, low_ns, high_ns, boot, monotonic_ns, time_ns, synchronised in rows:
                after = int(last)
                stamp = Stamp(bytes(boot), monotonic_ns, time_ns, bool(synchronised))
                if shift_ns := self._shift_ns(stamp):
                    yield first - base, last - base, low_ns + shift_ns, high_ns + shift_ns
            if is_last:
                return

    def _shift_ns(self, stamp: Stamp) -> int:
        if stamp.synchronised or self._as_recorded:
            return 0
        if self._anchors is None:
            self._anchors = self._read()
        return self._anchors.shift_ns(stamp)

    def _read(self) -> Anchors:
        anchors = Anchors()
        try:
            reader = self._inspection.reader(RECORDS)
        except KeyError:
            return anchors
        low, high = reader.ask(Stream.EVENT, "SELECT min(id), max(id) FROM {table}")[0]
        query = (
            "SELECT payload FROM {table} WHERE id BETWEEN ? AND ?"
            " AND instr(payload, CAST('clock.anchor' AS BLOB))"
        )
        for start in range(low or 0, (high or -1) + 1, ROWS_AT_ONCE):
            for (payload,) in reader.ask(Stream.EVENT, query, start, start + ROWS_AT_ONCE - 1):
                try:
                    anchor = anchor_of(wire.Event.FromString(payload))
                except DecodeError:
                    continue
                if anchor is not None:
                    anchors.add(anchor)
        return anchors

"""A Modbus source that counts its reads, and the account of what became of each of them.

Every read of the block is answered with its own number: each counter point has it, and the alarm
point has it too in every other phase of ALARM_PHASE reads, else 0. So a value says which read it
came from, and which alarms there must be follows from the numbers alone.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from buffer.contract import Stream
from buffer.inspection import Inspection
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.modbus_server import Device

COUNTERS = 24
ALARM_PHASE = 6
ALARM_POINT = "gds/AT"
RAISED, RETURNED = 1, 2


class CountingDevice(Device):
    """Registers 0-1: the alarm point; then COUNTERS pairs with the number of the read."""

    def __init__(self) -> None:
        super().__init__(2 * (COUNTERS + 1))
        self.reads = 0
        self.last_read_s = 0.0  # monotonic

    def _holding(self, start: int, end: int) -> bytes:
        self.reads += 1
        self.last_read_s = time.monotonic()
        values = np.full(COUNTERS + 1, self.reads, ">u4")
        values[0] = alarm_value(self.reads)
        return values.tobytes()[2 * start : 2 * end]


def alarm_value(read: int) -> int:
    """What the alarm point answers to a read; above 0 is the alarm."""
    return read if (read // ALARM_PHASE) % 2 else 0


def point_rows() -> list[str]:
    """Rows name,area,address,type,low,high of the point table."""
    counters = (f"n{i},holding,{2 * i + 2},u32,," for i in range(COUNTERS))
    return ["AT,holding,0,u32,,0.5", *counters]


Change = tuple[int, float]
"""An alarm record: RAISED or RETURNED, and its value."""


def expected_changes(reads: Iterable[int], *, standing: bool) -> list[tuple[int, Change]]:
    """Alarm records that these reads must give, each with its read."""
    found: list[tuple[int, Change]] = []
    for read in reads:
        value = alarm_value(read)
        if (value > 0) != standing:
            standing = not standing
            found.append((read, (RAISED if standing else RETURNED, float(value))))
    return found


@dataclass(frozen=True, slots=True)
class SeenGap:
    """What a gap record says: stream by name, sequences first..last, how many of them."""

    stream: str
    cause: str
    first: int
    last: int
    count: int


def gap_of(attributes: Mapping[str, str]) -> SeenGap:
    """What `plantgate query --events` shows of a gap record."""
    first, last, count = (int(attributes[name]) for name in ("first", "last", "count"))
    return SeenGap(attributes["stream"], attributes["cause"], first, last, count)


@dataclass(slots=True)
class Life:
    """One life of a gateway: reads first..last answered by the source, and how it ended.

    unstored: reads at its end that were not durable.  late_alarms: alarms that were not, the oldest
    of them raised by one of the last alarms_behind reads.  skipped: reads inside it whose answer
    it did not take (timed out while frozen).
    """

    first: int
    last: int
    killed: bool
    unstored: int = 0
    late_alarms: int = 0
    alarms_behind: int = 0
    skipped: int = 0


@dataclass(slots=True)
class Account:
    """What the gateway's disk held each time a gateway ended: the truth `query` is held against.

    telemetry: reads in each record by its sequence.  alarms: change by sequence.  unseen: records
    that came and were evicted between two looks; all their reads stand under the first.
    """

    telemetry: dict[int, list[int]] = field(default_factory=dict)
    alarms: dict[int, Change] = field(default_factory=dict)
    log_ids: list[bytes] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    evicted: dict[Stream, int] = field(default_factory=dict)
    gaps: list[SeenGap] = field(default_factory=list)
    unseen: set[int] = field(default_factory=set)
    _events: int = 0

    def close_life(self, data: Path, last_read: int, *, killed: bool) -> None:
        """Read a copy of the data directory of a gateway that has just ended; check its life.

        Raises AssertionError where something durable is missing, doubled or out of order.
        """
        first = self.lives[-1].last + 1 if self.lives else 1
        life = Life(first, last_read, killed)
        standing = bool(self.alarms) and self.alarms[max(self.alarms)][0] == RAISED
        new = self._look(data)
        unseen = [one for one in new[Stream.TELEMETRY] if one in self.unseen]
        stored = new[Stream.TELEMETRY]
        reads = [read for sequence in stored for read in self.telemetry[sequence]]
        if unseen:  # evicted within this life, before it could be looked at
            self.telemetry[unseen[0]] = list(range(first, reads[0]))
            reads = [*range(first, reads[0]), *reads]
        assert reads == sorted(set(reads)), f"reads doubled or out of order on disk: {reads}"
        assert not reads or first <= reads[0], f"{reads[0]} was read before this life"
        newest = reads[-1] if reads else first - 1
        assert newest <= last_read, f"read {newest} is on disk, {last_read} were answered"
        life.unstored = last_read - newest
        life.skipped = newest - first + 1 - len(reads)
        taken = [*reads, *range(newest + 1, last_read + 1)]
        expected = expected_changes(taken, standing=standing)
        found = [self.alarms[sequence] for sequence in new[Stream.ALARM]]
        wanted = [change for _, change in expected]
        assert found == wanted[: len(found)], f"alarms {found}, expected {wanted}"
        life.late_alarms = len(wanted) - len(found)
        for read, _ in expected[len(found) :][:1]:
            life.alarms_behind = last_read - read + 1
        self.lives.append(life)

    def named(self, stream: Stream) -> set[int]:
        """Sequences that gap records on disk name as missing."""
        return {
            sequence
            for gap in self.gaps
            if gap.stream == stream.name.lower()
            for sequence in range(gap.first, gap.last + 1)
        }

    def check_gaps(self) -> None:
        """After a stop in good order every eviction is in exactly one gap record, and no more."""
        for gap in self.gaps:
            assert (gap.stream, gap.cause) == ("telemetry", "quota"), gap
        evicted = self.evicted.get(Stream.TELEMETRY, 0)
        counted = sum(gap.count for gap in self.gaps)
        assert counted == evicted, f"gap records count {counted}, {evicted} were evicted"
        assert self.named(Stream.TELEMETRY) == set(range(1, evicted + 1)), "gap records' sequences"

    def _look(self, data: Path) -> dict[Stream, list[int]]:
        """Take in what is new on disk; the new sequences by stream."""
        with tempfile.TemporaryDirectory(dir=data.parent) as folder:
            for kind in ("telemetry.db", "records.db"):
                for name in (kind, f"{kind}-wal"):
                    if (data / name).exists():
                        shutil.copyfile(data / name, Path(folder) / name)
            if not (Path(folder) / "telemetry.db").exists():
                return {stream: [] for stream in Stream}
            with Inspection(Path(folder)) as inspection:
                return self._take_in(inspection)

    def _take_in(self, inspection: Inspection) -> dict[Stream, list[int]]:
        log_id = inspection.log_id()
        if log_id and log_id not in self.log_ids:
            self.log_ids.append(log_id)
            assert len(self.log_ids) == 1, "a kill gave the log a new log id"
        new: dict[Stream, list[int]] = {stream: [] for stream in Stream}
        for record, batches in inspection.batches(max(self.telemetry, default=0) + 1):
            reads: list[int] = []
            for batch in batches:
                reads += _reads(batch.values, batch.quality)
            self.telemetry[record.sequence] = reads
            new[Stream.TELEMETRY].append(record.sequence)
        for record in inspection.records(Stream.ALARM, max(self.alarms, default=0) + 1):
            self.alarms[record.sequence] = change_of(record.payload)
            new[Stream.ALARM].append(record.sequence)
        for record in inspection.records(Stream.EVENT, self._events + 1):
            self._events = record.sequence
            event = wire.Event.FromString(record.payload)
            if event.HasField("gap"):
                gap, name = event.gap, Stream(event.gap.stream).name.lower()
                self.gaps.append(
                    SeenGap(name, gap.cause, gap.first_sequence, gap.last_sequence, gap.count)
                )
        for stream in (Stream.TELEMETRY, Stream.ALARM):
            self.evicted[stream] = inspection.held(stream).first - 1
        self._fill(new[Stream.TELEMETRY])
        for known, stream in ((self.telemetry, Stream.TELEMETRY), (self.alarms, Stream.ALARM)):
            sequences = new[stream]
            wanted = range(len(known) - len(sequences) + 1, len(known) + 1)
            assert sequences == list(wanted), f"sequences of {stream.name}: {sequences}"
        return new

    def _fill(self, new: list[int]) -> None:
        """Put in what was stored and evicted again since the last look, its reads unknown yet."""
        before = max(set(self.telemetry) - set(new), default=0)
        stop = new[0] if new else before + 1
        unseen = list(range(before + 1, stop))
        assert not unseen or unseen[-1] == self.evicted[Stream.TELEMETRY], f"{unseen} are missing"
        self.telemetry |= {sequence: [] for sequence in unseen}
        self.unseen |= set(unseen)
        new[:0] = unseen


def _reads(values: object, quality: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> list[int]:
    """Number of the read that a batch came from; none where the source was not reached."""
    assert isinstance(values, np.ndarray)
    if quality.any():
        assert quality.all(), f"a batch partly bad: {quality}"
        return []
    numbers = set(values.tolist())
    numbers.discard(0)
    assert len(numbers) == 1, f"one read gave {sorted(numbers)}"
    read = int(numbers.pop())
    assert values.tolist() == [alarm_value(read), *[read] * COUNTERS], values
    return [read]


def change_of(payload: bytes) -> Change:
    """What an alarm record says."""
    alarm = wire.Alarm.FromString(payload)
    assert alarm.source == ALARM_POINT, alarm
    returned = alarm.state == wire.ALARM_STATE_RETURNED_UNACKNOWLEDGED
    return (RETURNED if returned else RAISED, alarm.value)

"""One message of the journal: works of many gateways, and the index of what they acknowledge. Pure.

Guarantees: `works_of` gives what `Batch` was made of, proven anew record by record (check.py), so a
message that was damaged on its way is never stored. A message is named by the SHA-256 of its
content: sent twice it has one name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.check import (
    Entry,
    Fault,
    ProtocolError,
    check_push,
    check_ranges,
    check_volatile,
    stream_of,
)
from gateway.receiver.contract import Entries, Gaps, Seen, Volatile, Work
from gateway.wire.v1 import uplink_pb2 as wire

URGENT, BULK = "urgent", "bulk"
"""Lanes: alarms and events never wait behind telemetry and evidence, nor behind history."""
INDEX_HEADER = "Plantgate-Index"
INDEX_BYTES = 46_000
"""Largest index: in base64 61,336 characters, with the other headers below the 64 KB that
nats-server takes (error 10097)."""
LINE_RANGES = 1000
"""Most ranges in one line of the index."""
_RANGE = 24
"""Bytes of a range in an index, two numbers below 2^40 with their tags, or more."""
_LINE = 128
_CATALOGUE = 36
_OVERHEAD = 256
"""Bytes of a record beside its payload, and of its line in the index: more than any was seen."""


class Speaker(NamedTuple):
    """Whose log it is."""

    gateway: str
    enterprise: str
    software: str
    log_id: bytes


class Message(NamedTuple):
    """Ready to be published. name: for the server's deduplication; header: the index."""

    lane: str
    name: str
    header: str
    body: bytes


class DamagedError(Exception):
    """A message that cannot be read; the text says why."""


@dataclass(slots=True)
class Batch:
    """Works of one lane into messages of at most `limit` bytes; `add...`, then `messages`.

    largest: bytes of a message that one record, a catalogue, may have to itself.
    """

    lane: str
    limit: int
    largest: int = 0
    _batch: wire.JournalBatch = field(default_factory=wire.JournalBatch)
    _index: wire.JournalIndex = field(default_factory=wire.JournalIndex)
    _size: int = 0
    _indexed: int = 0
    _done: list[Message] = field(default_factory=list)

    def fits(self, entry: Entry) -> bool:
        """Tell whether one record can be published at all."""
        return self.fits_bytes(len(entry.payload))

    def fits_bytes(self, count: int) -> bool:
        """Tell whether a payload of so many bytes can be published at all."""
        return count + 2 * _OVERHEAD <= max(self.limit, self.largest)

    def add_entries(self, speaker: Speaker, work: Entries, entries: Sequence[Entry]) -> None:
        """Add those of a work's records that are taken, and its faults."""
        faults = list(work.faults)
        start = 0
        while start < len(entries) or faults:
            if self._size and self.limit - self._size < 2 * _OVERHEAD:
                self._close()
            self._make_room(speaker, len(work.catalogues))
            stop, size = start, 0
            while stop < min(len(entries), start + LINE_RANGES):
                more = len(entries[stop].payload) + _OVERHEAD
                if (size or self._size) and self._size + size + more > self.limit:
                    break
                size += more
                stop += 1
            if stop > start or faults:
                item = self._batch.works.add(**_of(speaker))
                self._index.catalogues.extend(name for name, _ in work.catalogues)
                self._indexed += _CATALOGUE * len(work.catalogues)
                _push_into(item, work.stream, entries[start:stop])
                _faults_into(item, work.stream, faults)
                self._note(speaker, work.stream, entries[start:stop])
                self._size += size + _OVERHEAD * (1 + len(faults))
                faults = []
            start = stop
            if start < len(entries):
                self._close()

    def add_gaps(self, speaker: Speaker, work: Gaps) -> None:
        """Add what a gateway declared gone."""
        for first in range(0, len(work.ranges), LINE_RANGES):
            self._make_room(speaker, 0)
            item = self._batch.works.add(**_of(speaker))
            item.gaps.stream = wire.Stream.ValueType(int(work.stream))
            line = self._line(speaker, work.stream)
            ranges = work.ranges[first : first + LINE_RANGES]
            for start, stop in ranges:
                item.gaps.ranges.add(start=start, stop=stop)
                line.ranges.add(start=start, stop=stop)
            self._size += _OVERHEAD + _RANGE * len(ranges)
            self._indexed += _RANGE * len(ranges)
            if self._size >= self.limit:
                self._close()

    def add_status(self, speaker: Speaker, work: Seen) -> None:
        """Add a gateway's last status."""
        if len(work.status) + 2 * _OVERHEAD > self.limit:
            return
        if self._size + len(work.status) + _OVERHEAD > self.limit:
            self._close()
        item = self._batch.works.add(**_of(speaker))
        item.status.ParseFromString(work.status)
        self._size += _OVERHEAD + len(work.status)

    def add_volatile(self, speaker: Speaker, work: Volatile) -> None:
        """Add alarms that a gateway has in its memory only; they move no cursor."""
        for one in work.entries:
            if self._size + len(one.payload) + 2 * _OVERHEAD > self.limit:
                self._close()
            item = self._batch.works.add(**_of(speaker))
            item.volatile_alarms.alarms.add(
                payload=one.payload,
                time_ns=one.time_ns,
                monotonic_ns=one.monotonic_ns,
                boot_id=one.boot_id,
            )
            self._size += 2 * _OVERHEAD + len(one.payload)

    def messages(self) -> list[Message]:
        """Everything that was added, as messages."""
        self._close()
        return self._done

    def _close(self) -> None:
        if self._batch.works:
            body = self._batch.SerializeToString()
            index = base64.b64encode(self._index.SerializeToString()).decode()
            name = hashlib.sha256(body).hexdigest()
            self._done.append(Message(self.lane, name, index, body))
        self._batch, self._index = wire.JournalBatch(), wire.JournalIndex()
        self._size = self._indexed = 0

    def _make_room(self, speaker: Speaker, catalogues: int) -> None:
        """Begin another message where the index might outgrow its header with one more line."""
        line = (
            len(speaker.gateway.encode()) + _LINE + _RANGE * LINE_RANGES + _CATALOGUE * catalogues
        )
        if self._indexed and self._indexed + line > INDEX_BYTES:
            self._close()

    def _note(self, speaker: Speaker, stream: Stream, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        line = self._line(speaker, stream)
        ranges = RangeSet((one.first, one.sequence + 1) for one in entries)
        for start, stop in ranges:
            line.ranges.add(start=start, stop=stop)
        self._indexed += _RANGE * len(list(ranges))
        newest = max(entries, key=lambda one: one.sequence)
        line.head_sequence, line.head_hash = newest.sequence, newest.hash

    def _line(self, speaker: Speaker, stream: Stream) -> wire.JournalLine:
        self._indexed += len(speaker.gateway.encode()) + _LINE
        return self._index.lines.add(
            gateway_id=speaker.gateway,
            log_id=speaker.log_id,
            stream=wire.Stream.ValueType(int(stream)),
        )


class Item(NamedTuple):
    """One work of a message, its log still to be numbered, and the record behind each identity."""

    speaker: Speaker
    work: Work
    records: dict[tuple[int, bytes], wire.Record]


def index_of(header: str) -> wire.JournalIndex:
    """Read an index; raises DamagedError."""
    try:
        return wire.JournalIndex.FromString(base64.b64decode(header, validate=True))
    except (DecodeError, binascii.Error, ValueError) as error:
        raise DamagedError(f"an index that cannot be read: {error}") from None


def works_of(body: bytes) -> Iterator[Item]:
    """Works of a message, in order, with log number 0; raises DamagedError."""
    try:
        batch = wire.JournalBatch.FromString(body)
        for item in batch.works:
            yield from _items(item)
    except (DecodeError, ProtocolError) as error:
        raise DamagedError(f"a message that cannot be read: {error}") from None


def _items(item: wire.JournalWork) -> Iterator[Item]:
    speaker = Speaker(item.gateway_id, item.enterprise, item.software, item.log_id)
    noted: dict[Stream, list[Fault]] = {}
    for one in item.faults:
        fault = Fault(one.sequence, one.kind, one.hash, one.reason)
        noted.setdefault(stream_of(one.stream), []).append(fault)
    match item.WhichOneof("what"):
        case "push":
            checked = check_push(item.push, bytes(16))
            entries = checked.entries + [one.entry for one in checked.evidence]
            faults = noted.pop(checked.stream, []) + checked.faults
            work = Entries(0, checked.stream, entries, checked.catalogues, checked.attachments,
                           faults)  # fmt: skip
            records = {(one.sequence, one.hash): one for one in item.push.records}
            yield Item(speaker, work, records)
        case "gaps":
            yield Item(speaker, Gaps(0, stream_of(item.gaps.stream),
                                     check_ranges(item.gaps.ranges)), {})  # fmt: skip
        case "status":
            yield Item(speaker, Seen(0, item.status.SerializeToString()), {})
        case "volatile_alarms":
            yield Item(speaker, Volatile(0, check_volatile(item.volatile_alarms, bytes(16))), {})
        case None:
            pass
    for stream, faults in noted.items():
        yield Item(speaker, Entries(0, stream, (), faults=faults), {})


def _of(speaker: Speaker) -> dict[str, str | bytes]:
    return {
        "gateway_id": speaker.gateway,
        "enterprise": speaker.enterprise,
        "software": speaker.software,
        "log_id": speaker.log_id,
    }


def _push_into(item: wire.JournalWork, stream: Stream, entries: Sequence[Entry]) -> None:
    if not entries:
        return
    item.push.stream = wire.Stream.ValueType(int(stream))
    for entry in entries:
        item.push.records.add(
            sequence=entry.sequence,
            hash=entry.hash,
            previous_hash=entry.previous_hash,
            crc32=zlib.crc32(entry.payload),
            historical=entry.historical,
            time_ns=entry.time_ns,
            monotonic_ns=entry.monotonic_ns,
            boot_id=entry.boot_id,
            clock_offset_ns=entry.clock_offset_ns,
            synchronised=entry.synchronised,
            group=entry.group,
            catalogue=entry.catalogue,
            payload=entry.payload,
            samples=entry.samples,
            source_first=entry.source_first,
            source_last=entry.sequence if entry.source_first else 0,
        )


def _faults_into(item: wire.JournalWork, stream: Stream, faults: Sequence[Fault]) -> None:
    for fault in faults:
        item.faults.add(
            stream=wire.Stream.ValueType(int(stream)),
            sequence=fault.sequence,
            kind=fault.kind,
            hash=fault.hash,
            reason=fault.reason,
        )

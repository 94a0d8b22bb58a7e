"""What a receiver accepts: every record proven whole before it goes anywhere near the store.

Pure. A record passes when its CRC-32 and its hash fit its payload, its numbers are in bounds and
its payload is what its stream carries. What does not pass becomes a `Fault` and is refused with a
reason, never stored and never acknowledged; the others of the same Push are not held up by it.

Bounds: sequence 1 to 2^40 - 1 (the store packs it into 40 bits), payload at most MAX_MESSAGE_BYTES.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError

from buffer.contract import Stream, chain_hash
from gateway.wire.v1 import uplink_pb2 as wire

HASH_BYTES = 32
SEQUENCE_STOP = 1 << 40
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Largest message on the wire: the catalogue of 100,000 points with units, limits and descriptions
is one record of 20 MB (198 B a point); all else that a gateway sends has at most 128 KB."""
MAX_EVIDENCE_BYTES = 256 * 1024 * 1024
"""Largest evidence file: ten minutes of a 3 Mbit/s clip."""
MAX_EVIDENCE_RECORD_BYTES = 16 * 1024
"""Largest record about one, which waits in memory for its file; a gateway makes some 150 bytes."""
MAX_VOLATILE = 1_000
"""Alarms in memory only, in one message: ten times what a gateway sends."""
MAX_THUMBNAIL_BYTES = 20_000
"""The schema's bound (Record.thumbnail)."""
MAX_RANGES = 10_000
"""Gap ranges in one message."""
MAX_ALARM_ID_BYTES = 64
"""Four times what a gateway makes; an index of PostgreSQL ends at 2,704 bytes."""
MAX_TEXT = 256
"""Most characters of what a gateway calls itself or its files."""


class Entry(NamedTuple):
    """One proven record; the order of fields is that of the columns of `records` after its id."""

    sequence: int
    hash: bytes
    previous_hash: bytes
    time_ns: int
    monotonic_ns: int
    boot_id: bytes
    clock_offset_ns: int
    synchronised: bool
    historical: bool
    group: int
    catalogue: bytes
    samples: int
    payload: bytes
    source_first: int = 0  # derived stream: it covers the log's sequences from here; 0 = itself

    @property
    def first(self) -> int:
        """First sequence that this record acknowledges."""
        return self.source_first or self.sequence

    @property
    def begins_chain(self) -> bool:
        """Tell whether its previous hash is that of the log it was made of, not of a record here.

        Derived streams are chained group by group (gateway/uplink/derive.py).
        """
        return bool(self.source_first) and self.group == self.sequence


class Fault(NamedTuple):
    """One refused record: kind is conflict, chain, damaged or one of lineage.py."""

    sequence: int
    kind: str
    hash: bytes
    reason: str


class Attachment(NamedTuple):
    """A file (32-byte SHA-256) that belongs to an alarm (16 bytes)."""

    alarm_id: bytes
    sha256: bytes
    media_type: str


class Evidence(NamedTuple):
    """An evidence record and the file that must be here before it may be stored."""

    entry: Entry
    sha256: bytes
    total_bytes: int


class VolatileEntry(NamedTuple):
    """An alarm that the gateway has in its memory only; key is the SHA-256 of its payload."""

    key: bytes
    payload: bytes
    time_ns: int
    monotonic_ns: int
    boot_id: bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """A Push, sorted out: what may be stored, what needs a file first, what is refused."""

    stream: Stream
    entries: list[Entry] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    catalogues: list[tuple[bytes, bytes]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    thumbnails: list[tuple[bytes, bytes]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class ProtocolError(Exception):
    """The gateway's message breaks the protocol as a whole; the connection cannot go on."""


class _RefusedError(Exception):
    """This record cannot be taken; the text says why."""


def plain_text(said: str) -> str:
    """Cut a gateway's words to what every store takes: PostgreSQL's text has no NUL."""
    return said[:MAX_TEXT].replace("\0", "")


def volatile_key(payload: bytes) -> bytes:
    """Name of an alarm in memory only, 32 bytes: the same once it comes as a record."""
    return hashlib.sha256(payload).digest()


def check_volatile(message: wire.VolatileAlarms, boot_id: bytes) -> list[VolatileEntry]:
    """Take alarms that are in a gateway's memory only; `boot_id` is the Hello's, their default.

    Raises ProtocolError where one is no alarm, or where they are too many.
    """
    if len(message.alarms) > MAX_VOLATILE:
        raise ProtocolError(f"{len(message.alarms)} volatile alarms at once")
    found = []
    for one in message.alarms:
        try:
            wire.Alarm.FromString(one.payload)
        except DecodeError:
            raise ProtocolError("a volatile alarm that is no Alarm") from None
        key, boot = volatile_key(one.payload), one.boot_id or boot_id
        found.append(VolatileEntry(key, one.payload, one.time_ns, one.monotonic_ns, boot))
    return found


def check_push(push: wire.Push, boot_id: bytes) -> Checked:
    """Prove every record of a Push; `boot_id` (16 bytes) is the Hello's, the records' default.

    Raises ProtocolError if the stream is none of the four.
    """
    checked = Checked(stream_of(push.stream))
    before: wire.Record | None = None
    for record in push.records:
        try:
            entry = _entry(record, before, checked.stream, boot_id)
            _sort_out(entry, checked, record)
        except _RefusedError as error:
            sequence = min(record.sequence, SEQUENCE_STOP)
            checked.faults.append(Fault(sequence, "damaged", record.hash[:HASH_BYTES], str(error)))
        before = record
    return checked


def stream_of(number: int) -> Stream:
    """Stream of a number on the wire; raises ProtocolError if there is none of that number."""
    try:
        return Stream(number)
    except ValueError:
        raise ProtocolError(f"there is no stream {number}") from None


def check_ranges(ranges: Iterable[wire.Range]) -> list[tuple[int, int]]:
    """Bounds-check ranges from the wire; raises ProtocolError where one is empty or too large."""
    pairs = [(item.start, item.stop) for item in ranges]
    if len(pairs) > MAX_RANGES:
        raise ProtocolError(f"{len(pairs)} ranges in one message, at most {MAX_RANGES} are taken")
    for start, stop in pairs:
        if not 0 < start < stop <= SEQUENCE_STOP:
            raise ProtocolError(f"range [{start}, {stop}) is not within 1 and {SEQUENCE_STOP}")
    return pairs


def check_states(states: Iterable[wire.StreamState]) -> None:
    """Bounds-check what a Hello counts; raises ProtocolError: no store could note such a number."""
    for state in states:
        for number in (state.first_sequence, state.next_sequence, state.acknowledged_stop):
            if number > SEQUENCE_STOP:
                raise ProtocolError(f"a Hello counts {number}, which is beyond {SEQUENCE_STOP}")


def _entry(
    record: wire.Record, before: wire.Record | None, stream: Stream, boot_id: bytes
) -> Entry:
    sequence, payload = record.sequence, record.payload
    if not 0 < sequence < SEQUENCE_STOP:
        raise _RefusedError(f"sequence {sequence} is not within 1 and {SEQUENCE_STOP - 1}")
    if zlib.crc32(payload) != record.crc32:
        raise _RefusedError("the CRC-32 does not fit the payload")
    previous_hash = record.previous_hash
    if not previous_hash and before is not None and before.sequence + 1 == sequence:
        previous_hash = before.hash
    if len(previous_hash) != HASH_BYTES:
        raise _RefusedError("the hash of the record before it is not known")
    if chain_hash(previous_hash, stream, sequence, payload) != record.hash:
        raise _RefusedError("the hash does not fit the payload and the record before it")
    if len(record.boot_id) not in {0, len(boot_id)}:
        raise _RefusedError(f"a boot id of {len(record.boot_id)} bytes")
    telemetry = stream is Stream.TELEMETRY
    if telemetry and not 0 < record.group <= sequence:
        raise _RefusedError(f"group {record.group} does not start at or before the record")
    covers = record.source_first or sequence, record.source_last or sequence
    if not 0 < covers[0] <= covers[1] == sequence:
        raise _RefusedError(f"it covers {covers[0]} to {covers[1]}, which does not end with itself")
    if telemetry and record.group == sequence and len(record.catalogue) != HASH_BYTES:
        raise _RefusedError("a key record names no catalogue")
    return Entry(
        sequence,
        record.hash,
        previous_hash,
        record.time_ns,
        record.monotonic_ns,
        record.boot_id or boot_id,
        record.clock_offset_ns,
        record.synchronised,
        record.historical,
        record.group if telemetry else sequence,
        record.catalogue if telemetry and record.group == sequence else b"",
        record.samples,
        payload,
        record.source_first,
    )


def _sort_out(entry: Entry, checked: Checked, record: wire.Record) -> None:
    try:
        match checked.stream:
            case Stream.ALARM:
                wire.Alarm.FromString(entry.payload)
            case Stream.EVENT:
                _event(wire.Event.FromString(entry.payload), checked)
            case Stream.EVIDENCE:
                _evidence(entry, wire.EvidenceFile.FromString(entry.payload), checked, record)
                return
            case Stream.TELEMETRY:
                pass  # a block; its proof is the hash, its reader may be newer than this program
    except DecodeError:
        name = checked.stream.name.lower()
        raise _RefusedError(f"the payload is not what the {name} stream carries") from None
    checked.entries.append(entry)


def _event(event: wire.Event, checked: Checked) -> None:
    # Encoded anew: equal to what the gateway hashed, because both encode deterministically and
    # fields that are unknown here keep their bytes.
    if event.HasField("catalogue"):
        encoded = event.catalogue.SerializeToString(deterministic=True)
        checked.catalogues.append((hashlib.sha256(encoded).digest(), encoded))
    elif event.HasField("evidence_attached"):
        item = event.evidence_attached
        _attach(checked, item.alarm_id, item.sha256, item.media_type)


def _evidence(entry: Entry, file: wire.EvidenceFile, checked: Checked, record: wire.Record) -> None:
    if len(file.sha256) != HASH_BYTES:
        raise _RefusedError("an evidence file is named by 32 bytes of SHA-256")
    if file.total_bytes > MAX_EVIDENCE_BYTES:
        raise _RefusedError(
            f"an evidence file of {file.total_bytes} bytes, at most {MAX_EVIDENCE_BYTES} are taken"
        )
    if len(entry.payload) > MAX_EVIDENCE_RECORD_BYTES:
        raise _RefusedError(f"an evidence record of {len(entry.payload)} bytes")
    if len(record.thumbnail) > MAX_THUMBNAIL_BYTES:
        raise _RefusedError(f"a thumbnail of more than {MAX_THUMBNAIL_BYTES} bytes")
    if record.withheld:
        checked.entries.append(entry)
    else:
        checked.evidence.append(Evidence(entry, file.sha256, file.total_bytes))
    if record.thumbnail:
        checked.thumbnails.append((file.sha256, record.thumbnail))
    if file.alarm_id:
        _attach(checked, file.alarm_id, file.sha256, file.media_type)


def _attach(checked: Checked, alarm_id: bytes, sha256: bytes, media_type: str) -> None:
    """Note what belongs together; what cannot be looked up stays in its record alone."""
    if 0 < len(alarm_id) <= MAX_ALARM_ID_BYTES and len(sha256) == HASH_BYTES:
        checked.attachments.append(Attachment(alarm_id, sha256, plain_text(media_type)))

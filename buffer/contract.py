"""What the buffer promises to the rest: streams, records, gaps, and the Log protocol.

Guarantees of every Log (`buffer.store.Buffer` on disk, `buffer.memory.MemoryLog` in tests):

- A record's identity is (log id, stream, sequence). Sequences start at 1, are gapless per stream,
  and are never reused. Nothing stored is ever rewritten.
- A future returned by `add_batch` or `add_record` completes only after the record that holds
  it is durable (fsync returned), and fails with `NotStoredError` if it could not be stored.
- Records are hash-chained per stream by `chain_hash`: SHA-256 over previous_hash (32 bytes),
  stream (1 byte), sequence (8 bytes, big-endian) and payload. The first record of a log id has
  a previous hash of 32 zero bytes (`NO_HASH`).
- Only retention or quota deletes, oldest first, and each deletion leaves a gap record.
- Acknowledgement moves a destination's cursor and deletes nothing.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from buffer.ranges import RangeSet

Columns = npt.NDArray[np.float64] | npt.NDArray[np.int64] | npt.NDArray[np.uint64] | tuple[str, ...]


class Stream(enum.IntEnum):
    """Streams in order of priority: a lower one never delays or evicts a higher one."""

    ALARM = 1
    EVENT = 2
    TELEMETRY = 3
    EVIDENCE = 4


NO_HASH = bytes(32)
"""Previous hash of the first record of a stream under a new log id."""


def chain_hash(previous_hash: bytes, stream: Stream, sequence: int, payload: bytes) -> bytes:
    """Hash of a record, 32 bytes; ties it to its predecessor, its stream and its sequence."""
    digest = hashlib.sha256(previous_hash)
    digest.update(int(stream).to_bytes(1, "big") + sequence.to_bytes(8, "big"))
    digest.update(payload)
    return digest.digest()


SIGNED_HEAD = b"plantgate signed head 1\0"
"""What a signature of a head begins with, so that it can mean nothing else."""


def head_message(log_id: bytes, stream: Stream, sequence: int, digest: bytes) -> bytes:
    """What is signed: SIGNED_HEAD, log id (16), stream (1), sequence (8, big-endian), hash (32)."""
    return (
        SIGNED_HEAD + log_id + int(stream).to_bytes(1, "big") + sequence.to_bytes(8, "big") + digest
    )


@dataclass(frozen=True, slots=True)
class Signer:
    """The gateway's key, as the buffer may use it.

    key_id: 32 bytes that name the key.  sign(message) gives the signature; it is called in a
    writer thread and may raise ValueError or OSError.
    """

    key_id: bytes
    sign: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A record, by its hash, that the gateway's key has signed (see `head_message`)."""

    log_id: bytes
    stream: Stream
    sequence: int
    hash: bytes
    key_id: bytes
    signature: bytes


class NotStoredError(Exception):
    """The record could not be made durable; the text says why. A gap record counts it."""


class UnreadableError(OSError):
    """Records that are held cannot be read now: that they are gone is not said.

    first, stop: their sequences [first, stop), as far as was tried.
    """

    def __init__(self, stream: Stream, first: int, stop: int) -> None:
        super().__init__(f"{stream.name.lower()} records {first} to {stop - 1} cannot be read")
        self.first, self.stop = first, stop


class BufferPathError(Exception):
    """The data directory cannot be used (missing, not writable, not a directory); says which.

    passes: the disk is full, read-only or failing, or the file locked: it may be well by itself.
    """

    def __init__(self, text: str, *, passes: bool = False) -> None:
        super().__init__(text)
        self.passes = passes


@dataclass(frozen=True, slots=True)
class Record:
    """One durable record, as stored and as sent.

    time_ns: gateway wall clock at commit, ns since 1970 UTC.  monotonic_ns: CLOCK_BOOTTIME-like
    monotonic time at commit, meaningful together with boot_id (16 bytes, one per boot).
    clock_offset_ns: true time less wall time as far as it was known at commit, else 0.
    synchronised: the wall clock was known to be right.
    payload: opaque; for TELEMETRY a block of buffer/block.py.
    group: for TELEMETRY the sequence of the key record that starts its group; else sequence.
    catalogue: for TELEMETRY the 32-byte hash naming the catalogue of its points; else empty.
    first_ns, last_ns: range of gateway_time_ns inside, equal to time_ns where not telemetry.
    samples: count of values inside, 1 where not telemetry.
    source_first: 0 as stored. A record made of others for one destination: the first of them, and
    `sequence` the last.
    """

    stream: Stream
    sequence: int
    time_ns: int
    monotonic_ns: int
    boot_id: bytes
    clock_offset_ns: int
    synchronised: bool
    previous_hash: bytes
    hash: bytes
    payload: bytes
    group: int
    catalogue: bytes = b""
    first_ns: int = 0
    last_ns: int = 0
    samples: int = 1
    source_first: int = 0

    @property
    def first(self) -> int:
        """First sequence that this record speaks for; its own unless it was made of others."""
        return self.source_first or self.sequence


@dataclass(frozen=True, slots=True)
class VolatileRecord:
    """An alarm that the disk has not taken (yet): it is in memory only.

    key: SHA-256 of the payload, 32 bytes; the same alarm has it once it is durable.
    time_ns, monotonic_ns: wall clock and monotonic time when it was given.
    """

    key: bytes
    payload: bytes
    time_ns: int
    monotonic_ns: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that was, or could not be, kept. One open gap per (stream, cause).

    stream: what is missing.  first, last: sequences missing (inclusive), 0 and 0 where samples
    were dropped before they had a sequence.  first_ns, last_ns: wall-clock range.
    count: records (or samples, where first is 0) missing.
    cause: quota, retention, corruption, disk_full, io_error, overload, restart. Of disk_full with
        sequences the records were acknowledged, and made room for newer ones.
    """

    stream: Stream
    cause: str
    first: int
    last: int
    first_ns: int
    last_ns: int
    count: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sequences held: first (oldest) and next (one past the newest). Equal when empty."""

    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """How full a stream is: bytes used, quota, hours held, hours the quota lasts at this rate."""

    used_bytes: int
    quota_bytes: int
    held_hours: float
    capacity_hours: float
    records: int = field(default=0)


class Clock(Protocol):
    """Time as the buffer may know it; every clock of the gateway fits."""

    def wall_ns(self) -> int:
        """Wall-clock time, ns since 1970 UTC; may jump."""
        ...

    def monotonic_ns(self) -> int:
        """Monotonic time in ns."""
        ...


CommitListener = Callable[[Stream, Sequence[Record]], None]
VolatileListener = Callable[[Sequence[VolatileRecord], bool], None]
"""Told alarms that are in memory only (True), and later that they are durable (False)."""


class VolatileSource(Protocol):
    """A log that tells of alarms which the disk does not take."""

    def volatile(self) -> Sequence[VolatileRecord]:
        """Alarms that were told and are not durable yet, oldest first."""
        ...

    def add_volatile_listener(self, listener: VolatileListener) -> Callable[[], None]:
        """Call `listener` on the loop; returns how to stop."""
        ...


class Log(Protocol):
    """The buffer as sources, pipeline and uplinks see it. All methods run on the event loop."""

    @property
    def log_id(self) -> bytes:
        """16 random bytes naming this store; a new one whenever its past is uncertain."""
        ...

    def add_batch(
        self,
        points: npt.NDArray[np.int32],
        values: Columns,
        quality: npt.NDArray[np.uint16],
        source_time_ns: npt.NDArray[np.int64] | int,
        gateway_time_ns: int,
    ) -> asyncio.Future[None]:
        """Queue columns for the next telemetry record (at most 100 ms or 80 KB away)."""
        ...

    def add_record(
        self,
        stream: Stream,
        payload: bytes,
        *,
        state: Mapping[str, bytes] | None = None,
        keep: bytes | None = None,
    ) -> asyncio.Future[int]:
        """Queue one record (not TELEMETRY); the future gives its sequence once durable.

        `state` sets small named values (open alarms, point ids) in the same transaction, so that
        they never disagree with the log. `keep` names a catalogue hash (32 bytes) that this event
        record defines: it is not evicted while any telemetry group held names that hash.
        """
        ...

    def save_state(self, state: Mapping[str, bytes]) -> None:
        """Set small named values with the next commit of records, without a record of their own."""
        ...

    def state(self, key: str) -> bytes:
        """Newest committed state value of that name, or empty bytes."""
        ...

    def states(self, prefix: str) -> Mapping[str, bytes]:
        """Newest committed state values whose names begin so; empty values are left out."""
        ...

    async def put_file(self, content: bytes) -> bytes:
        """Store an evidence file by content; durable on return. Gives its SHA-256 (32 bytes)."""
        ...

    async def read_file(self, sha256: bytes, offset: int, length: int) -> bytes:
        """Part of an evidence file; empty at or past its end. FileNotFoundError if unknown."""
        ...

    async def room(self) -> None:
        """Wait until the writers' queues are below their bound (back-pressure)."""
        ...

    def set_catalogue(self, catalogue_hash: bytes) -> None:
        """Name the catalogue of all batches that follow; starts a new key."""
        ...

    def request_key(self) -> None:
        """Make the next telemetry record a key, so that it decodes without its past."""
        ...

    def bounds(self, stream: Stream) -> Bounds:
        """Committed sequences held now."""
        ...

    async def read(self, stream: Stream, first: int, *, last: int, max_bytes: int) -> list[Record]:
        """Records first..last (inclusive) that are held, in order, about max_bytes of payload.

        Returns at least one record if any is held in the range. Missing ones are skipped. Raises
        UnreadableError where the oldest of those held cannot be read, sqlite3.Error where nothing
        can be asked.
        """
        ...

    async def group_start(self, sequence: int) -> int:
        """Sequence of the key that starts the telemetry group of `sequence`; itself if unknown."""
        ...

    async def sequences_between(self, stream: Stream, from_ns: int, to_ns: int) -> tuple[int, int]:
        """First and last sequence (inclusive) that may hold times in [from_ns, to_ns].

        Whole groups for TELEMETRY, so that the range decodes; (1, 0) when there is none.
        """
        ...

    def catalogue_records(self) -> Mapping[bytes, int]:
        """Sequence in the EVENT stream of each catalogue kept, by its hash."""
        ...

    def capacity(self, stream: Stream) -> Capacity:
        """How full a stream is."""
        ...

    def signed_head(self, stream: Stream) -> SignedHead | None:
        """Newest signed head under the present log id; None where nothing is signed."""
        ...

    def health(self) -> tuple[bool, str]:
        """Tell whether everything given is being stored, and in one sentence what is wrong."""
        ...

    def add_listener(self, listener: CommitListener) -> Callable[[], None]:
        """Call `listener` on the loop after each commit; returns how to stop."""
        ...

    def cursor(self, destination: str, stream: Stream) -> RangeSet:
        """Ranges this destination has acknowledged under the present log id (a copy)."""
        ...

    def acknowledge(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Add ranges to a cursor; persisted lazily (the receiver owns the truth)."""
        ...

    def replace_cursor(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Set a cursor to what the receiver said in Welcome."""
        ...

    def renew_log_id(self, reason: str) -> bytes:
        """Start a new log id (the receiver knows more than we hold); next record is a key."""
        ...

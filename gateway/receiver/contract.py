"""What every store of a receiver promises, and the words it is spoken to in.

Guarantees of every `Store` (tests/gateway/receiver/test_stores.py holds each of them to it):

- What `apply` returned for is durable: synced by the engine, or replicated as the engine is set up.
  A failure raises `StoreFailedError`, and nothing of it may be acknowledged; `UnstorableError`
  where the fault is a value of one of the works (apart.py finds out which).
- A record is stored at most once per (gateway, log id, stream, sequence). Equal identity and equal
  hash is acknowledged again; equal identity with another hash is refused and noted as a fault.
- The acknowledged ranges change in the same transaction as the records they speak of, so a
  restored database says truly what it holds, and the gateway sends the rest again.
- A telemetry group whose catalogue is not held is not stored; the outcome names the catalogue.
- A record whose predecessor has another hash is stored all the same, and noted as a fault.

A `Reader` reads beside running receivers and never holds them up. Stores and readers are blocking
and not thread-safe: one thread at a time. Nothing in them reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from buffer.contract import Stream
from buffer.ranges import RangeSet
from drivers.contract import ValueKind
from gateway.receiver.check import Attachment, Entry, Fault, VolatileEntry
from gateway.wire.v1 import uplink_pb2 as wire

FAULT_TEXT = 500
"""Most characters of a fault's reason that are kept."""
CHECKPOINTS = (0, 8, 64, 512, 4096, 32768, 262144)
"""How far below the newest record of a stream a gateway is told hashes (Known.checkpoints)."""
NEWER_SCHEMA = "made by a newer version (schema {})"
ANOTHER_RECORD = "another record with this identity is stored already"
NEW_LOG = "new_log"
"""Kind of the fault that says that a gateway came with another log than before (lineage.py)."""
BROKEN_CHAIN = "the chain is broken: the record before it has another hash here"


class StorePathError(Exception):
    """The store cannot be used as it was named; the text says which and why."""


class StoreFailedError(Exception):
    """The store could not commit; nothing of it may be acknowledged."""


class UnstorableError(StoreFailedError):
    """The engine takes some value of these works never; without it the others can be committed."""


class Derived(NamedTuple):
    """What a derived stream is; all empty for a log as it is.

    destination: the gateway's name of it.  source_log_id: the log it was made of.  filter: what was
    left out, in words.
    """

    destination: str = ""
    source_log_id: bytes = b""
    filter: str = ""


PLAIN = Derived()


@dataclass(frozen=True, slots=True)
class Greeting:
    """A gateway said Hello, and names catalogues (hashes); outcome is a `Known`, or `Away`.

    Logs of one gateway follow each other per destination: a derived stream replaces no log.
    """

    gateway: str
    enterprise: str
    software: str
    log_id: bytes
    catalogues: tuple[bytes, ...] = ()
    derived: Derived = PLAIN


@dataclass(frozen=True, slots=True)
class Known:
    """What the store holds of one log: its number, acknowledged ranges, catalogues held.

    checkpoints: sequence and hash of the newest record per stream, and of some before it as a store
    sees fit (newest first): by them a gateway finds out that its log and what is stored here share
    a past only up to some point.
    boots: boot id of the newest record per stream.
    previous_log: the gateway's newest log before this one, until a fault NEW_LOG of this one is
        stored: a connection that ends in between must not hide it.  Empty where there is none.
    """

    log: int
    acknowledged: dict[Stream, RangeSet]
    catalogues: tuple[bytes, ...]
    checkpoints: dict[Stream, list[tuple[int, bytes]]] = field(default_factory=dict)
    previous_log: bytes = b""
    boots: dict[Stream, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entries:
    """Proven records of one stream of one log, with what they define; outcome is `Stored`."""

    log: int
    stream: Stream
    entries: Sequence[Entry]
    catalogues: Sequence[tuple[bytes, bytes]] = ()
    attachments: Sequence[Attachment] = ()
    faults: Sequence[Fault] = ()


@dataclass(frozen=True, slots=True)
class Gaps:
    """Ranges [start, stop) that the gateway no longer holds; outcome is `Stored`."""

    log: int
    stream: Stream
    ranges: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A gateway's last Status, encoded; the outcome is an empty `Stored`."""

    log: int
    status: bytes


@dataclass(frozen=True, slots=True)
class Volatile:
    """Alarms that are not durable at their gateway; the outcome is a `Stored` with their keys.

    One that is there already is stored no second time. One that comes as a record is forgotten.
    """

    log: int
    entries: Sequence[VolatileEntry]


@dataclass(slots=True)
class Stored:
    """Outcome of a work: what is acknowledged, which catalogues are needed, what is refused."""

    acknowledged: RangeSet = field(default_factory=RangeSet)
    needed: list[bytes] = field(default_factory=list)
    refused: list[Fault] = field(default_factory=list)
    volatile: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Away:
    """Outcome of a Greeting that cannot be answered now; the gateway comes again."""

    reason: str


Work = Greeting | Entries | Gaps | Seen | Volatile
Outcome = Known | Stored | Away


class Store(Protocol):
    """The writing side. See the module's text for what it guarantees."""

    def apply(self, works: Iterable[Work], now_ns: int) -> list[Outcome]:
        """Do all works durably, in order; one outcome each. now_ns: wall clock, the arrival.

        Raises StoreFailedError; call `reopen` before the next try.
        """
        ...

    def probe(self, now_ns: int) -> None:
        """Commit something that says nothing, as durably. Raises StoreFailedError."""
        ...

    def reopen(self) -> None:
        """Start afresh after a failure. Raises StoreFailedError if the engine is still away."""
        ...

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        ...


class Log(NamedTuple):
    """One log of one gateway: its number in the store, the gateway's id, the log id.

    status: last plantgate.wire.v1.Status said of it.  derived: what it is if not the log itself.
    held_only: the gateway's own log, which forgets what was delivered and is old.
    """

    number: int
    gateway: str
    log_id: bytes
    status: bytes = b""
    derived: Derived = PLAIN
    held_only: bool = False


class StoredRecord(NamedTuple):
    """One record as a reader needs it; `group` is the sequence of its key.

    time_ns: the gateway's wall clock at its commit.  received_ns: the receiver's at its own.
    monotonic_ns, boot_id, synchronised: what corrects time_ns (gateway/model/clock.py).
    """

    sequence: int
    group: int
    historical: bool
    catalogue: bytes
    time_ns: int
    received_ns: int
    samples: int
    payload: bytes
    monotonic_ns: int
    boot_id: bytes
    synchronised: bool
    source_first: int = 0

    @property
    def first(self) -> int:
        """First sequence of the log that the record speaks for."""
        return self.source_first or self.sequence


@dataclass(frozen=True, slots=True)
class StoredFault:
    """One fault and how often it was seen; times in ns since 1970 UTC."""

    stream: int
    sequence: int
    kind: str
    reason: str
    last_ns: int
    count: int
    hash: bytes


class StoredGateway(NamedTuple):
    """A gateway as it introduced itself; status is its last plantgate.wire.v1.Status."""

    enterprise: str
    software: str
    last_seen_ns: int
    status: bytes


@dataclass(frozen=True, slots=True)
class PointNames:
    """Names and column kinds of one catalogue, by point id, and the catalogue itself."""

    names: dict[int, str]
    kinds: dict[int, ValueKind]
    hazards: dict[int, str] = field(default_factory=dict)


NEWEST = (1 << 62) - 1
"""A sequence that no record reaches: up to the newest."""


class Reader(Protocol):
    """The reading side: ends at the newest record that was there when a question began."""

    def close(self) -> None:
        """Close; may be called twice."""
        ...

    def logs(self, gateway: str | None = None) -> list[Log]:
        """Logs by gateway id, then in order of first sight; of one gateway if it is named."""
        ...

    def records(
        self, log: Log, stream: Stream, first: int = 1, last: int = NEWEST
    ) -> Iterator[StoredRecord]:
        """Records first..last of one stream in order of sequence, up to the newest there now."""
        ...

    def stamp(self, log: Log, stream: Stream, first: int) -> StoredRecord | None:
        """The first record at or after a sequence, which may lack its payload; None if none is."""
        ...

    def points(self, catalogue: bytes) -> PointNames | None:
        """Names of a catalogue's points; None if the store does not hold it."""
        ...

    def faults(self, log: Log) -> list[StoredFault]:
        """Faults noted of one log, newest last."""
        ...

    def gateway(self, log: Log) -> StoredGateway:
        """Who a log belongs to."""
        ...

    def acknowledged(self, log: Log, stream: Stream) -> RangeSet:
        """Acknowledged sequences of a stream, declared gaps among them."""
        ...

    def gaps(self, log: Log, stream: Stream) -> RangeSet:
        """Sequences of a stream that the gateway declared gone."""
        ...

    def volatile(self, log: Log) -> list[VolatileEntry]:
        """Alarms told under a log that have not come as a record, by time."""
        ...

    def attachments(self, gateway: str) -> dict[bytes, list[str]]:
        """SHA-256s (hexadecimal) of the evidence of each alarm of a gateway."""
        ...


def stream_key(log: int, stream: Stream) -> int:
    """Number of one stream of one log, as the schemas pack it."""
    return log * 4 + int(stream) - 1


def point_names(encoded: bytes) -> PointNames:
    """Read names out of an encoded catalogue."""
    points = wire.Catalogue.FromString(encoded).points
    known = set(ValueKind)
    kinds = {
        point.id: ValueKind(point.kind) if point.kind in known else ValueKind.FLOAT
        for point in points
    }
    names = {point.id: point.name for point in points}
    return PointNames(names, kinds, {point.id: point.hazard for point in points if point.hazard})


def runs(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut records into runs of consecutive sequences."""
    start = 0
    for index in range(1, len(entries) + 1):
        at_end = index == len(entries)
        if at_end or entries[index].sequence != entries[index - 1].sequence + 1:
            yield entries[start:index]
            start = index


def _fuller(other: Log, log: Log) -> bool:
    """Tell whether `other` says in full what `log` says of one log to one destination.

    gateway/uplink/unthinned.py names its streams DESTINATION/raw/RANGE; of two the first counts.
    """
    one, two = other.derived, log.derived
    destination, raw, _ = two.destination.partition("/raw/")
    return (
        one.source_log_id == two.source_log_id
        and one.destination.startswith(f"{destination}/raw/")
        and (not raw or other.number < log.number)
    )


def told_twice(reader: Reader, log: Log, stream: Stream) -> RangeSet:
    """Sequences of a derived stream that are held here in full: by the log itself, or unthinned."""
    found = RangeSet()
    if not log.derived.source_log_id:
        return found
    for source in reader.logs(log.gateway):
        if source.log_id == log.derived.source_log_id or _fuller(source, log):
            found.update(reader.acknowledged(source, stream))
            for start, stop in reader.gaps(source, stream):
                found.discard(start, stop)
    return found


def migrations(schema: str) -> list[str]:
    """Scripts of a schema file, in order; each begins with a line `-- migration N`."""
    return [section.partition("\n")[2] for section in schema.split("-- migration ")[1:]]

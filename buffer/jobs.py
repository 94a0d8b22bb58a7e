"""What the two writers are given to do, and the names that they keep in meta."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from buffer.block import ColumnBatch
from buffer.contract import Gap, Stream
from buffer.ranges import RangeSet

TELEMETRY_HIGH = "telemetry_high"
RENEWED_CARRY = "renewed_carry"
"""Name in meta of the first telemetry sequence, under RENEWED_FROM, that was to be carried over;
for a start that finds telemetry.db not yet renewed."""
EVICTED = "telemetry_evicted"
SALVAGED = "salvaged"
"""Name in meta of what a repair lost, until it is queued for gap records."""
NO_STATE: Mapping[str, bytes] = {}
EncodeGap = Callable[[Gap, int], bytes]
"""Gives the payload of a gap record, of a gap and the time in ns."""


@dataclass(slots=True)
class PendingBatch:
    """A batch, its receipt, the catalogue it belongs to and its raw size."""

    batch: ColumnBatch
    receipt: asyncio.Future[None]
    catalogue: bytes
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class Store:
    """Commit these batches; `key` asks for a key."""

    batches: Sequence[PendingBatch]
    key: bool


@dataclass(frozen=True, slots=True)
class Evict:
    """The gap record is durable: delete rows up to `last_id`."""

    last_id: int


@dataclass(frozen=True, slots=True)
class Renew:
    """Start a new log id from the row that has sequence `carry_from` now.

    damage: what is wrong with the file of kind `repair`, which is rebuilt first.  state: what must
    be in records.db; values that are there are newer.
    """

    log_id: bytes
    epoch: int
    carry_from: dict[Stream, int]
    repair: str = ""
    damage: str = ""
    state: Mapping[str, bytes] = field(default_factory=lambda: NO_STATE)


@dataclass(frozen=True, slots=True)
class Verify:
    """See whether the file is what was written to it."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What a repair of a file lost (its meta SALVAGED) is to be reported, once."""

    kind: str
    told: bytes


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """A record to store, its receipt and what goes with it in the same transaction.

    held: an alarm whose receipt has failed; it is kept in memory and tried again.
    """

    stream: Stream
    payload: bytes
    receipt: asyncio.Future[int]
    state: Mapping[str, bytes] | None
    keep: bytes | None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """Something was lost before it could be stored."""

    gap: Gap


@dataclass(frozen=True, slots=True)
class PromiseEviction:
    """Telemetry up to row `last_id` is about to be deleted."""

    gap: Gap
    last_id: int


@dataclass(frozen=True, slots=True)
class SaveCursors:
    """Cursors to persist, and the newest telemetry sequence known to be committed."""

    cursors: Mapping[tuple[str, Stream], RangeSet]
    epoch: int
    telemetry_next: int


@dataclass(frozen=True, slots=True)
class SaveState:
    """Named values to persist."""

    state: Mapping[str, bytes]


TelemetryJob = Store | Evict | Renew | Verify
RecordsJob = (
    PendingRecord | Lost | PromiseEviction | SaveCursors | SaveState | Renew | Verify | TakeOver
)

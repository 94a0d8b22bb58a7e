"""What writers tell the event loop of a commit, and what they are told and given besides jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from buffer.contract import Bounds, NotStoredError, Record, SignedHead, Stream

STEP_NS = 128_000_000
"""A wall clock that moved so far against the monotonic one was set (RFC 5905, s. 12, STEPT)."""
Receipt = asyncio.Future[int] | asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Session:
    """What every record of this run carries: boot id, and what is known of the clock.

    wall_less_monotonic_ns: of the clock that this was said of; one that was set since then is not
    known to be right.
    """

    boot_id: bytes
    clock_offset_ns: int = 0
    synchronised: bool = False
    wall_less_monotonic_ns: int | None = None

    def trusts(self, wall_ns: int, monotonic_ns: int) -> bool:
        """Tell whether a reading is of a clock that is known to be right."""
        base_ns = self.wall_less_monotonic_ns
        if not self.synchronised or base_ns is None:
            return self.synchronised
        return abs(wall_ns - monotonic_ns - base_ns) < STEP_NS


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a stream is held."""

    used_bytes: int
    records: int
    held_ns: int


@dataclass(slots=True)
class Outcome:
    """What one commit did, for the event loop.

    health: what is wrong with storing in this database, "" when nothing is, None to say nothing.
    given_up: alarms that had failed, were kept for later, and are lost now.
    epoch: counts log ids; outcomes of a former log id move no bounds.
    signed: newest signed heads, None to say nothing.  unsigned: why signing fails, if it does.
    suspicion: why the file may be damaged.  verified: what a verification found, "" nothing.
    repaired: what a repair did, a sentence; `error` where it failed.
    """

    epoch: int
    records: list[Record] = field(default_factory=list)
    done: list[tuple[asyncio.Future[int], int]] = field(default_factory=list)
    kept: list[asyncio.Future[None]] = field(default_factory=list)
    failed: list[Receipt] = field(default_factory=list)
    given_up: list[Receipt] = field(default_factory=list)
    error: str = ""
    released_bytes: int = 0
    bounds: dict[Stream, Bounds] = field(default_factory=dict)
    usage: dict[Stream, Usage] = field(default_factory=dict)
    state: dict[str, bytes] = field(default_factory=dict)
    catalogues: dict[bytes, int] | None = None
    signed: dict[Stream, SignedHead] | None = None
    unsigned: str = ""
    health: str | None = None
    suspicion: str = ""
    verified: str | None = None
    repaired: str | None = None

    def begins_group(self) -> bool:
        """Tell whether a group of telemetry was finished by the key of the next."""
        telemetry = (record for record in self.records if record.stream is Stream.TELEMETRY)
        return any(record.group == record.sequence for record in telemetry)

    def complete(self) -> None:
        """Complete the receipts; on the loop. A cancelled one is passed over."""
        for kept in self.kept:
            if not kept.done():
                kept.set_result(None)
        for done, sequence in self.done:
            if not done.done():
                done.set_result(sequence)
        for failed in self.failed:
            if not failed.done():
                failed.set_exception(NotStoredError(self.error))


Post = Callable[[Outcome], None]
"""Hand an outcome to the event loop; safe from any thread."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a repair goes by. carry: first sequence of each stream not acknowledged everywhere.

    evicted: rows of telemetry up to it are counted as evicted, and are not taken.
    above: rows of telemetry are numbered above it, so that no row that was is meant by another.
    held: first and last row of each stream that are known to be held, so that what is lost is
    counted though nothing can be read, and what a commit in doubt left beyond is not taken.
    """

    carry: Mapping[Stream, int]
    evicted: int = 0
    above: int = 0
    held: Mapping[Stream, tuple[int, int]] = field(default_factory=dict)


class Repairs(Protocol):
    """What a writer does with its file when it is in doubt; raises what passes (OSError, ...)."""

    def verify(self, path: Path, kind: str) -> str:
        """Why a file, which may be open, cannot be trusted; "" if it can."""
        ...

    def rebuild(self, path: Path, kind: str, damage: str, told: Told) -> str:
        """Set a file, which nobody writes to, aside; copy what can be read. Gives a sentence."""
        ...

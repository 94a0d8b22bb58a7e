"""StandIn: the log in memory that a gateway runs on while its data directory cannot be opened.

Guarantees: a `Buffer` in a folder of a file system in memory, so everything is as it is on disk but
for this: it has a log id of its own and small quotas; alarms are no records: each is told at once
as volatile and kept, `HELD_BYTES` of them (beyond that: counted lost); it is never well.
`hand_over` gives what the log on disk does not know yet. What lies on the disk is read at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from buffer.contract import Gap, NotStoredError, Record, Stream
from buffer.database import ROW_OVERHEAD_BYTES
from buffer.kept import HELD_BYTES
from buffer.policy import MIB, BufferConfig
from buffer.ranges import RangeSet
from buffer.store import Buffer

QUOTAS = {
    Stream.ALARM: 4 * MIB, Stream.EVENT: 8 * MIB, Stream.TELEMETRY: 20 * MIB,
    Stream.EVIDENCE: 8 * MIB,
}  # fmt: skip
"""With their WALs less than the 64 MiB that a container has in /dev/shm."""
READ_BYTES = MIB


@dataclass(slots=True)
class HandOver:
    """What a log in memory held that is to be on disk: payloads, states, and what is lost.

    files: beside the log, by path in the data directory.  why: what kept it from being stored.
    """

    alarms: list[bytes] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    state: dict[str, bytes] = field(default_factory=dict)
    lost: list[Gap] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    why: str = ""


class StandIn(Buffer):
    """See above; `begin` comes first. why: what is wrong with the disk, in one sentence."""

    why: str
    _carried: HandOver
    _held_bytes: int
    _names: Mapping[str, Collection[Stream]]

    def begin(self, why: str, known: Mapping[str, bytes], before: HandOver) -> None:
        """Go on from states that were read from the disk, and from what one before this held."""
        self.why, self._names = why, {}
        self._held_bytes = 0
        self._carried = HandOver(state=dict(before.state), lost=list(before.lost))
        self._state.update({**known, **before.state})

    def add_record(
        self,
        stream: Stream,
        payload: bytes,
        *,
        state: Mapping[str, bytes] | None = None,
        keep: bytes | None = None,
    ) -> asyncio.Future[int]:
        """As `Buffer`; but an alarm is told and kept, and its receipt fails."""
        self._carried.state.update(state or {})
        if stream is not Stream.ALARM:
            return super().add_record(stream, payload, state=state, keep=keep)
        receipt: asyncio.Future[int] = self._running().create_future()
        if state:
            super().save_state(state)
        self._held_bytes += len(payload) + ROW_OVERHEAD_BYTES
        if self._held_bytes <= HELD_BYTES:
            self._carried.alarms.append(payload)
        else:
            now_ns = self._clock.wall_ns()
            self._carried.lost.append(Gap(stream, "io_error", 0, 0, now_ns, now_ns, 1))
        self._alarms.follow(receipt, payload, failing=True)
        receipt.set_exception(NotStoredError(self.why))
        receipt.exception()  # asyncio does not complain where nobody asks
        return receipt

    def save_state(self, state: Mapping[str, bytes]) -> None:
        """Set named values."""
        self._carried.state.update(state)
        super().save_state(state)

    def health(self) -> tuple[bool, str]:
        """Never well: nothing is on disk."""
        well, text = super().health()
        return False, self.why if well else f"{self.why} {text}"

    def set_destinations(self, destinations: Mapping[str, Collection[Stream]]) -> None:
        """Name all destinations and the streams that each is sent."""
        self._names = destinations
        super().set_destinations(destinations)

    async def hand_over(self) -> HandOver:
        """What the log on disk is to hold of this one; asked once everything else has ended."""
        found = self._carried
        kept = set(self.catalogue_records().values())
        events = [one for one in await self._unsent(Stream.EVENT) if one.sequence not in kept]
        lost = list(found.lost)
        for stream in (Stream.TELEMETRY, Stream.EVIDENCE):
            if unsent := await self._unsent(stream):
                first_ns = min(one.first_ns for one in unsent)
                last_ns = max(one.last_ns for one in unsent)
                count = sum(one.samples for one in unsent)
                lost.append(Gap(stream, "io_error", 0, 0, first_ns, last_ns, count))
        payloads = [one.payload for one in events]
        return HandOver(list(found.alarms), payloads, dict(found.state), lost)

    async def _unsent(self, stream: Stream) -> list[Record]:
        """Records that some destination has not acknowledged; all where there is no destination."""
        held = self.bounds(stream)
        wanted = RangeSet() if self._names else RangeSet([(held.first, held.next)])
        for name, streams in self._names.items():
            if stream in streams:
                wanted.update(self.cursor(name, stream).missing(held.first, held.next))
        found: list[Record] = []
        for start, stop in wanted:
            at = start
            while at < stop:
                some = await self.read(stream, at, last=stop - 1, max_bytes=READ_BYTES)
                found += [replace(one, payload=b"") for one in some] if stream > 2 else some
                at = some[-1].sequence + 1 if some else stop
        return found


def in_memory(config: BufferConfig) -> BufferConfig:
    """The settings of a log, with the little room there is in memory."""
    return replace(
        config, quota_bytes=QUOTAS, quota_hours={}, rollup_quota_bytes=0, reserve_bytes=0,
        min_free_bytes=4 * MIB,
    )  # fmt: skip

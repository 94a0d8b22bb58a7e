"""The log as one destination with a filter sees it: made while it is read, stored nowhere.

Guarantees:

- It stands where the log stands (`SentLog`): the uplink over it is the same. Sequences and cursors
  are those of the log (gateway/uplink/derive.py), so retention and gaps need no second thought; its
  log id is its own, and lives in the log's state from before anything is sent under it.
- A new filter, a new version of the derivation or a renewed log give a new log id. It begins where
  this destination's acknowledgements ended, at the key of that group: nothing is left out, at most
  one group is sent under both ids.
- Events pass as they are. Alarms and evidence pass as they are or not at all; what is left out is
  covered by the next one that passes. Telemetry is derived group by group.
- What a destination need not be sent counts as acknowledged here, so that nothing is kept for it.

`run` until cancelled; `ready` says when log id and bounds may be used.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from buffer.contract import (
    Bounds,
    CommitListener,
    Log,
    NotStoredError,
    Record,
    SignedHead,
    Stream,
    UnreadableError,
)
from buffer.ranges import RangeSet
from drivers.contract import Clock
from gateway.model.event import event
from gateway.uplink.chosen_tables import Tables
from gateway.uplink.derive import DERIVATION, Deriver, covering, feed_wanted
from gateway.uplink.thin import Choice
from gateway.uplink.unread import Stuck

PAGE_BYTES = 128 * 1024
"""Of the log, read and derived at once: some 300,000 values, 10 ms of CPU."""
RECENT = 64
"""Committed records kept for deriving; more are read back from the log."""
PAGE_RECORDS = 500
STATE = "derived/"
_RETRY_NS = 1_000_000_000
_END = 1 << 62
_FILTERED = (Stream.ALARM, Stream.EVIDENCE)
_MADE = (*_FILTERED, Stream.TELEMETRY)


@dataclass(slots=True)
class _Reading:
    """A deriver in the middle of the log: fed up to `position`, told up to `told`."""

    deriver: Deriver
    position: int
    told: int


class DerivedLog:
    """See the module. Everything but derivation runs on the event loop."""

    def __init__(self, source: Log, name: str, choice: Choice, clock: Clock) -> None:
        self._source = source
        self._name = name
        self._choice = choice
        self._clock = clock
        self._id = b""
        self._source_id = b""
        self._given_up = ""
        self._starts = dict.fromkeys(Stream, 1)
        self._next = dict.fromkeys(Stream, 1)
        self._fed = dict.fromkeys(Stream, 1)
        self._tables = Tables(source, choice)
        self._deriver = Deriver(self._tables.chosen)
        self._reading: _Reading | None = None
        self._recent: dict[Stream, deque[Record]] = {one: deque(maxlen=RECENT) for one in _MADE}
        self._listeners: list[CommitListener] = []
        self._stuck = Stuck()
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()

    @property
    def name(self) -> str:
        """Name that this stream has at the receiver: of its destination."""
        return self._name

    @property
    def words(self) -> str:
        """What is left out, in words."""
        return self._choice.words()

    def choose(self, choice: Choice) -> None:
        """Take another choice from now on: under a new log id, from what is acknowledged."""
        if choice == self._choice:
            return
        self._choice = choice
        self._tables = Tables(self._source, choice)  # one that is being made goes into the former
        self._id = self._source_id = b""  # `run` takes a new one, and stores it before it is used
        self._wake.set()

    @property
    def source_log_id(self) -> bytes:
        """Id of the log that this stream is made of."""
        return self._source_id

    async def ready(self) -> None:
        """Wait until the stream may be sent."""
        while not (self.log_id and self._ready.is_set()):
            if not self.log_id:  # whatever was ready was so under an id that is no more
                self._ready.clear()
            self._wake.set()
            await self._ready.wait()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        stop = self._source.add_listener(self._committed)
        try:
            while True:
                try:
                    await self._follow()
                except (OSError, sqlite3.Error):  # the log cannot be read now, and says so itself
                    await self._clock.sleep_until(self._clock.monotonic_ns() + _RETRY_NS)
        finally:
            stop()

    async def _follow(self) -> None:
        if not self.log_id:
            await self._begin()
        if self.log_id and await self._advance():
            self._ready.set()
            await self._wake.wait()
            self._wake.clear()

    # ---- the log that an uplink sees -----------------------------------------------------

    @property
    def log_id(self) -> bytes:
        """16 bytes of this stream's own; none while the log has an id it was not made for."""
        return self._id if self._source_id == self._source.log_id else b""

    def bounds(self, stream: Stream) -> Bounds:
        """Sequences that the derived records speak for."""
        held = self._source.bounds(stream)
        first = max(held.first, self._starts[stream])
        return Bounds(first, max(first, self._next[stream] if stream in _MADE else held.next))

    async def read(self, stream: Stream, first: int, *, last: int, max_bytes: int) -> list[Record]:
        """Derived records that speak for any of [first, last], about max_bytes of payload."""
        if stream is Stream.TELEMETRY:
            return await self._read_telemetry(first, last, max_bytes)
        if stream in _FILTERED:
            return await self._read_filtered(stream, first, last, max_bytes, beyond=True)
        return await self._source.read(stream, first, last=last, max_bytes=max_bytes)

    async def read_file(self, sha256: bytes, offset: int, length: int) -> bytes:
        """Part of an evidence file."""
        return await self._source.read_file(sha256, offset, length)

    async def sequences_between(self, stream: Stream, from_ns: int, to_ns: int) -> tuple[int, int]:
        """First and last sequence of a time range, in whole groups."""
        return await self._source.sequences_between(stream, from_ns, to_ns)

    def catalogue_records(self) -> Mapping[bytes, int]:
        """Catalogues are those of the log."""
        return self._source.catalogue_records()

    def signed_head(self, stream: Stream) -> SignedHead | None:
        """None: signatures name the log that this stream is made of."""
        del stream
        return None

    def cursor(self, destination: str, stream: Stream) -> RangeSet:
        """Acknowledged ranges, in sequences of the log."""
        return self._source.cursor(destination, stream)

    def acknowledge(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Add to the cursor; nothing where the log has got another id."""
        if self.log_id:
            self._source.acknowledge(destination, stream, ranges)

    def replace_cursor(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Set the cursor to what the receiver said, and to what it need not be sent."""
        if self.log_id:
            self._source.replace_cursor(destination, stream, ranges)
            self._pass_over(stream)

    def renew_log_id(self, reason: str) -> bytes:
        """Go on under a new id from what is acknowledged; the log itself keeps its own."""
        del reason
        self._given_up = self._id.hex()
        self._id = self._source_id = b""  # `run` takes a new one, and stores it before it is used
        self._wake.set()
        return b""

    def request_key(self) -> None:
        """Make the log's next telemetry record a key, and thereby that of this stream."""
        self._source.request_key()

    def add_listener(self, listener: CommitListener) -> Callable[[], None]:
        """Call `listener` on the loop with each derived record; returns how to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # ---- following the log ---------------------------------------------------------------

    def _committed(self, stream: Stream, records: Sequence[Record]) -> None:
        if stream in _MADE:
            self._recent[stream].extend(records)
        elif self.log_id and self._ready.is_set():
            self._tell(stream, records)
        self._wake.set()

    def _tell(self, stream: Stream, records: Sequence[Record]) -> None:
        for listener in tuple(self._listeners):
            listener(stream, records)

    async def _advance(self) -> bool:
        """Derive what was committed; tells whether the end was reached under the same log id.

        What of one stream cannot be read holds up no other: it is raised once all had their turn.
        """
        failed: Exception | None = None
        for stream in _MADE:
            try:
                while self._fed[stream] < self._source.bounds(stream).next:
                    records = await self._following(stream)
                    if not self.log_id:
                        return False
                    self._tell_derived(stream, self._derive(stream, records))
            except (OSError, sqlite3.Error) as error:
                failed = failed or error
        if failed is not None:
            if self.log_id:
                self._ready.set()
            raise failed
        return True

    def _tell_derived(self, stream: Stream, out: list[Record]) -> None:
        if out:
            self._next[stream] = out[-1].sequence + 1
        if stream in _FILTERED:
            self._pass_over(stream)
        if out and self._ready.is_set():
            self._tell(stream, out)

    async def _following(self, stream: Stream) -> list[Record]:
        """Next committed records to derive from, their catalogues at hand; advances."""
        first, stop = self._fed[stream], self._source.bounds(stream).next
        recent = self._recent[stream]
        while recent and recent[0].sequence < first:
            recent.popleft()
        if recent and recent[0].sequence == first:
            records = [one for one in recent if one.sequence < stop]
        else:
            try:
                records = await self._source.read(
                    stream, first, last=stop - 1, max_bytes=PAGE_BYTES
                )
            except UnreadableError as error:
                self._go_round(stream, first, error.stop)
                return []
        await self._tables.know(records)
        if self.log_id:  # where nothing is left of the range it is a gap
            self._fed[stream] = records[-1].sequence + 1 if records else stop
        return records

    def _go_round(self, stream: Stream, first: int, stop: int) -> None:
        """Leave out what could not be read for so long; it does not count as acknowledged.

        Raises UnreadableError until then.
        """
        if not self._stuck.is_long(stream, first, self._clock.monotonic_ns()):
            raise UnreadableError(stream, first, stop)
        if stream in _FILTERED:
            self._pass_over(stream)
        self._next[stream] = self._fed[stream] = stop

    def _derive(self, stream: Stream, records: Sequence[Record]) -> list[Record]:
        if stream is Stream.TELEMETRY:
            return [one for record in records for one in self._deriver.feed(record)]
        following, expected = self._next[stream], 0
        out: list[Record] = []
        for record in records:
            if expected and record.sequence != expected:
                following = record.sequence  # a hole is covered by nothing
            expected = record.sequence + 1
            if self._tables.passes(record):
                out.append(covering(record, following))
                following = record.sequence + 1
        return out

    def _pass_over(self, stream: Stream) -> None:
        """Count what was left out since the last record that passed as acknowledged."""
        if stream in _FILTERED and self._next[stream] < self._fed[stream]:
            run = RangeSet([(self._next[stream], self._fed[stream])])
            self._source.acknowledge(self._name, stream, run)

    # ---- reading back --------------------------------------------------------------------

    async def _read_telemetry(self, first: int, last: int, max_bytes: int) -> list[Record]:
        reading, self._reading = self._reading, None
        if reading is None or reading.told != first:
            start = await self._source.group_start(first)
            reading = _Reading(Deriver(self._tables.chosen), start, first)
        log_id, size = self.log_id, 0
        out: list[Record] = []
        held = self._source.bounds(Stream.TELEMETRY)
        beyond = False
        while reading.position < held.next and size < max_bytes and not beyond:
            try:
                records = await self._source.read(
                    Stream.TELEMETRY, reading.position, last=held.next - 1, max_bytes=PAGE_BYTES
                )
            except UnreadableError:
                if out:
                    break  # what comes before it, first
                raise
            if not records or self.log_id != log_id:
                break
            await self._tables.know(records)
            wanted = (first, last, max_bytes - size)
            found, fed = await asyncio.to_thread(feed_wanted, reading.deriver, records, wanted)
            reading.position = records[fed - 1].sequence + 1
            beyond = any(one.first > last for one in found)
            found = [one for one in found if one.first <= last]
            out += found
            size += sum(len(one.payload) for one in found)
        if out and not beyond:
            reading.told = out[-1].sequence + 1
            self._reading = reading
        return out

    async def _read_filtered(
        self, stream: Stream, first: int, last: int, max_bytes: int, *, beyond: bool = False
    ) -> list[Record]:
        """Records that pass; `beyond`: look past `last` for the one that covers it."""
        following = position = first
        out: list[Record] = []
        stop = max(last + 1, self._next[stream]) if beyond else last + 1
        size = 0
        while position < stop and following <= last and size < max_bytes:
            try:
                records = await self._source.read(
                    stream, position, last=stop - 1, max_bytes=PAGE_BYTES
                )
            except UnreadableError:
                if out:
                    break  # what comes before it, first
                raise
            if not records:
                break
            await self._tables.know(records)
            for record in records:
                if record.sequence != position:
                    following = record.sequence  # a hole is covered by nothing
                position = record.sequence + 1
                if self._tables.passes(record):
                    out.append(covering(record, following))
                    following = position
                    size += len(record.payload)
                    if size >= max_bytes or following > last:
                        break
        return out

    # ---- what passes ---------------------------------------------------------------------

    def takes_alarm(self, payload: bytes) -> bool:
        """Tell whether an alarm (plantgate.wire.v1.Alarm) is sent; what cannot be read is."""
        return self._tables.takes_alarm(payload)

    def takes_source(self, name: str) -> bool:
        """Tell whether evidence of a source is sent."""
        return self._tables.takes_source(name)

    # ---- its log id ----------------------------------------------------------------------

    async def _begin(self) -> None:
        """Take up the stream where it was left, or begin a new one; find its end."""
        source_id = self._source.log_id
        self._ready.clear()
        made_of = {"source": source_id.hex(), "filter": self.words, "made": DERIVATION}
        saved = json.loads(self._source.state(STATE + self._name) or b"{}")
        if {key: saved.get(key) for key in made_of} == made_of and saved["id"] != self._given_up:
            self._id = bytes.fromhex(saved["id"])
            self._starts = {one: saved["starts"][one.name] for one in Stream}
        elif not await self._begin_anew(made_of):
            await self._clock.sleep_until(self._clock.monotonic_ns() + _RETRY_NS)
            return
        self._source_id = source_id
        self._reading = None
        self._deriver = Deriver(self._tables.chosen)
        try:
            for stream in _MADE:
                self._recent[stream].clear()
                await self._find_end(stream)
                if self.log_id:
                    self._pass_over(stream)
        except (OSError, sqlite3.Error):
            self._source_id = b""  # else it would go on from the beginning of the whole log
            raise

    async def _begin_anew(self, made_of: Mapping[str, str]) -> bool:
        """Take a new log id and remember it; False where the log could not store that."""
        starts: dict[Stream, int] = {}
        for stream in Stream:
            held = self._source.bounds(stream)
            done = self._source.cursor(self._name, stream).contiguous_stop(held.first)
            starts[stream] = min(max(done, held.first), held.next)
        held = self._source.bounds(Stream.TELEMETRY)
        if held.first < starts[Stream.TELEMETRY]:
            newest = min(starts[Stream.TELEMETRY], held.next - 1)
            starts[Stream.TELEMETRY] = await self._source.group_start(newest)
        log_id = secrets.token_bytes(16)
        named = {one.name: start for one, start in starts.items()}
        state = json.dumps({**made_of, "id": log_id.hex(), "starts": named}).encode()
        text = f"Uplink {self._name} is sent a stream of its own: {self.words}."
        attributes = {"uplink": self._name, "log_id": log_id.hex(), **made_of}
        payload = event("uplink.derived", "uplink", self._clock.wall_ns(), text, attributes)
        try:
            await self._source.add_record(Stream.EVENT, payload, state={STATE + self._name: state})
        except NotStoredError:
            return False
        self._id, self._starts = log_id, starts
        for stream, start in starts.items():  # nothing of it was received under the new id
            kept = self._source.cursor(self._name, stream).copy()
            kept.discard(start, _END)
            self._source.replace_cursor(self._name, stream, kept)
        return True

    async def _find_end(self, stream: Stream) -> None:
        """Find how far derived records of what is held reach; `_advance` does the rest."""
        held = self._source.bounds(stream)
        first = max(held.first, self._starts[stream])
        self._next[stream] = self._fed[stream] = max(first, held.next)
        if held.next <= first:
            return
        if stream is Stream.TELEMETRY:
            start = max(first, await self._source.group_start(held.next - 1))
            self._next[stream] = self._fed[stream] = start
            return
        stop = held.next
        while stop > first:
            start = max(first, stop - PAGE_RECORDS)
            if found := await self._read_filtered(stream, start, stop - 1, 1 << 40):
                self._next[stream] = found[-1].sequence + 1
                return
            stop = start
        self._next[stream] = first


__all__ = ["DerivedLog"]

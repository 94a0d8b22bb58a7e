"""Buffer: the durable log with cursors, as the rest of the gateway uses it.

Guarantees: those of `buffer.contract.Log`. All methods run on the event loop and none of them waits
for the disk, except where they are coroutines. Threads: two writers (encoding, hashing, SQLite),
reading, files, rollup, scrub. Batches wait until commit_ms or commit_bytes, then go to the
telemetry writer in one piece; records go to theirs at once. Each commit comes back as an `Outcome`,
which completes receipts, moves bounds and calls the listeners.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from buffer.alarm_watch import AlarmWatch
from buffer.block import ColumnBatch, check_batch
from buffer.bookkeeping import load_cursors
from buffer.collecting import Collecting
from buffer.contract import (
    Bounds,
    Capacity,
    Clock,
    Columns,
    CommitListener,
    Gap,
    NotStoredError,
    Record,
    SignedHead,
    Signer,
    Stream,
    VolatileListener,
    VolatileRecord,
)
from buffer.cursors import Cursors, CursorSaver, Key
from buffer.database import RECORDS, TELEMETRY
from buffer.door import Door
from buffer.filing import Collected, Filing
from buffer.jobs import (
    EncodeGap,
    Evict,
    Lost,
    PendingBatch,
    PendingRecord,
    PromiseEviction,
    Renew,
    SaveCursors,
    SaveState,
    TakeOver,
    Verify,
)
from buffer.listeners import Listeners
from buffer.mender import Mender
from buffer.outcome import Outcome, Session, Usage
from buffer.policy import HOUR_NS, BufferConfig, CommitPolicy, capacity_hours
from buffer.ranges import RangeSet
from buffer.reader import Reader
from buffer.reading import Reading
from buffer.records_writer import RecordsWriter
from buffer.recover import FileRepairs, Opened, open_data_dir
from buffer.reserve import Reserve
from buffer.rollup import Minute
from buffer.rollup_writer import RollupWriter
from buffer.room import Room
from buffer.scrub import Scrubber
from buffer.telemetry_writer import TelemetryWriter


class Buffer:
    """The log on disk. `async with Buffer.open(...) as log:`; leaving flushes everything."""

    def __init__(
        self,
        path: Path,
        config: BufferConfig,
        opened: Opened,
        *,
        clock: Clock,
        boot_id: bytes,
        encode_gap: EncodeGap,
        signer: Signer | None = None,
    ) -> None:
        self.notes: Sequence[str] = tuple(opened.notes)
        self._path = path
        self._config = config
        self._clock = clock
        self._lock = opened.lock
        self._log_id = opened.log_id
        self._epoch = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        policy, door = CommitPolicy(config), Door()
        self._catalogue = b""
        self._room = Room(config.queue_bytes)
        self._listeners = Listeners()
        self._trouble: dict[str, str] = {}
        self._alarms = AlarmWatch(clock)
        self._state = opened.state()
        self._bounds = opened.bounds()
        self._cursors = Cursors(load_cursors(opened.records), lambda of: self._bounds[of].first)
        self._saver = CursorSaver(self._cursors, self._save_cursors)
        session = Session(boot_id)
        self._records_writer = RecordsWriter(
            opened.records,
            config,
            clock,
            session,
            partial(self._post, RECORDS),
            encode_gap=encode_gap,
            evict_telemetry=lambda last_id: self._telemetry_writer.put(Evict(last_id)),
            catalogues_held=lambda: self._telemetry_writer.catalogues | {self._catalogue},
            reserve=Reserve(path / "reserve", config.reserve_bytes, config.min_free_bytes),
            signer=signer,
            unsent=self._cursors.unsent.get,
            repairs=FileRepairs(clock, door),
        )
        self._telemetry_writer = TelemetryWriter(
            opened.telemetry,
            config,
            clock,
            session,
            partial(self._post, TELEMETRY),
            promise=lambda gap, last_id: self._records_writer.put(PromiseEviction(gap, last_id)),
            lost=lambda gap: self._records_writer.put(Lost(gap)),
            policy=policy,
            signer=signer,
            unsent=self._cursors.unsent.get,
            repairs=FileRepairs(clock, door),
            salvaged=lambda told: self._records_writer.put(TakeOver(TELEMETRY, told)),
        )
        self._collecting = Collecting(policy, config.commit_ms, self._telemetry_writer.put)
        self._writers = (self._telemetry_writer, self._records_writer)
        self._writer_of: dict[str, TelemetryWriter | RecordsWriter] = {
            writer.database.kind: writer for writer in self._writers
        }
        self._usage = {stream: Usage(0, 0, 0) for stream in Stream}
        self._signed = {
            stream: head
            for writer in self._writers
            for stream, head in writer.signing.newest.items()
        }
        self._catalogues = dict(self._records_writer.catalogue_sequences())
        self._rollup = RollupWriter(path, config, clock, self._suspect_later, door)
        self._scrub = Scrubber(path, config.verify_whole_bytes, self._suspect_later, door)
        self._mender = Mender(
            clock, lambda kind: self._writer_of[kind].put(Verify()), self._repair, self._mended
        )
        self._reading = Reading(path, door, self.suspect)
        self._filing = Filing(
            path,
            config.quota_bytes[Stream.EVIDENCE],
            lambda gap: self._records_writer.put(Lost(gap)),
        )

    @classmethod
    def open(
        cls,
        path: Path,
        config: BufferConfig,
        *,
        clock: Clock,
        boot_id: bytes,
        encode_gap: EncodeGap,
        signer: Signer | None = None,
    ) -> Self:
        """Open or create the log in a data directory; raises BufferPathError.

        boot_id: 16 bytes.  encode_gap(gap, time_ns) gives the payload of a gap record; it is
        called in a writer thread. signer: the key that heads are signed with, None to sign none.
        `notes` of the result says what had to be repaired.
        """
        path = path.absolute()
        opened = open_data_dir(path, clock.wall_ns(), config.verify_whole_bytes)
        make = partial(cls, path, config, opened, clock=clock, boot_id=boot_id)
        return opened.use(path, lambda: make(encode_gap=encode_gap, signer=signer))

    async def __aenter__(self) -> Self:
        """Start the writers."""
        self._loop = asyncio.get_running_loop()
        if self._config.rollup_quota_bytes:
            self._rollup.start()
        for part in (*self._writers, self._scrub):
            part.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Store everything queued, durably; stop readers first, so a writer empties the WAL."""
        self._collecting.flush()
        self._mender.stop()
        self._alarms.stop()
        self._saver.now()
        for thread in (self._rollup, self._scrub):
            await self._filing.run(thread.stop)
        await self._reading.close()
        for writer in self._writers:
            writer.stop()
            await self._filing.run(writer.join)
        await asyncio.sleep(0)
        self._filing.close()
        os.close(self._lock)
        self._loop = None

    # ---- writing ------------------------------------------------------------------------------

    @property
    def log_id(self) -> bytes:
        """16 random bytes naming this store; a new one whenever its past is uncertain."""
        return self._log_id

    def add_batch(
        self,
        points: npt.NDArray[np.int32],
        values: Columns,
        quality: npt.NDArray[np.uint16],
        source_time_ns: npt.NDArray[np.int64] | int,
        gateway_time_ns: int,
    ) -> asyncio.Future[None]:
        """Queue columns for the next telemetry record; ValueError where they do not fit."""
        batch = ColumnBatch(points, values, quality, source_time_ns, gateway_time_ns)
        check_batch(batch)
        receipt: asyncio.Future[None] = self._running().create_future()
        raw_bytes = 64 + 20 * len(points)
        if self._room.is_out:
            self._refuse(receipt, batch)
            return receipt
        self._room.take(raw_bytes)
        pending = PendingBatch(batch, receipt, self._catalogue, raw_bytes)
        self._collecting.add(pending, self._clock.monotonic_ns())
        return receipt

    def add_record(
        self,
        stream: Stream,
        payload: bytes,
        *,
        state: Mapping[str, bytes] | None = None,
        keep: bytes | None = None,
    ) -> asyncio.Future[int]:
        """Queue one record (not TELEMETRY); the future gives its sequence once durable."""
        if stream is Stream.TELEMETRY:
            raise ValueError("telemetry is added by add_batch")
        if keep is not None and stream is not Stream.EVENT:
            raise ValueError("only an event record can define a catalogue")
        receipt: asyncio.Future[int] = self._running().create_future()
        self._room.take(len(payload))
        self._records_writer.put(PendingRecord(stream, payload, receipt, state, keep))
        if stream is Stream.ALARM:
            self._alarms.follow(receipt, payload, failing=bool(self._trouble.get(RECORDS)))
        elif stream is Stream.EVIDENCE:
            self._filing.follow(receipt, payload)
        return receipt

    async def room(self) -> None:
        """Wait until the writers' queues are below their bound."""
        await self._room.wait()

    def set_catalogue(self, catalogue_hash: bytes) -> None:
        """Name the catalogue of all batches that follow; starts a new key."""
        self._catalogue = catalogue_hash

    def request_key(self) -> None:
        """Make the next telemetry record a key."""
        self._collecting.flush()
        self._collecting.force_key()

    def set_clock_quality(
        self, offset_ns: int, *, synchronised: bool, wall_less_monotonic_ns: int | None = None
    ) -> None:
        """Tell what is known of the wall clock's error; written on every record that follows."""
        for writer in self._writers:
            boot = writer.session.boot_id
            writer.session = Session(boot, offset_ns, synchronised, wall_less_monotonic_ns)

    def save_state(self, state: Mapping[str, bytes]) -> None:
        """Set named values with the next commit of records, without a record of their own."""
        self._records_writer.put(SaveState(state))

    def state(self, key: str) -> bytes:
        """Newest committed state value of that name, or empty bytes."""
        return self._state.get(key, b"")

    def states(self, prefix: str) -> Mapping[str, bytes]:
        """Newest committed state values whose names begin so; empty values are left out."""
        return {k: v for k, v in self._state.items() if v and k.startswith(prefix)}

    # ---- reading ------------------------------------------------------------------------------

    def bounds(self, stream: Stream) -> Bounds:
        """Committed sequences held now."""
        return self._bounds[stream]

    async def read(self, stream: Stream, first: int, *, last: int, max_bytes: int) -> list[Record]:
        """Records first..last (inclusive) that are held; UnreadableError if they cannot be read."""
        return await self._reading.records(self._log_id, stream, first, last, max_bytes)

    async def group_start(self, sequence: int) -> int:
        """Sequence of the key that starts the telemetry group of `sequence`."""
        find = partial(Reader.group_start, log_id=self._log_id, sequence=sequence)
        return await self._reading.ask(Stream.TELEMETRY, find)

    async def sequences_between(self, stream: Stream, from_ns: int, to_ns: int) -> tuple[int, int]:
        """First and last sequence (inclusive) that may hold times in [from_ns, to_ns]."""
        log_id = self._log_id
        return await self._reading.ask(
            stream, lambda reader: reader.between(log_id, stream, from_ns, to_ns)
        )

    async def rollup(self, point: int, from_ns: int, to_ns: int) -> list[Minute]:
        """Minutes of a point that begin in [from_ns, to_ns); for ranges above some 6 hours.

        Empty where there is none yet, or while a damaged file is made anew.
        """
        return await self._reading.rollup(point, from_ns, to_ns)

    def catalogue_records(self) -> Mapping[bytes, int]:
        """Sequence in the EVENT stream of each catalogue kept, by its hash."""
        return self._catalogues

    def capacity(self, stream: Stream) -> Capacity:
        """How full a stream is."""
        usage, quota = self._usage[stream], self._config.quota_bytes[stream]
        hours = capacity_hours(usage.used_bytes, quota, usage.held_ns)
        return Capacity(usage.used_bytes, quota, usage.held_ns / HOUR_NS, hours, usage.records)

    def signed_head(self, stream: Stream) -> SignedHead | None:
        """Newest signed head under the present log id; None where nothing is signed."""
        return self._signed.get(stream)

    def health(self) -> tuple[bool, str]:
        """Tell whether everything given is being stored, and in one sentence what is wrong."""
        troubles = [
            text
            for text in (
                *self._trouble.values(),
                self._rollup.failure,
                self._scrub.failure,
                self._reading.failure,
            )
            if text
        ] + self._mender.trouble()
        return not troubles, "; ".join(troubles) or "everything given is being stored"

    def add_listener(self, listener: CommitListener) -> Callable[[], None]:
        """Call `listener` on the loop after each commit; returns how to stop."""
        return self._listeners.add(listener)

    def volatile(self) -> Sequence[VolatileRecord]:
        """Alarms that were told to be in memory only and are not durable yet, oldest first."""
        return self._alarms.told()

    def add_volatile_listener(self, listener: VolatileListener) -> Callable[[], None]:
        """Call `listener` on the loop with such alarms, and when they are durable."""
        return self._alarms.add_listener(listener)

    # ---- evidence -----------------------------------------------------------------------------

    async def put_file(self, content: bytes) -> bytes:
        """Store an evidence file by content; durable on return. Gives its SHA-256."""
        self._running()
        return await self._filing.put(content)

    async def read_file(self, sha256: bytes, offset: int, length: int) -> bytes:
        """Part of an evidence file; empty at or past its end. FileNotFoundError if unknown."""
        return await self._filing.read(sha256, offset, length)

    async def collect_files(self, named_by: Callable[[bytes], bytes]) -> Collected:
        """Delete evidence files that no record names (see `filing.py`).

        named_by(payload) gives the SHA-256 that an evidence record names, or b"".
        """
        return await self._filing.collect(self._reading, named_by)

    # ---- cursors and log id -------------------------------------------------------------------

    def cursor(self, destination: str, stream: Stream) -> RangeSet:
        """Ranges this destination has acknowledged under the present log id (a copy)."""
        return self._cursors.get(destination, stream)

    def acknowledge(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Add ranges to a cursor; persisted within a second."""
        self._cursors.add(destination, stream, ranges)
        self._saver.soon()

    def replace_cursor(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Set a cursor to what the receiver said in Welcome."""
        self._cursors.replace(destination, stream, ranges)
        self._saver.soon()

    def set_destinations(self, destinations: Mapping[str, Collection[Stream]]) -> None:
        """Name all destinations and the streams that each is sent.

        What one of them has not acknowledged outlives the retention (not the quota). Cursors of
        others count no more. Until this is called, those with a cursor are the destinations.
        """
        self._cursors.set_destinations(destinations)

    def renew_log_id(self, reason: str) -> bytes:
        """Start a new log id; what no destination has acknowledged is carried into it.

        Until the writers have renumbered it (`bounds` says Bounds(1, 1) meanwhile), reads give
        nothing. Cursors start empty.
        """
        self._begin_log(reason)
        return self._log_id

    def _begin_log(self, reason: str, *, repair: str = "", damage: str = "") -> None:
        self._collecting.flush()
        self._log_id = secrets.token_bytes(16)
        self._epoch += 1
        self._catalogues = {}
        self._signed = {}
        self._bounds = {stream: Bounds(1, 1) for stream in Stream}
        carry = self._cursors.clear()
        self.notes = (*self.notes, f"log id is new: {reason}")
        state = {**self._state} if repair == RECORDS else {}
        for writer in self._writers:
            writer.put(Renew(self._log_id, self._epoch, carry, repair, damage, state))

    # ---- files that seem damaged --------------------------------------------------------------

    def suspect(self, stream: Stream, why: str) -> None:
        """Have the file of a stream verified, and repaired while everything goes on, if need be.

        A repair begins a new log id; what was lost becomes a gap record.
        """
        self._mender.suspect(TELEMETRY if stream is Stream.TELEMETRY else RECORDS, why)

    def add_repair_listener(self, listener: Callable[[str], None]) -> None:
        """Call `listener` on the loop with a sentence after each such repair."""
        self._mender.add_listener(listener)

    def _suspect_later(self, kind: str, why: str) -> None:
        """The same, from another thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._mender.suspect, kind, why)

    def _repair(self, kind: str, damage: str) -> None:
        self._begin_log(f"{kind}.db is damaged: {damage}", repair=kind, damage=damage)

    def _mended(self, kind: str, text: str) -> None:
        self._reading.forget(kind)
        self._scrub.forgive(kind)
        self.notes = (*self.notes, text)

    # ---- inside -------------------------------------------------------------------------------

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the buffer is not running: use it inside `async with`")
        return self._loop

    def _refuse(self, receipt: asyncio.Future[None], batch: ColumnBatch) -> None:
        receipt.set_exception(NotStoredError("the buffer is overloaded: its queue is full"))
        at_ns = batch.gateway_time_ns
        lost = Gap(Stream.TELEMETRY, "overload", 0, 0, at_ns, at_ns, len(batch))
        self._records_writer.put(Lost(lost))
        self._collecting.force_key()

    def _save_cursors(self, changed: Mapping[Key, RangeSet]) -> None:
        held = self._bounds[Stream.TELEMETRY].next
        self._records_writer.put(SaveCursors(changed, self._epoch, held))

    def _post(self, kind: str, outcome: Outcome) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, kind, outcome)

    def _settle(self, kind: str, outcome: Outcome) -> None:
        """Take in what a commit did; runs on the loop."""
        self._room.release(outcome.released_bytes)
        if outcome.epoch == self._epoch:
            self._bounds.update(outcome.bounds)
            if outcome.signed is not None:
                self._signed.update(outcome.signed)
                self._trouble["signing"] = outcome.unsigned
            if outcome.catalogues is not None:
                self._catalogues = outcome.catalogues
        self._usage.update(outcome.usage)
        self._state.update(outcome.state)
        if outcome.health is not None:
            self._trouble[kind] = outcome.health
        if kind == RECORDS:
            self._alarms.settle(outcome)
        outcome.complete()
        self._mender.settle(kind, outcome)
        if outcome.records and outcome.epoch == self._epoch:
            self._listeners.tell(outcome.records)
        if outcome.begins_group():
            self._rollup.wake()

"""MemoryLog: the Log in memory, for tests of others and as the model of the Log on disk.

Guarantees: the same contract as `buffer.store.Buffer` but for durability: everything given within
one pass of the event loop is one commit. Telemetry is encoded as on disk. With a configuration and
a way to write gap records it evicts as the one on disk does, after each commit. No thread, no file.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from buffer.block import BlockEncoder, ColumnBatch, block_header, check_batch
from buffer.contract import (
    NO_HASH,
    Bounds,
    Capacity,
    Clock,
    Columns,
    CommitListener,
    Gap,
    Record,
    SignedHead,
    Signer,
    Stream,
    chain_hash,
    head_message,
)
from buffer.cursors import Cursors
from buffer.database import ROW_OVERHEAD_BYTES
from buffer.policy import EVERYTHING, BufferConfig, GapLedger, Held, choose_evictions, limits
from buffer.ranges import RangeSet


class MemoryLog:
    """A Log without a disk; `evict` and `restart` do by hand what happens to a Buffer.

    config and encode_gap, given both, make it keep to quota and retention.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        boot_id: bytes = bytes(16),
        signer: Signer | None = None,
        config: BufferConfig | None = None,
        encode_gap: Callable[[Gap, int], bytes] | None = None,
    ) -> None:
        self._config = config
        self._encode_gap = encode_gap
        self._ledger = GapLedger((config or BufferConfig()).gap_interval_s * 10**9)
        self._clock = clock
        self._signer = signer
        self._boot_id = boot_id
        self._log_id = secrets.token_bytes(16)
        self._records: dict[Stream, list[Record]] = {stream: [] for stream in Stream}
        self._next = dict.fromkeys(Stream, 1)
        self._heads = dict.fromkeys(Stream, NO_HASH)
        self._waiting: list[tuple[ColumnBatch, asyncio.Future[None], bytes]] = []
        self._queued: list[tuple[asyncio.Future[int], Record]] = []
        self._scheduled = False
        self._encoder = BlockEncoder()
        self._key = True
        self._group = 0
        self._catalogue = b""
        self._group_catalogue = b""
        self._state: dict[str, bytes] = {}
        self._files: dict[bytes, bytes] = {}
        self._cursors = Cursors({}, lambda of: self.bounds(of).first)
        self._catalogues: dict[bytes, int] = {}
        self._listeners: list[CommitListener] = []

    @property
    def log_id(self) -> bytes:
        """16 random bytes naming this log."""
        return self._log_id

    async def __aenter__(self) -> MemoryLog:
        """Nothing to start; lets a MemoryLog stand where a Buffer stands."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Commit what waits; report every gap that is still open."""
        self._commit()
        self._report(self._ledger.close())

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
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, receipt, self._catalogue))
        self._schedule()
        return receipt

    def add_record(
        self,
        stream: Stream,
        payload: bytes,
        *,
        state: Mapping[str, bytes] | None = None,
        keep: bytes | None = None,
    ) -> asyncio.Future[int]:
        """Queue one record (not TELEMETRY); the future gives its sequence once committed."""
        if stream is Stream.TELEMETRY:
            raise ValueError("telemetry is added by add_batch")
        if keep is not None and stream is not Stream.EVENT:
            raise ValueError("only an event record can define a catalogue")
        receipt: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        record = self._chain(stream, payload)
        if keep is not None:
            self._catalogues[keep] = record.sequence
        self._state.update(state or {})
        self._queued.append((receipt, record))
        self._schedule()
        return receipt

    def save_state(self, state: Mapping[str, bytes]) -> None:
        """Set small named values."""
        self._state.update(state)

    def state(self, key: str) -> bytes:
        """Newest state value of that name, or empty bytes."""
        return self._state.get(key, b"")

    def states(self, prefix: str) -> Mapping[str, bytes]:
        """Newest committed state values whose names begin so; empty values are left out."""
        return {k: v for k, v in self._state.items() if v and k.startswith(prefix)}

    async def put_file(self, content: bytes) -> bytes:
        """Keep a file by content."""
        digest = hashlib.sha256(content).digest()
        self._files[digest] = content
        return digest

    async def read_file(self, sha256: bytes, offset: int, length: int) -> bytes:
        """Part of a file; FileNotFoundError if unknown."""
        if sha256 not in self._files:
            raise FileNotFoundError(sha256.hex())
        return self._files[sha256][offset : offset + length]

    async def room(self) -> None:
        """There is always room."""

    def set_catalogue(self, catalogue_hash: bytes) -> None:
        """Name the catalogue of all batches that follow; starts a new key."""
        self._catalogue = catalogue_hash

    def request_key(self) -> None:
        """Make the next telemetry record a key."""
        self._commit()
        self._key = True

    def bounds(self, stream: Stream) -> Bounds:
        """Sequences held now."""
        held = self._records[stream]
        stop = held[-1].sequence + 1 if held else self._next[stream]
        return Bounds(held[0].sequence if held else stop, stop)

    async def read(self, stream: Stream, first: int, *, last: int, max_bytes: int) -> list[Record]:
        """Records first..last (inclusive) that are held, about max_bytes of payload."""
        found: list[Record] = []
        for record in self._records[stream]:
            if first <= record.sequence <= last and (max_bytes > 0 or not found):
                found.append(record)
                max_bytes -= len(record.payload)
        return found

    async def group_start(self, sequence: int) -> int:
        """Sequence of the key that starts the telemetry group of `sequence`; itself if unknown."""
        for record in self._records[Stream.TELEMETRY]:
            if record.sequence == sequence:
                return record.group
        return sequence

    async def sequences_between(self, stream: Stream, from_ns: int, to_ns: int) -> tuple[int, int]:
        """First and last sequence of the groups that touch [from_ns, to_ns]; (1, 0) if none."""
        spans: dict[int, list[Record]] = {}
        for record in self._records[stream]:
            spans.setdefault(record.group, []).append(record)
        touched = [
            record.sequence
            for group in spans.values()
            if min(item.first_ns for item in group) <= to_ns
            and max(item.last_ns for item in group) >= from_ns
            for record in group
        ]
        return (touched[0], touched[-1]) if touched else (1, 0)

    def catalogue_records(self) -> Mapping[bytes, int]:
        """Sequence in the EVENT stream of each catalogue kept, by its hash."""
        return self._catalogues

    def capacity(self, stream: Stream) -> Capacity:
        """Bytes held; there is no quota."""
        held = self._records[stream]
        used = sum(len(record.payload) for record in held)
        return Capacity(used, 1 << 62, 0.0, float("inf"), len(held))

    def signed_head(self, stream: Stream) -> SignedHead | None:
        """Newest record, signed now; None where there is none, or no key."""
        if self._signer is None or not self._records[stream]:
            return None
        newest = self._records[stream][-1]
        message = head_message(self._log_id, stream, newest.sequence, newest.hash)
        return SignedHead(
            self._log_id, stream, newest.sequence, newest.hash, self._signer.key_id,
            self._signer.sign(message),
        )  # fmt: skip

    def health(self) -> tuple[bool, str]:
        """Memory is always well."""
        return True, "everything given is being stored"

    def add_listener(self, listener: CommitListener) -> Callable[[], None]:
        """Call `listener` after each commit; returns how to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def cursor(self, destination: str, stream: Stream) -> RangeSet:
        """Ranges this destination has acknowledged (a copy)."""
        return self._cursors.get(destination, stream)

    def acknowledge(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Add ranges to a cursor."""
        self._cursors.add(destination, stream, ranges)

    def replace_cursor(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Set a cursor to what the receiver said in Welcome."""
        self._cursors.replace(destination, stream, ranges)

    def set_destinations(self, destinations: Mapping[str, Collection[Stream]]) -> None:
        """Name all destinations; what one of them has not acknowledged outlives the retention."""
        self._cursors.set_destinations(destinations)

    def renew_log_id(self, reason: str) -> bytes:
        """Start a new log id with what no destination has acknowledged; cursors start empty."""
        del reason
        self._commit()
        self._report(self._ledger.close())
        carry = self._cursors.clear()
        for stream in Stream:
            self._carry(stream, carry.get(stream, 1))
        self._log_id = secrets.token_bytes(16)
        self._key = True
        return self._log_id

    # ---- what only a test does ----------------------------------------------------------------

    def evict(self, stream: Stream, through: int) -> None:
        """Drop records up to sequence `through`."""
        held = self._records[stream]
        self._records[stream] = [record for record in held if record.sequence > through]

    def unreported(self) -> list[Gap]:
        """Losses whose gap record is still to come."""
        return self._ledger.pending()

    def restart(self) -> None:
        """What a restart does: gaps are reported, the next telemetry record is a key."""
        self._commit()
        self._report(self._ledger.close())
        self._key = True
        self._commit()  # looks for evictions, as a start does

    # ---- inside -------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        self._scheduled = False
        waiting, self._waiting = self._waiting, []
        queued, self._queued = self._queued, []
        records = [record for _, record in queued]
        while waiting:
            catalogue = waiting[0][2]
            part = [batch for batch, _, name in waiting if name == catalogue]
            receipts = [receipt for _, receipt, name in waiting if name == catalogue]
            waiting = [item for item in waiting if item[2] != catalogue]
            records.append(self._encode(part, catalogue))
            for receipt in receipts:
                if not receipt.done():
                    receipt.set_result(None)
        for record in records:
            self._records[record.stream].append(record)
        for done, record in queued:
            if not done.done():
                done.set_result(record.sequence)
        self._tell(records)
        if self._config is not None:
            for stream in (Stream.EVIDENCE, Stream.TELEMETRY, Stream.EVENT, Stream.ALARM):
                self._trim(stream, self._config)
            self._report(self._ledger.tick(self._clock.monotonic_ns()))

    def _trim(self, stream: Stream, config: BufferConfig) -> None:
        """Evict what is past quota or retention; never the newest group or record."""
        units = self._units(stream)
        used = sum(unit.used_bytes for unit in units)
        if stream is Stream.TELEMETRY:  # room for the group that begins
            used += units[-2].used_bytes if len(units) > 1 else 0
        unsent = self._cursors.unsent.get(stream)
        sent_id = EVERYTHING if unsent is None else unsent - 1
        limit = limits(config, stream, self._clock.wall_ns(), sent_id)
        gone: set[int] = set()
        for cause, unit in choose_evictions(units[:-1], used, limit):
            gone.update(range(unit.first_id, unit.last_id + 1))
            count = unit.last_id - unit.first_id + 1
            gap = Gap(
                stream, cause, unit.first_id, unit.last_id, unit.first_ns, unit.last_ns, count
            )
            self._report(self._ledger.add(gap, self._clock.monotonic_ns()))
        self._records[stream] = [r for r in self._records[stream] if r.sequence not in gone]
        if stream is Stream.EVENT:
            self._catalogues = {k: at for k, at in self._catalogues.items() if at not in gone}

    def _units(self, stream: Stream) -> list[Held]:
        named = {record.catalogue for record in self._records[Stream.TELEMETRY]}
        named.add(self._catalogue)
        kept = {at for name, at in self._catalogues.items() if name in named}
        kept.add(max(self._catalogues.values(), default=0))
        units: dict[int, Held] = {}
        for record in self._records[stream]:
            is_kept = stream is Stream.EVENT and record.sequence in kept
            used = len(record.payload) + ROW_OVERHEAD_BYTES
            unit = units.get(record.group) or Held(
                record.sequence, record.sequence, record.first_ns, record.last_ns, 0, kept=is_kept
            )
            units[record.group] = replace(
                unit,
                last_id=record.sequence,
                first_ns=min(unit.first_ns, record.first_ns),
                last_ns=max(unit.last_ns, record.last_ns),
                used_bytes=unit.used_bytes + used,
            )
        return list(units.values())

    def _report(self, gaps: Sequence[Gap]) -> None:
        if self._encode_gap is None:
            return
        now_ns = self._clock.wall_ns()
        records = [self._chain(Stream.EVENT, self._encode_gap(gap, now_ns)) for gap in gaps]
        self._records[Stream.EVENT] += records
        self._tell(records)

    def _tell(self, records: Sequence[Record]) -> None:
        for stream in Stream:
            found = [record for record in records if record.stream is stream]
            if found:
                for listener in tuple(self._listeners):
                    listener(stream, found)

    def _encode(self, batches: Sequence[ColumnBatch], catalogue: bytes) -> Record:
        key = self._key or catalogue != self._group_catalogue
        block = self._encoder.encode(batches, key=key, catalogue=catalogue)
        header = block_header(block)
        if header.is_key:
            self._group = self._next[Stream.TELEMETRY]
            self._group_catalogue = catalogue
            self._key = False
        return replace(
            self._chain(Stream.TELEMETRY, block),
            group=self._group,
            catalogue=catalogue,
            first_ns=header.first_ns,
            last_ns=header.last_ns,
            samples=header.samples,
        )

    def _chain(self, stream: Stream, payload: bytes) -> Record:
        sequence, previous = self._next[stream], self._heads[stream]
        self._next[stream] += 1
        self._heads[stream] = chain_hash(previous, stream, sequence, payload)
        time_ns = self._clock.wall_ns()
        return Record(
            stream=stream,
            sequence=sequence,
            time_ns=time_ns,
            monotonic_ns=self._clock.monotonic_ns(),
            boot_id=self._boot_id,
            clock_offset_ns=0,
            synchronised=False,
            previous_hash=previous,
            hash=self._heads[stream],
            payload=payload,
            group=sequence,
            first_ns=time_ns,
            last_ns=time_ns,
        )

    def _carry(self, stream: Stream, first: int) -> None:
        held = self._records[stream]
        if stream is Stream.TELEMETRY:
            first = max((r.group for r in held if r.group <= first), default=first)
        if stream is Stream.EVENT:
            first = min((first, *self._catalogues.values()))
        if held:
            first = max(first, held[0].sequence)
        carried = [record for record in held if record.sequence >= first]
        self._next[stream], self._heads[stream] = 1, NO_HASH
        self._records[stream] = []
        for record in carried:
            anew = self._chain(stream, record.payload)
            self._records[stream].append(
                replace(
                    record,
                    sequence=anew.sequence,
                    group=record.group - first + 1,
                    previous_hash=anew.previous_hash,
                    hash=anew.hash,
                )
            )
        if stream is Stream.EVENT:
            self._catalogues = {k: at - first + 1 for k, at in self._catalogues.items()}

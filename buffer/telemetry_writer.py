"""Writes telemetry: encodes batches into blocks, commits them, evicts the oldest groups.

Guarantees: batches are stored in the order given; a record is a key or decodes after its
predecessor; a loss forces a key. An eviction is first promised in the records database together
with its gap record, then carried out, so that every loss is counted exactly once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from buffer.block import (
    MAX_BATCHES,
    MAX_SAMPLES,
    BlockEncoder,
    BlockError,
    block_header,
)
from buffer.bookkeeping import FILE_BYTES, page_share
from buffer.contract import Clock, Gap, Record, SignedHead, Signer, Stream
from buffer.database import RENEWED_FROM, ROW_OVERHEAD_BYTES, Database, carry_name
from buffer.jobs import Evict, PendingBatch, Renew, Store, TelemetryJob
from buffer.outcome import Outcome, Post, Receipt, Repairs, Session, Told, Usage
from buffer.policy import (
    BufferConfig,
    CommitPolicy,
    Held,
    KeyPolicy,
    choose_evictions,
    choose_for_room,
)
from buffer.writer import Heads, Writer

ROOM_SEEN_NS = 10**9
"""Free disk space is looked at once a second, and at every commit while telemetry is shed."""
VACUUM_FROM_PAGES = 16_384
VACUUM_STEP_PAGES = 1_024
"""Free pages are given back above 64 MiB of them, 4 MiB after a commit."""
SPARE_COMMITS = 4
"""So many commits fit into the file's free pages while it may not grow."""


Promise = Callable[[Gap, int], None]
"""Promise an eviction: record the gap, then send Evict(last_id) back."""


class TelemetryWriter(Writer[TelemetryJob]):
    """The writer of telemetry.db."""

    def __init__(
        self,
        database: Database,
        config: BufferConfig,
        clock: Clock,
        session: Session,
        post: Post,
        *,
        promise: Promise,
        lost: Callable[[Gap], None],
        policy: CommitPolicy,
        signer: Signer | None,
        unsent: Callable[[Stream], int | None],
        repairs: Repairs,
        salvaged: Callable[[bytes], None],
    ) -> None:
        super().__init__(
            database, config, clock, session, post, signer=signer, unsent=unsent, repairs=repairs
        )
        self._salvaged = salvaged
        self._promise = promise
        self._lost = lost
        self._policy = policy
        self._encoder = BlockEncoder()
        self._keys = KeyPolicy(config)
        self._group = 0
        self._groups: list[Held] = []
        self._open: Held | None = None
        self._promised_id = 0
        self._unsettled: list[PendingBatch] = []
        self._shed = ""
        self._room_seen_ns = -ROOM_SEEN_NS
        self._is_short = False
        self._used = 0
        self._share = 1.0
        self._catalogue = b""
        self.catalogues: frozenset[bytes] = frozenset()
        self._load_groups()

    def commit(self, jobs: Sequence[TelemetryJob]) -> None:
        """Store everything given in one transaction, then deletions, one transaction each."""
        batches: list[PendingBatch] = []
        key = False
        self._unsettled = [one for job in jobs if isinstance(job, Store) for one in job.batches]
        for job in jobs:
            if isinstance(job, Store):
                batches.extend(job.batches)
                key = key or job.key
                continue
            self._store(batches, key=key)
            batches, key = [], False
            if isinstance(job, Evict):
                self._evict(job.last_id)
            elif isinstance(job, Renew):
                self.renew(job)
            else:
                self.verify()
        self._store(batches, key=key)

    def receipts_of(self, job: TelemetryJob) -> list[Receipt]:
        """Receipts that wait for a job."""
        return [item.receipt for item in job.batches] if isinstance(job, Store) else []

    def keep(self, error: str, outcome: Outcome) -> None:
        """Count what was not even tried, because a question before it failed."""
        unsettled, self._unsettled = self._unsettled, []
        outcome.released_bytes += sum(item.raw_bytes for item in unsettled)
        if unsettled:
            self._keys.force()
            self._report_loss(unsettled, error)

    def next_deadline_ns(self) -> int | None:
        """When to look for what has grown too old."""
        return self.look_ns

    def idle(self) -> None:
        """Evict what has grown too old though nothing is stored."""
        if self.look_ns is not None and self.look_ns <= self.clock.monotonic_ns():
            self._look_for_evictions()

    def finish(self) -> None:
        """Nothing is left to write."""

    # ---- storing ------------------------------------------------------------------------------

    def _store(self, batches: Sequence[PendingBatch], *, key: bool) -> None:
        if not batches:
            return
        if key:
            self._keys.force()
        records: list[Record] = []
        signed: list[SignedHead] = []
        now_ns = self.clock.monotonic_ns()
        error = self._room_for_telemetry()
        group_before = self._group
        if not error:
            try:
                for part in _parts(batches, self._policy.samples_a_record()):
                    records.append(self._encode(part, records[-1] if records else None))
                signed = self.signing.of(records, now_ns)
                error = self.transact(lambda: self._append(records, signed), self._take_back)
            except BlockError as failure:
                error = f"batch cannot be encoded: {failure}"
        outcome = Outcome(self.epoch, released_bytes=sum(item.raw_bytes for item in batches))
        if error:
            self._group = group_before
            self._keys.force()
            self._report_loss(batches, error)
            outcome.failed = [item.receipt for item in batches]
            outcome.error = error
        else:
            self._shed = ""
            outcome.kept = [item.receipt for item in batches]
            outcome.records = records
            if signed or self.signing.failure:
                self.signing.written(signed, now_ns)
                self.add_signed(outcome)
            self._account(records)
            encoded = sum(len(record.payload) for record in records)
            self._policy.observed(sum(record.samples for record in records), encoded)
        self._unsettled = self._unsettled[len(batches) :]  # given in order
        outcome.health = self._shed
        outcome.bounds[Stream.TELEMETRY] = self.bounds(Stream.TELEMETRY)
        outcome.usage[Stream.TELEMETRY] = self._usage()
        self.post(outcome)
        if records and records[-1].group != group_before:
            self._look_for_evictions()

    def _take_back(self, before: Heads) -> None:
        """Rows that are there although their receipts failed and a gap counts them: not so."""
        self.database.cut_back(Stream.TELEMETRY, before[Stream.TELEMETRY].next_id)
        self.database.heads = before

    def _encode(self, part: Sequence[PendingBatch], after: Record | None) -> Record:
        now_ns = self.clock.monotonic_ns()
        catalogue = part[0].catalogue
        is_key = self._keys.starts(now_ns, catalogue)
        columns = [item.batch for item in part]
        try:
            block = self._encoder.encode(columns, key=is_key, catalogue=catalogue)
        except BlockError:
            block = self._encoder.encode(columns, key=True, catalogue=catalogue)
        header = block_header(block)
        record = self.chain(
            Stream.TELEMETRY,
            block,
            group=0 if header.is_key else self._group,
            catalogue=catalogue,
            first_ns=header.first_ns,
            last_ns=header.last_ns,
            samples=header.samples,
            after=after,
        )
        if header.is_key:
            self._group = record.sequence
            self._keys.stored_key(now_ns, catalogue)
        return record

    def _append(self, records: Sequence[Record], signed: Sequence[SignedHead]) -> None:
        database = self.database
        open_group, catalogue = self._open, self._catalogue
        base = database.heads[Stream.TELEMETRY].base
        for record in records:
            row_id = record.sequence + base
            if record.group == record.sequence and open_group is not None:
                database.connection.execute(
                    "INSERT OR REPLACE INTO finished_group VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        open_group.first_id,
                        open_group.last_id,
                        open_group.first_ns,
                        open_group.last_ns,
                        record.time_ns,
                        open_group.used_bytes,
                        database.name_id(catalogue),
                    ),
                )
                open_group = None
            catalogue = record.catalogue
            database.append(record)
            open_group = _grown(open_group, record, row_id)
        self.signing.write(signed)

    def _account(self, records: Sequence[Record]) -> None:
        base = self.database.heads[Stream.TELEMETRY].base
        for record in records:
            if record.group == record.sequence and self._open is not None:
                self._groups.append(self._open)
                self._open = None
            self._open = _grown(self._open, record, record.sequence + base)
            self._used += len(record.payload) + ROW_OVERHEAD_BYTES
            self._catalogue = record.catalogue
            if record.catalogue not in self.catalogues:
                self.catalogues |= {record.catalogue}

    def _room_for_telemetry(self) -> str:
        now_ns = self.clock.monotonic_ns()
        if not self._shed and now_ns - self._room_seen_ns < ROOM_SEEN_NS:
            return ""
        self._room_seen_ns = now_ns
        try:
            status = os.statvfs(self.database.path.parent)
        except OSError as failure:
            return f"data directory cannot be read: {failure.strerror}"
        free, kept = status.f_bavail * status.f_frsize, self.config.min_free_bytes
        try:
            spare = self._spare_bytes()
        except sqlite3.Error:  # what is wrong with the file shows where it is written
            spare = 0
        least = SPARE_COMMITS * self.config.commit_bytes
        newest = self._open or (self._groups[-1] if self._groups else None)
        wanted = max(least, 2 * round(newest.used_bytes * self._share) if newest else 0)
        self._is_short = free < kept + wanted
        if self._is_short:
            self._make_room(wanted - spare)
        if free >= kept or (2 * free >= kept and spare >= least):
            return ""
        return f"disk is full: {free} bytes free, {kept} kept for alarms"

    def _spare_bytes(self) -> int:
        """Room in the file itself."""
        connection = self.database.connection
        pages = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
        return pages * int(connection.execute("PRAGMA page_size").fetchone()[0])

    def _make_room(self, short_bytes: int) -> None:
        """Promise to evict what is acknowledged, until so much more of the file is free."""
        going = [group for group in self._groups if group.last_id <= self._promised_id]
        waiting = [group for group in self._groups if group.first_id > self._promised_id]
        short = int(short_bytes / self._share) - sum(group.used_bytes for group in going)
        for group in choose_for_room(waiting, short, self.limits(Stream.TELEMETRY)):
            self._promise_group("disk_full", group)

    def _report_loss(self, batches: Sequence[PendingBatch], error: str) -> None:
        self._shed = f"telemetry is not stored: {error}"
        times = [item.batch.gateway_time_ns for item in batches]
        samples = sum(len(item.batch) for item in batches)
        cause = "disk_full" if "full" in error else "io_error"
        self._lost(Gap(Stream.TELEMETRY, cause, 0, 0, min(times), max(times), samples))

    # ---- groups and eviction ------------------------------------------------------------------

    def reload(self) -> None:
        """Take the groups of the file."""
        self._load_groups()

    def _load_groups(self) -> None:
        connection = self.database.connection
        head = self.database.heads[Stream.TELEMETRY]
        self._groups = [
            Held(*row)
            for row in connection.execute(
                "SELECT id, last_id, first_ns, last_ns, used_bytes FROM finished_group ORDER BY id"
            )
        ]
        after = self._groups[-1].last_id if self._groups else 0
        row = connection.execute(
            "SELECT min(id), max(id), min(first_ns), max(last_ns),"
            " sum(length(payload) + ?) FROM telemetry WHERE id > ?",
            (ROW_OVERHEAD_BYTES, after),
        ).fetchone()
        self._open = Held(*row) if row[0] is not None else None
        self._promised_id = 0
        self._group = 0 if self._open is None else max(0, self._open.first_id - head.base)
        if self._open is not None:
            self._catalogue = bytes(
                connection.execute(
                    "SELECT n.value FROM telemetry t JOIN name n ON n.id = t.catalogue"
                    " WHERE t.id = ?",
                    (self._open.first_id,),
                ).fetchone()[0]
            )
        self._load_catalogues()
        self._count_used()
        self._look_at_file()

    def _count_used(self) -> None:
        self._used = sum(group.used_bytes for group in self._groups)
        self._used += self._open.used_bytes if self._open else 0

    def _load_catalogues(self) -> None:
        rows = self.database.connection.execute(
            "SELECT DISTINCT n.value FROM finished_group g JOIN name n ON n.id = g.catalogue"
        )
        self.catalogues = frozenset(bytes(row[0]) for row in rows) | {self._catalogue}

    def _look_at_file(self) -> None:
        """Learn what the rows take on disk: the quota is of that, not of their own bytes."""
        with contextlib.suppress(sqlite3.Error):  # what was known holds
            row = self.database.connection.execute(FILE_BYTES).fetchone()
            self._share = page_share(int(row[0]), self._used)

    def _usage(self) -> Usage:
        head = self.database.heads[Stream.TELEMETRY]
        oldest = self._groups[0] if self._groups else self._open
        newest = self._open or (self._groups[-1] if self._groups else None)
        held_ns = newest.last_ns - oldest.first_ns if newest and oldest else 0
        return Usage(round(self._used * self._share), head.next_id - head.first_id, held_ns)

    def _look_for_evictions(self) -> None:
        waiting = [group for group in self._groups if group.first_id > self._promised_id]
        used = sum(group.used_bytes for group in waiting)
        used += self._open.used_bytes if self._open else 0
        used += waiting[-1].used_bytes if waiting else 0  # room for the group that begins
        self._look_at_file()
        limits = self.limits(Stream.TELEMETRY)
        limits = replace(limits, quota_bytes=int(limits.quota_bytes / self._share))
        chosen = choose_evictions(waiting, used, limits)
        for cause, group in chosen:
            self._promise_group(cause, group)
        staying = waiting[len(chosen)] if len(chosen) < len(waiting) else self._open
        self.looked([(Stream.TELEMETRY, staying)])

    def _promise_group(self, cause: str, group: Held) -> None:
        self._promised_id = group.last_id
        base = self.database.heads[Stream.TELEMETRY].base
        first, last = max(group.first_id - base, 0), max(group.last_id - base, 0)
        count = group.last_id - group.first_id + 1
        gap = Gap(Stream.TELEMETRY, cause, first, last, group.first_ns, group.last_ns, count)
        self._promise(gap, group.last_id)

    def _evict(self, last_id: int) -> None:
        def work() -> None:
            self.signing.sign_anchor(Stream.TELEMETRY, last_id)
            self.database.delete_through(Stream.TELEMETRY, last_id)
            self.database.connection.execute("DELETE FROM finished_group WHERE id <= ?", (last_id,))

        def evicted(_: Heads) -> None:
            self._evicted(last_id)

        if not self.transact(work, evicted):
            self._evicted(last_id)
        # else promised: done again at the next start, or with the next eviction

    def _evicted(self, last_id: int) -> None:
        self._groups = [group for group in self._groups if group.first_id > last_id]
        self._count_used()
        self._load_catalogues()
        free = int(self.database.connection.execute("PRAGMA freelist_count").fetchone()[0])
        if free > VACUUM_FROM_PAGES and not self._is_short:
            self.database.connection.execute(f"PRAGMA incremental_vacuum({VACUUM_STEP_PAGES})")
        outcome = Outcome(self.epoch)
        outcome.bounds[Stream.TELEMETRY] = self.bounds(Stream.TELEMETRY)
        outcome.usage[Stream.TELEMETRY] = self._usage()
        self.post(outcome)

    # ---- a new log id -------------------------------------------------------------------------

    def told(self, job: Renew) -> Told:
        """What a repair goes by; rows promised to be evicted are counted, and not taken."""
        newest = self.database.heads[Stream.TELEMETRY].next_id - 1
        return Told(job.carry_from, self._promised_id, above=newest, held=self.rows_held())

    def hand_over(self, salvaged: bytes) -> None:
        """Hand over what a repair lost to the writer of records."""
        self._salvaged(salvaged)

    def before_renewal(self) -> None:
        """The next record begins a group."""
        self._keys.force()

    def carry_over(self, job: Renew) -> None:
        """Renumber from the beginning of a group."""
        from_id = self.carried_from(job, Stream.TELEMETRY)
        first_id = self.database.heads[Stream.TELEMETRY].first_id
        starts = [group.first_id for group in (*self._groups, self._open) if group is not None]
        from_id = max((start for start in starts if start <= from_id), default=first_id)
        self.database.set_meta(RENEWED_FROM, self.database.meta("log_id", b""))
        self.database.renumber(Stream.TELEMETRY, from_id, job.log_id)
        self.database.delete_meta(carry_name(Stream.TELEMETRY))

    def standing(self, outcome: Outcome) -> Outcome:
        """Say in an outcome what is held."""
        outcome.bounds[Stream.TELEMETRY] = self.bounds(Stream.TELEMETRY)
        outcome.usage[Stream.TELEMETRY] = self._usage()
        return outcome


def _grown(group: Held | None, record: Record, row_id: int) -> Held:
    used = len(record.payload) + ROW_OVERHEAD_BYTES
    if group is None:
        return Held(row_id, row_id, record.first_ns, record.last_ns, used)
    return Held(
        group.first_id,
        row_id,
        min(group.first_ns, record.first_ns),
        max(group.last_ns, record.last_ns),
        group.used_bytes + used,
    )


def _parts(batches: Sequence[PendingBatch], samples_a_record: int) -> list[list[PendingBatch]]:
    """Split what waits into records: one, unless the writer is behind or the catalogue changed."""
    parts: list[list[PendingBatch]] = [[]]
    samples = 0
    limit = min(MAX_SAMPLES, 2 * samples_a_record)
    for item in batches:
        part = parts[-1]
        full = samples + len(item.batch) > limit or len(part) == MAX_BATCHES
        if part and (full or part[0].catalogue != item.catalogue):
            parts.append([])
            samples = 0
        parts[-1].append(item)
        samples += len(item.batch)
    return parts

"""Writes alarms, events, evidence records, state, cursors and gap records.

Guarantees: an alarm commits at once, or joins the commit that is running. Within one commit,
records are appended in the order given. Every loss reaches the event stream once: a gap record and
what it accounts for are one transaction. The reserve on disk is given up when the disk is full, so
that alarms and gap records can still be written; an alarm that finds no disk at all is kept in
memory and stored, once, when the disk takes it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from buffer.bookkeeping import (
    load_pending_gaps,
    oldest_held,
    oldest_ns,
    save_cursors,
    save_pending_gaps,
    used_bytes,
)
from buffer.contract import Clock, Gap, Record, SignedHead, Signer, Stream
from buffer.database import (
    RECORDS,
    RENEWED_FROM,
    ROW_OVERHEAD_BYTES,
    STREAMS,
    Database,
    carry_name,
)
from buffer.jobs import (
    EVICTED,
    RENEWED_CARRY,
    SALVAGED,
    TELEMETRY_HIGH,
    EncodeGap,
    Lost,
    PendingRecord,
    PromiseEviction,
    RecordsJob,
    Renew,
    SaveCursors,
    SaveState,
    TakeOver,
    Verify,
)
from buffer.kept import kept_for_later
from buffer.outcome import Outcome, Post, Receipt, Repairs, Session, Told, Usage
from buffer.policy import AgePace, BufferConfig, GapLedger, Held, Limits, choose_evictions
from buffer.reserve import Reserve
from buffer.salvage import gaps_told
from buffer.writer import Heads, Writer

RETRY_NS = 5 * 10**9
"""Gap records and alarms that could not be written are tried again after so long."""
CURSORS_SYNC_NS = 30 * 10**9
"""Cursors in the file are at most so much older after a power cut than those of the last second."""


@dataclass(slots=True)
class _Plan:
    """What one transaction is about to write. promised: telemetry rows to evict, or 0."""

    outcome: Outcome
    catalogues: dict[bytes, int]
    signed: list[SignedHead]
    now_ns: int
    promised: int = 0


class RecordsWriter(Writer[RecordsJob]):
    """The writer of records.db."""

    order: ClassVar[tuple[Stream, ...]] = (Stream.EVIDENCE, Stream.EVENT, Stream.ALARM)

    def __init__(
        self,
        database: Database,
        config: BufferConfig,
        clock: Clock,
        session: Session,
        post: Post,
        *,
        encode_gap: EncodeGap,
        evict_telemetry: Callable[[int], None],
        catalogues_held: Callable[[], frozenset[bytes]],
        reserve: Reserve,
        signer: Signer | None,
        unsent: Callable[[Stream], int | None],
        repairs: Repairs,
    ) -> None:
        super().__init__(
            database, config, clock, session, post, signer=signer, unsent=unsent, repairs=repairs
        )
        self._encode_gap = encode_gap
        self._evict_telemetry = evict_telemetry
        self._catalogues_held = catalogues_held
        self._reserve = reserve
        self._ledger = GapLedger(config.gap_interval_s * 10**9, load_pending_gaps(database))
        self.catalogues: dict[bytes, int] = {}
        self._used: dict[Stream, int] = {}
        self._oldest_ns: dict[Stream, int] = {}
        self._alone: set[Stream] = set()
        self._aging = {stream: AgePace() for stream in STREAMS[RECORDS]}
        self.reload()
        self._again: list[RecordsJob] = []
        self._retry_ns = 0
        self._synced_ns = clock.monotonic_ns()
        self._unsettled: list[RecordsJob] = []

    def reload(self) -> None:
        """Take catalogues and counts from the file."""
        self.catalogues = {
            bytes(row[0]): int(row[1])
            for row in self.database.connection.execute(
                "SELECT hash, event_id FROM catalogue WHERE event_id IN (SELECT id FROM event)"
            )
        }
        self._used = {stream: used_bytes(self.database, stream) for stream in STREAMS[RECORDS]}
        self._oldest_ns.clear()
        self._alone.clear()

    def commit(self, jobs: Sequence[RecordsJob]) -> None:
        """Store everything given in one transaction; a new log id is one of its own."""
        batch: list[RecordsJob] = []
        self._unsettled = [job for job in jobs if not isinstance(job, Renew | Verify)]
        for job in jobs:
            if not isinstance(job, Renew | Verify):
                batch.append(job)
                continue
            self._store(batch)
            batch = []
            if isinstance(job, Renew):
                self.renew(job)
            else:
                self.verify()
        self._store(batch)

    def receipts_of(self, job: RecordsJob) -> list[Receipt]:
        """Receipts that wait for a job."""
        return [job.receipt] if isinstance(job, PendingRecord) else []

    def keep(self, error: str, outcome: Outcome) -> None:
        """Keep for later what must not be lost, or not without being counted."""
        unsettled, self._unsettled = self._unsettled, []
        outcome.released_bytes += sum(
            len(job.payload) for job in unsettled if isinstance(job, PendingRecord) and not job.held
        )
        self._again += self._kept_for_later(unsettled, error, outcome.given_up)
        self._retry_ns = self.clock.monotonic_ns() + RETRY_NS

    def next_deadline_ns(self) -> int | None:
        """When the next gap report falls due, or something may have grown too old."""
        if self._again:
            return self._retry_ns
        due = [self._ledger.next_deadline_ns(), self.look_ns]
        return min((at_ns for at_ns in due if at_ns is not None), default=None)

    def idle(self) -> None:
        """Report gaps that fell due, evict what is past quota or retention."""
        if self._again and self.clock.monotonic_ns() >= self._retry_ns:
            self._store(())
        due_ns = self._ledger.next_deadline_ns()
        if due_ns is not None and due_ns <= self.clock.monotonic_ns():
            self._report(lambda: self._ledger.tick(self.clock.monotonic_ns()))
        self._look_for_evictions()
        self._reserve.restore()

    def finish(self) -> None:
        """Report every gap that is still open."""
        self._store(())
        self._report(self._ledger.close)

    def make_room(self, failure: Exception) -> None:
        """Give up the reserve when the disk is full."""
        if isinstance(failure, (sqlite3.Error, OSError)):
            self._reserve.give_up()

    # ---- storing ------------------------------------------------------------------------------

    def _store(self, jobs: Sequence[RecordsJob]) -> None:
        jobs = (*self._again, *jobs)
        self._unsettled = [*self._again, *self._unsettled]
        self._again = []
        if not jobs:
            return
        ledger = self._ledger.copy()
        try:
            planned = self._plan(jobs)
        except BaseException:
            self._ledger = ledger  # the jobs come again, and are counted then
            raise
        ledger_after = self._ledger
        outcome = planned.outcome

        def work() -> None:
            for record in outcome.records:
                self.database.append(record)
            self.signing.write(planned.signed)
            self._write_others(jobs, planned)

        kept: list[RecordsJob] = []

        def stored_late(_: Heads) -> None:
            self._again = [job for job in self._again if all(job is not one for one in kept)]
            self._ledger = ledger_after
            planned.outcome.released_bytes = 0
            self._stored(planned)

        is_synced = self._needs_sync(jobs)
        error = self.transact(work, stored_late, is_synced=is_synced)
        if is_synced and not error:
            self._synced_ns = planned.now_ns
        self._unsettled = self._unsettled[len(jobs) :]  # given in order
        if error:
            self._ledger = ledger
            given_up: list[Receipt] = []
            kept += self._kept_for_later(jobs, error, given_up)
            self._again += kept
            self._retry_ns = self.clock.monotonic_ns() + RETRY_NS
            outcome = Outcome(
                self.epoch,
                failed=[receipt for receipt, _ in outcome.done],
                given_up=given_up,
                error=error,
                released_bytes=outcome.released_bytes,
                health=f"records are not stored: {error}",
            )
            self._add_bounds(outcome)
            self.post(outcome)
        else:
            self._stored(planned)

    def _needs_sync(self, jobs: Sequence[RecordsJob]) -> bool:
        """Cursors alone wait for no disk, and no alarm for them: what is lost is sent again."""
        late_ns = self.clock.monotonic_ns() - self._synced_ns
        return late_ns >= CURSORS_SYNC_NS or not all(isinstance(job, SaveCursors) for job in jobs)

    def _stored(self, planned: _Plan) -> None:
        outcome = planned.outcome
        if planned.signed or self.signing.failure:
            self.signing.written(planned.signed, planned.now_ns)
            self.add_signed(outcome)
        self.catalogues = planned.catalogues
        outcome.catalogues = self.catalogue_sequences()
        self._count(outcome.records)
        if planned.promised:
            self._evict_telemetry(planned.promised)
        self._add_bounds(outcome)
        self.post(outcome)

    def _plan(self, jobs: Sequence[RecordsJob]) -> _Plan:
        """Chain the records of all jobs and of the gap reports they give rise to."""
        now_ns = self.clock.monotonic_ns()
        plan = _Plan(Outcome(self.epoch, health=""), dict(self.catalogues), [], now_ns)
        outcome = plan.outcome
        heads: dict[Stream, Record] = {}
        reports: list[Gap] = []
        for job in jobs:
            if isinstance(job, PendingRecord):
                record = self._chained(job.stream, job.payload, heads, outcome)
                outcome.done.append((job.receipt, record.sequence))
                outcome.state.update(job.state or {})
                outcome.released_bytes += 0 if job.held else len(job.payload)
                if job.keep is not None:
                    base = self.database.heads[job.stream].base
                    plan.catalogues[job.keep] = record.sequence + base
            elif isinstance(job, Lost | PromiseEviction):
                reports += self._ledger.add(job.gap, now_ns)
            elif isinstance(job, SaveState):
                outcome.state.update(job.state)
            elif isinstance(job, TakeOver) and not self._is_taken(job):
                reports += [
                    one for gap in gaps_told(job.told) for one in self._ledger.add(gap, now_ns)
                ]
            if isinstance(job, PromiseEviction):
                plan.promised = max(plan.promised, job.last_id)
        for gap in reports:
            self._chained(Stream.EVENT, self._gap_payload(gap), heads, outcome)
        plan.signed = self.signing.of(outcome.records, now_ns)
        return plan

    def _count(self, records: Sequence[Record]) -> None:
        for record in records:
            self._used[record.stream] += len(record.payload) + ROW_OVERHEAD_BYTES
            self._aging[record.stream].stored(self.clock.monotonic_ns())
            if record.stream in self._alone:  # what was the newest may be evicted now
                self._alone.discard(record.stream)
                self._oldest_ns.pop(record.stream, None)

    def _chained(
        self, stream: Stream, payload: bytes, heads: dict[Stream, Record], outcome: Outcome
    ) -> Record:
        record = self.chain(stream, payload, after=heads.get(stream))
        heads[stream] = record
        outcome.records.append(record)
        return record

    def _write_others(self, jobs: Sequence[RecordsJob], plan: _Plan) -> None:
        connection = self.database.connection
        connection.executemany(
            "INSERT OR REPLACE INTO state VALUES (?, ?)", list(plan.outcome.state.items())
        )
        if plan.catalogues != self.catalogues:
            connection.executemany(
                "INSERT OR REPLACE INTO catalogue VALUES (?, ?)", list(plan.catalogues.items())
            )
        if any(isinstance(job, Lost | PromiseEviction | TakeOver) for job in jobs):
            self._save_pending_gaps()
        if plan.promised:
            self.database.set_meta(EVICTED, plan.promised)
        for job in jobs:
            if isinstance(job, SaveCursors) and job.epoch == self.epoch:
                save_cursors(self.database, job.cursors)
                self.database.set_meta(TELEMETRY_HIGH, job.telemetry_next - 1)
            elif isinstance(job, TakeOver):
                self.database.set_meta(f"{SALVAGED}.{job.kind}", job.told)
                if job.kind == RECORDS:
                    self.database.delete_meta(SALVAGED)

    def _is_taken(self, job: TakeOver) -> bool:
        return bytes(self.database.meta(f"{SALVAGED}.{job.kind}", b"")) == job.told

    def _kept_for_later(
        self, jobs: Sequence[RecordsJob], error: str, given_up: list[Receipt]
    ) -> list[RecordsJob]:
        kept, lost = kept_for_later(jobs, error, self.clock.wall_ns())
        given_up += [job.receipt for job in lost]
        return kept

    def _gap_payload(self, gap: Gap) -> bytes:
        return self._encode_gap(gap, self.clock.wall_ns())

    def _save_pending_gaps(self) -> None:
        save_pending_gaps(self.database, self._ledger.pending())

    def _report(self, take: Callable[[], list[Gap]]) -> None:
        ledger = self._ledger.copy()
        gaps = take()
        ledger_after = self._ledger
        if not gaps:
            return
        outcome = Outcome(self.epoch, health="")
        heads: dict[Stream, Record] = {}
        for gap in gaps:
            self._chained(Stream.EVENT, self._gap_payload(gap), heads, outcome)

        def work() -> None:
            for record in outcome.records:
                self.database.append(record)
            self._save_pending_gaps()

        def stored(_: Heads) -> None:
            self._ledger = ledger_after
            self._count(outcome.records)
            self._add_bounds(outcome)
            self.post(outcome)

        if self.transact(work, stored):
            self._ledger = ledger
        else:
            stored({})

    # ---- bounds, usage, eviction, renewal -----------------------------------------------------

    def catalogue_sequences(self) -> dict[bytes, int]:
        """Sequence of each catalogue's event, by its hash."""
        base = self.database.heads[Stream.EVENT].base
        return {digest: row_id - base for digest, row_id in self.catalogues.items()}

    def _add_bounds(self, outcome: Outcome) -> None:
        for stream in STREAMS[RECORDS]:
            head = self.database.heads[stream]
            outcome.bounds[stream] = self.bounds(stream)
            held_ns = max(0, self.clock.wall_ns() - self._oldest(stream))
            outcome.usage[stream] = Usage(self._used[stream], head.next_id - head.first_id, held_ns)

    def _oldest(self, stream: Stream) -> int:
        found = self._oldest_ns.get(stream)
        if found is None:
            if self.is_broken or (found := oldest_ns(self.database, stream)) is None:
                return self.clock.wall_ns()  # or no file to ask: whoever says why must not fail
            self._oldest_ns[stream] = found
        return found

    def _look_for_evictions(self) -> None:
        for stream in self.order:
            limit = self.limits(stream)
            age_from_ns = max(limit.retention_from_ns, limit.quota_from_ns)
            is_aged = self._oldest(stream) < age_from_ns
            may_age = is_aged and self._aging[stream].left(self.clock.monotonic_ns()) > 0
            if self._used[stream] > limit.quota_bytes or may_age:
                self._evict(stream, limit)
        oldest = {stream: self._oldest(stream) for stream in self.order}
        self.looked((stream, Held(0, 0, at_ns, at_ns, 0)) for stream, at_ns in oldest.items())

    def _live_catalogues(self) -> set[int]:
        """Events that must stay: the catalogues that telemetry held names, and the newest one."""
        held = self._catalogues_held()
        newest = max(self.catalogues.values(), default=0)
        return {at for name, at in self.catalogues.items() if name in held or at == newest}

    def _evict(self, stream: Stream, limit: Limits) -> None:
        live = self._live_catalogues() if stream is Stream.EVENT else set()
        held = oldest_held(self.database, stream, live)
        now_ns, aging = self.clock.monotonic_ns(), self._aging[stream]
        chosen = choose_evictions(
            held[:-1], self._used[stream], limit, expired_at_once=aging.left(now_ns)
        )
        staying = (unit.first_ns for unit in held[:-1] if not unit.kept)
        if not chosen:
            oldest_ns = next(staying, None)
            if oldest_ns is None:
                self._alone.add(stream)
            self._oldest_ns[stream] = self.clock.wall_ns() if oldest_ns is None else oldest_ns
            return
        ledger = self._ledger.copy()
        base = self.database.heads[stream].base
        reports: list[Gap] = []
        for cause, unit in chosen:
            sequence = max(unit.first_id - base, 0)
            gap = Gap(stream, cause, sequence, sequence, unit.first_ns, unit.last_ns, 1)
            reports += self._ledger.add(gap, now_ns)
        ledger_after = self._ledger
        outcome = Outcome(self.epoch, health="")
        heads: dict[Stream, Record] = {}
        for gap in reports:
            self._chained(Stream.EVENT, self._gap_payload(gap), heads, outcome)
        last_id = chosen[-1][1].last_id
        gone = {unit.first_id for _, unit in chosen} if stream is Stream.EVENT else set()
        catalogues = {name: at for name, at in self.catalogues.items() if at not in gone}

        def work() -> None:
            for record in outcome.records:
                self.database.append(record)
            self.signing.sign_anchor(stream, last_id)
            self.database.delete_through(stream, last_id, live)
            if catalogues != self.catalogues:
                names = [(name,) for name in self.catalogues if name not in catalogues]
                self.database.connection.executemany("DELETE FROM catalogue WHERE hash = ?", names)
            self._save_pending_gaps()

        def stored(_: Heads) -> None:
            self._ledger = ledger_after
            self._used[stream] -= sum(unit.used_bytes for _, unit in chosen)
            aging.took(len(chosen))
            self.catalogues = catalogues
            outcome.catalogues = self.catalogue_sequences()
            self._count(outcome.records)
            self._oldest_ns.pop(stream, None)
            self._add_bounds(outcome)
            self.post(outcome)

        if self.transact(work, stored):
            self._ledger = ledger
        else:
            stored({})

    # ---- a new log id -------------------------------------------------------------------------

    def told(self, job: Renew) -> Told:
        """What a repair goes by."""
        return Told(job.carry_from, held=self.rows_held())

    def hand_over(self, salvaged: bytes) -> None:
        """What a repair lost is reported with what waits to be stored."""
        self._again.append(TakeOver(RECORDS, salvaged))
        self._retry_ns = 0

    def before_renewal(self) -> None:
        """Report every gap under the former log id."""
        self._report(self._ledger.close)

    def carry_over(self, job: Renew) -> None:
        """Renumber every stream; cursors are of the former log id. Lost state comes back."""
        database = self.database
        former = database.meta("log_id", b"") or database.meta(RENEWED_FROM, b"")
        for stream in STREAMS[RECORDS]:
            from_id = self.carried_from(job, stream)
            if stream is Stream.EVENT and self.catalogues:
                from_id = min(from_id, *self.catalogues.values())
            database.renumber(stream, from_id, job.log_id)
            database.delete_meta(carry_name(stream))
        database.connection.execute("DELETE FROM cursor")
        database.connection.executemany(
            "INSERT OR IGNORE INTO state VALUES (?, ?)", list(job.state.items())
        )
        database.set_meta(TELEMETRY_HIGH, 0)
        database.set_meta(RENEWED_FROM, former)
        database.set_meta(RENEWED_CARRY, job.carry_from.get(Stream.TELEMETRY, 1))

    def standing(self, outcome: Outcome) -> Outcome:
        """Say in an outcome what is held."""
        outcome.catalogues = self.catalogue_sequences()
        self._add_bounds(outcome)
        return outcome

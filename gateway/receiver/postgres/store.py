"""The receiver's store in PostgreSQL: what any of several receivers has acknowledged, it holds.

Guarantees, beside those of every store (contract.py): any number of receivers may write at once,
and any of them may speak for any stream at any moment, also two for one stream. `apply` locks the
rows of the streams it touches, in one order, before it looks; what it decides is therefore still
true when it commits. New records go in by COPY. A deadlock or a serialisation failure is tried
again, because everything here may be done twice.

    lock streams ─▶ look up what is acknowledged already ─▶ decide ─▶ COPY new ─▶ move cursors
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace

import psycopg
from psycopg.errors import DeadlockDetected, ProgramLimitExceeded, SerializationFailure

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.check import volatile_key
from gateway.receiver.contract import (
    FAULT_TEXT,
    Entries,
    Gaps,
    Greeting,
    Outcome,
    Seen,
    Stored,
    StoreFailedError,
    StorePathError,
    UnstorableError,
    Volatile,
    Work,
)
from gateway.receiver.postgres import journals
from gateway.receiver.postgres.connect import Connection, connect_writer, one_line
from gateway.receiver.postgres.days import Days
from gateway.receiver.postgres.decide import Ledger
from gateway.receiver.postgres.greet import greet
from gateway.receiver.postgres.journals import Arrived, Aside
from gateway.receiver.waiting import WaitingGroups

ATTEMPTS = 5
UNSTORABLE = (psycopg.DataError, psycopg.IntegrityError, ProgramLimitExceeded, OverflowError,
              UnicodeError, struct.error)  # fmt: skip
"""What a value looks like that no server takes."""
_COPY = (
    "COPY records (stream_key, sequence, time_ns, hash, previous_hash, received_ns, monotonic_ns,"
    " boot_id, clock_offset_ns, synchronised, historical, group_sequence, catalogue, samples,"
    " payload, source_first) FROM STDIN (FORMAT BINARY)"
)
_COPY_TYPES = ("int8", "int8", "int8", "bytea", "bytea", "int8", "int8", "bytea", "int8", "bool",
               "bool", "int8", "bytea", "int8", "bytea", "int8")  # fmt: skip


class PostgresStore:
    """Store behind one connection. Open it with `PostgresStore.open`."""

    def __init__(self, address: str, db: Connection) -> None:
        self._address = address
        self._warned: list[str] = []
        self._db = db
        db.add_notice_handler(self._hear)
        self._days = Days(db)
        self._catalogues: set[bytes] = set()
        self._waiting = WaitingGroups(self._holds)

    @classmethod
    def open(cls, address: str) -> PostgresStore:
        """Connect, and make or update the schema; raises StorePathError if that fails."""
        try:
            return cls(address, connect_writer(address))
        except psycopg.Error as error:
            raise StorePathError(f"store postgresql: {one_line(error)}") from error

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._db.close()

    def reopen(self) -> None:
        """Connect again, perhaps to another server; raises StoreFailedError if none is there."""
        self._db.close()
        try:
            self._db = connect_writer(self._address)
            self._db.add_notice_handler(self._hear)
            self._days = Days(self._db)
        except psycopg.Error as error:
            raise StoreFailedError(f"the store cannot be reached: {one_line(error)}") from error
        self._catalogues.clear()  # the server reached now may be one that was restored

    def apply(self, works: Iterable[Work], now_ns: int) -> list[Outcome]:
        """Do all works in one durable transaction, in order; one outcome each.

        Raises StoreFailedError with nothing done; call `reopen` before the next try.
        """
        return self._apply(list(works), now_ns, None)

    def probe(self, now_ns: int) -> None:
        """Write a row that says what it said. Raises StoreFailedError."""
        del now_ns
        try:
            with self._db.transaction():
                self._db.execute("UPDATE migrations SET number = number WHERE number = 1")
        except psycopg.Error as error:
            raise StoreFailedError(f"the store could not commit: {one_line(error)}") from error

    def take(self, works: Sequence[Work], now_ns: int, arrived: Arrived) -> list[Outcome]:
        """As `apply`; that these messages of a journal are here is part of the transaction."""
        return self._apply(works, now_ns, arrived)

    def consumed(self, journal: str) -> RangeSet:
        """Numbers of a journal's messages that are here; raises StoreFailedError."""
        try:
            return journals.consumed(self._db, journal)
        except psycopg.Error as error:
            raise StoreFailedError(f"the store cannot be read: {one_line(error)}") from error

    def put_aside(self, journal: str, items: Sequence[Aside], now_ns: int) -> None:
        """Keep what was acknowledged and cannot be stored; raises StoreFailedError."""
        try:
            with self._db.transaction():
                journals.put_aside(self._db, journal, items, now_ns)
        except psycopg.Error as error:
            raise StoreFailedError(f"the store could not commit: {one_line(error)}") from error

    def _apply(self, works: Sequence[Work], now_ns: int, arrived: Arrived | None) -> list[Outcome]:
        try:
            times = {entry.time_ns for work in works if isinstance(work, Entries)
                     for entry in work.entries}  # fmt: skip
            self._days.make(times, now_ns)
            for _ in range(ATTEMPTS - 1):
                try:
                    return self._transact(works, now_ns, arrived)
                except (DeadlockDetected, SerializationFailure):
                    continue
            return self._transact(works, now_ns, arrived)
        except UNSTORABLE as error:
            self._catalogues.clear()  # of a transaction that was undone
            raise UnstorableError(str(error).strip().partition("\n")[0]) from error
        except psycopg.Error as error:
            raise StoreFailedError(f"the store could not commit: {one_line(error)}") from error

    def _transact(
        self, works: Sequence[Work], now_ns: int, arrived: Arrived | None
    ) -> list[Outcome]:
        # Rows are locked in one order, or two receivers would deadlock: gateways, catalogues,
        # streams, and a journal last.
        with self._db.transaction():
            greetings = [work for work in works if isinstance(work, Greeting)]
            seen = [work for work in works if isinstance(work, Seen)]
            known = greet(self._db, greetings, seen, now_ns)
            entries = [work for work in works if isinstance(work, Entries)]
            self._keep_catalogues(entries, now_ns)
            ledger = Ledger(self._db, works)
            outcomes: list[Outcome] = []
            for work in works:
                match work:
                    case Greeting():
                        found = known[work.gateway, work.log_id]
                        held = tuple(filter(self._holds, work.catalogues))
                        outcomes.append(replace(found, catalogues=held))
                    case Entries():
                        outcomes.append(ledger.store(work, self._waiting))
                    case Gaps():
                        outcomes.append(ledger.note_gaps(work))
                    case Volatile():
                        keys = [one.key for one in work.entries]
                        outcomes.append(Stored(volatile=keys))
                    case Seen():
                        outcomes.append(Stored())
            self._copy(ledger, now_ns)
            ledger.move_cursors()
            self._note(entries, ledger, now_ns)
            self._keep_volatile([work for work in works if isinstance(work, Volatile)], now_ns)
            self._forget_volatile(entries)
            if arrived is not None:
                journals.note(self._db, arrived, outcomes)
            self._warned.clear()
        if self._warned:
            # The wait for a standby was cancelled: committed here alone, so not acknowledged.
            raise psycopg.OperationalError(f"its commit came with a warning: {self._warned[0]}")
        return outcomes

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warned.append(str(notice.message_primary))

    def _holds(self, catalogue: bytes) -> bool:
        """Tell whether a catalogue is here; another receiver may have stored it just now."""
        if catalogue in self._catalogues:
            return True
        row = self._db.execute("SELECT 1 FROM catalogues WHERE hash = %s", (catalogue,)).fetchone()
        if row is not None:
            self._catalogues.add(catalogue)
        return row is not None

    def _keep_catalogues(self, works: Sequence[Entries], now_ns: int) -> None:
        rows = sorted({item for work in works for item in work.catalogues})
        if rows:
            self._db.cursor().executemany(
                "INSERT INTO catalogues VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [(*row, now_ns) for row in rows],
            )

    def _copy(self, ledger: Ledger, now_ns: int) -> None:
        if not ledger.new:
            return
        with self._db.cursor().copy(_COPY) as copy:
            copy.set_types(_COPY_TYPES)
            for key, item in ledger.new:
                copy.write_row(
                    (key, item.sequence, item.time_ns, item.hash, item.previous_hash, now_ns,
                     item.monotonic_ns, item.boot_id, item.clock_offset_ns, item.synchronised,
                     item.historical, item.group, item.catalogue, item.samples, item.payload,
                     item.source_first)
                )  # fmt: skip

    def _note(self, works: Sequence[Entries], ledger: Ledger, now_ns: int) -> None:
        attachments = sorted({(work.log, *item) for work in works for item in work.attachments})
        if attachments:
            self._db.cursor().executemany(
                "INSERT INTO attachments SELECT gateway, %s, %s, %s FROM logs WHERE id = %s"
                " ON CONFLICT DO NOTHING",
                [(*item, log) for log, *item in attachments],
            )
        if ledger.faults:
            self._db.cursor().executemany(
                "INSERT INTO faults SELECT gateway, log_id, %s, %s, %s, %s, %s, %s, %s, 1"
                " FROM logs WHERE id = %s"
                " ON CONFLICT (gateway, log_id, stream, sequence, kind) DO UPDATE"
                " SET last_ns = excluded.last_ns, hash = excluded.hash, reason = excluded.reason,"
                " count = faults.count + 1",
                [
                    (int(stream), fault.sequence, fault.kind, fault.hash, text_of(fault.reason),
                     now_ns, now_ns, log)
                    for log, stream, fault in sorted(ledger.faults)
                ],
            )  # fmt: skip

    def _keep_volatile(self, works: Sequence[Volatile], now_ns: int) -> None:
        rows = sorted(
            (one.key, one.time_ns, one.monotonic_ns, one.boot_id, now_ns, one.payload, work.log)
            for work in works
            for one in work.entries
        )
        if rows:
            self._db.cursor().executemany(
                "INSERT INTO volatile_alarms (gateway, key, log, time_ns, monotonic_ns, boot_id,"
                " received_ns, payload) SELECT gateway, %s, id, %s, %s, %s, %s, %s FROM logs"
                " WHERE id = %s ON CONFLICT DO NOTHING",
                rows,
            )

    def _forget_volatile(self, works: Sequence[Entries]) -> None:
        """Drop what is told to be volatile and has come as a record now."""
        alarms = [work for work in works if work.stream is Stream.ALARM]
        if alarms and self._db.execute("SELECT 1 FROM volatile_alarms LIMIT 1").fetchone():
            keys = sorted(
                (volatile_key(entry.payload), work.log) for work in alarms for entry in work.entries
            )
            self._db.cursor().executemany(
                "DELETE FROM volatile_alarms WHERE key = %s AND gateway ="
                " (SELECT gateway FROM logs WHERE id = %s)",
                keys,
            )


def text_of(reason: str) -> str:
    """Cut a reason to what is kept; PostgreSQL's text takes no NUL."""
    return reason[:FAULT_TEXT].replace("\0", "")

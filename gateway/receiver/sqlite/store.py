"""The receiver's store in one SQLite database: what it has acknowledged, it holds.

Guarantees, beside those of every store (contract.py): `apply` runs all works given to it in one
transaction and returns after its commit was synced (WAL, synchronous=FULL). A failure undoes all
of them. One process writes at a time (a lock on DIR/lock); readers open the database read-only.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import TextIO

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.check import Entry, Fault, volatile_key
from gateway.receiver.contract import (
    ANOTHER_RECORD,
    BROKEN_CHAIN,
    CHECKPOINTS,
    FAULT_TEXT,
    NEW_LOG,
    NEWER_SCHEMA,
    Entries,
    Gaps,
    Greeting,
    Known,
    Outcome,
    Seen,
    Stored,
    StoreFailedError,
    StorePathError,
    UnstorableError,
    Volatile,
    Work,
    migrations,
    runs,
    stream_key,
)
from gateway.receiver.waiting import WaitingGroups

DATABASE = "receiver.db"
GATEWAYS = "telemetry.db"  # of a gateway's data directory (buffer/database.py)
_SEQUENCES = (1 << 40) - 1
_INSERT = f"INSERT INTO records VALUES ({','.join('?' * (len(Entry._fields) + 1))})"


class SqliteStore:
    """SQLite store in one directory. Open it with `SqliteStore.open`; `close` releases the lock."""

    def __init__(self, directory: Path, lock: TextIO) -> None:
        self._directory = directory
        self._lock = lock
        self._db = _connect(directory / DATABASE)
        self._catalogues = self._read_catalogues()
        self._waiting = WaitingGroups(lambda catalogue: catalogue in self._catalogues)

    @classmethod
    def open(cls, directory: Path) -> SqliteStore:
        """Open or create a store. Raises StorePathError if it cannot be used or is in use."""
        if (directory / GATEWAYS).exists():
            raise StorePathError(f"store {directory} is a gateway's data directory: name another")
        if directory.exists() and not directory.is_dir():
            raise StorePathError(f"store {directory} is a file: name a folder")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = (directory / "lock").open("w", encoding="ascii")
        except OSError as error:
            raise StorePathError(f"store {directory}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(directory, lock)
        except OSError:
            lock.close()
            raise StorePathError(f"store {directory} is in use by another receiver") from None
        except sqlite3.Error as error:
            lock.close()
            raise StorePathError(f"store {directory}: {error}") from error

    def close(self) -> None:
        """Close the database and give up the lock; may be called twice."""
        self._db.close()
        self._lock.close()

    def reopen(self) -> None:
        """Start afresh after a failed commit: a failed sync is never retried on the same file."""
        self._db.close()
        try:
            self._db = _connect(self._directory / DATABASE)
            self._catalogues = self._read_catalogues()
        except sqlite3.Error as error:
            raise StoreFailedError(f"the store cannot be opened again: {error}") from error

    def apply(self, works: Iterable[Work], now_ns: int) -> list[Outcome]:
        """Do all works in one durable transaction, in order; one outcome each.

        Raises StoreFailedError with nothing done; call `reopen` before the next try.
        """
        try:
            return self._transact(works, now_ns)
        except (sqlite3.DataError, sqlite3.IntegrityError, OverflowError, UnicodeError) as error:
            self._catalogues = self._read_catalogues()  # without those that were undone
            raise UnstorableError(str(error)) from error
        except sqlite3.Error as error:
            raise StoreFailedError(f"the store could not commit: {error}") from error

    def probe(self, now_ns: int) -> None:
        """Write a page that says what it said, and sync it. Raises StoreFailedError."""
        del now_ns
        try:
            self._db.execute("BEGIN IMMEDIATE")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            self._db.execute(f"PRAGMA user_version = {version}")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreFailedError(f"the store could not commit: {error}") from error

    def _transact(self, works: Iterable[Work], now_ns: int) -> list[Outcome]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._apply(work, now_ns) for work in works]
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return outcomes

    def _apply(self, work: Work, now_ns: int) -> Outcome:
        match work:
            case Greeting():
                return self._greet(work, now_ns)
            case Entries():
                return self._store(work, now_ns)
            case Gaps():
                return self._note_gaps(work, now_ns)
            case Volatile():
                return self._keep_volatile(work, now_ns)
            case Seen():
                self._db.execute(
                    "UPDATE gateways SET last_seen_ns = ?, status = ?"
                    " WHERE id = (SELECT gateway FROM logs WHERE id = ?)",
                    (now_ns, work.status, work.log),
                )
                self._db.execute("UPDATE logs SET status = ? WHERE id = ?", (work.status, work.log))
                return Stored()

    def _greet(self, work: Greeting, now_ns: int) -> Known:
        (gateway,) = self._db.execute(
            "INSERT INTO gateways (name, enterprise, software, last_seen_ns) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET enterprise = excluded.enterprise,"
            " software = excluded.software, last_seen_ns = excluded.last_seen_ns RETURNING id",
            (work.gateway, work.enterprise, work.software, now_ns),
        ).fetchone()
        (log,) = self._db.execute(
            "INSERT INTO logs (gateway, log_id, first_seen_ns, destination, source_log_id, filter)"
            " VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (gateway, log_id) DO UPDATE SET"
            " destination = coalesce(nullif(excluded.destination, ''), logs.destination),"
            " source_log_id = coalesce(nullif(excluded.source_log_id, x''), logs.source_log_id),"
            " filter = coalesce(nullif(excluded.filter, ''), logs.filter) RETURNING id",
            (gateway, work.log_id, now_ns, *work.derived),
        ).fetchone()
        previous = self._db.execute(
            "SELECT log_id FROM logs WHERE gateway = ? AND id < ? AND destination = ?"
            " AND NOT EXISTS"
            " (SELECT 1 FROM faults WHERE gateway = ? AND log_id = ? AND kind = ?)"
            " ORDER BY id DESC LIMIT 1",
            (gateway, log, work.derived.destination, gateway, work.log_id, NEW_LOG),
        ).fetchone()
        acknowledged = {
            stream: RangeSet(
                self._db.execute(
                    "SELECT start, stop FROM ranges WHERE stream_key = ? ORDER BY start",
                    (stream_key(log, stream),),
                )
            )
            for stream in Stream
        }
        held = tuple(item for item in work.catalogues if item in self._catalogues)
        checkpoints = {stream: self._checkpoints(stream_key(log, stream)) for stream in Stream}
        before = previous[0] if previous else b""
        return Known(log, acknowledged, held, checkpoints, before, self._boots(log))

    def _boots(self, log: int) -> dict[Stream, bytes]:
        found: dict[Stream, bytes] = {}
        for stream in Stream:
            base = stream_key(log, stream) << 40
            row = self._db.execute(
                "SELECT boot_id FROM records WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
                (base, base + _SEQUENCES),
            ).fetchone()
            if row is not None:
                found[stream] = row[0]
        return found

    def _checkpoints(self, key: int) -> list[tuple[int, bytes]]:
        base = key << 40
        found: dict[int, bytes] = {}
        newest = base + _SEQUENCES
        for below in CHECKPOINTS:
            row = self._db.execute(
                "SELECT id, hash FROM records WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
                (base + 1, newest - below),
            ).fetchone()
            if row is None:
                break
            found[row[0] - base] = row[1]
            if below == 0:
                newest = row[0]
        return list(found.items())

    def _store(self, work: Entries, now_ns: int) -> Stored:
        for name, encoded in work.catalogues:
            if name not in self._catalogues:
                self._db.execute(
                    "INSERT OR IGNORE INTO catalogues VALUES (?, ?, ?)", (name, encoded, now_ns)
                )
                self._catalogues.add(name)
        outcome = Stored(refused=list(work.faults))
        faults = list(work.faults)
        for run in runs(work.entries):
            faults += self._store_run(work, run, outcome, now_ns)
        self._merge(stream_key(work.log, work.stream), outcome.acknowledged)
        if work.stream is Stream.ALARM:
            self._forget_volatile(work.log, work.entries)
        self._db.executemany(
            "INSERT OR IGNORE INTO attachments SELECT gateway, ?, ?, ? FROM logs WHERE id = ?",
            [(*item, work.log) for item in work.attachments],
        )
        self._note_faults(work.log, work.stream, faults, now_ns)
        return outcome

    def _store_run(
        self, work: Entries, run: Sequence[Entry], outcome: Stored, now_ns: int
    ) -> list[Fault]:
        """Store one run of consecutive records; returns what is to be noted in `faults`."""
        base = stream_key(work.log, work.stream) << 40
        first, last = run[0].sequence, run[-1].sequence
        there: dict[int, bytes] = dict(
            self._db.execute(
                "SELECT id, hash FROM records WHERE id BETWEEN ? AND ?",
                (base + first - 1, base + last + 1),
            )
        )
        faults: list[Fault] = []
        rows = []
        before = there.get(base + first - 1)
        alone = before is None or run[0].begins_chain
        if first > 1 and not alone and before != run[0].previous_hash:
            # Stored all the same: to refuse it would lose a record over what another one says.
            faults.append(Fault(first, "chain", run[0].hash, BROKEN_CHAIN))
        for entry in run:
            stored = there.get(base + entry.sequence)
            if stored is None:
                needed = self._waiting.needed(work.log, work.stream, entry)
                if needed:
                    outcome.needed += [needed] if needed not in outcome.needed else []
                    continue
                rows.append((base + entry.sequence, *entry[1:3], now_ns, *entry[3:]))
            elif stored != entry.hash:
                fault = Fault(entry.sequence, "conflict", entry.hash, ANOTHER_RECORD)
                outcome.refused.append(fault)
                faults.append(fault)
                continue
            outcome.acknowledged.add(entry.first, entry.sequence + 1)
        self._db.executemany(_INSERT, rows)
        return faults

    def _keep_volatile(self, work: Volatile, now_ns: int) -> Stored:
        self._db.executemany(
            "INSERT OR IGNORE INTO volatile_alarms SELECT gateway, ?, id, ?, ?, ?, ?, ? FROM logs"
            " WHERE id = ?",
            [
                (one.key, one.time_ns, one.monotonic_ns, one.boot_id, now_ns, one.payload, work.log)
                for one in work.entries
            ],
        )
        return Stored(volatile=[one.key for one in work.entries])

    def _forget_volatile(self, log: int, entries: Sequence[Entry]) -> None:
        """Drop what is told to be volatile and has come as a record now."""
        waits = self._db.execute(
            "SELECT 1 FROM volatile_alarms WHERE gateway ="
            " (SELECT gateway FROM logs WHERE id = ?) LIMIT 1",
            (log,),
        ).fetchone()
        if waits:
            self._db.executemany(
                "DELETE FROM volatile_alarms WHERE key = ? AND gateway ="
                " (SELECT gateway FROM logs WHERE id = ?)",
                [(volatile_key(entry.payload), log) for entry in entries],
            )

    def _note_gaps(self, work: Gaps, now_ns: int) -> Stored:
        key = stream_key(work.log, work.stream)
        ranges = RangeSet(work.ranges)
        self._db.executemany(
            "INSERT OR IGNORE INTO gaps VALUES (?, ?, ?, ?)",
            [(key, start, stop, now_ns) for start, stop in ranges],
        )
        self._merge(key, ranges)
        return Stored(acknowledged=ranges)

    def _merge(self, key: int, added: RangeSet) -> None:
        """Add ranges to the acknowledged ones of a stream: a few b-tree steps for each range."""
        for start, stop in added:
            low, high = start, stop
            before = self._db.execute(
                "SELECT start, stop FROM ranges WHERE stream_key = ? AND start <= ?"
                " ORDER BY start DESC LIMIT 1",
                (key, start),
            ).fetchone()
            if before and before[1] >= start:
                if before[1] >= stop:
                    continue
                low = before[0]
            (reach,) = self._db.execute(
                "SELECT max(stop) FROM ranges WHERE stream_key = ? AND start BETWEEN ? AND ?",
                (key, low, high),
            ).fetchone()
            high = max(high, reach or 0)
            self._db.execute(
                "DELETE FROM ranges WHERE stream_key = ? AND start BETWEEN ? AND ?",
                (key, low, high),
            )
            self._db.execute("INSERT INTO ranges VALUES (?, ?, ?)", (key, low, high))

    def _note_faults(self, log: int, stream: Stream, faults: Iterable[Fault], now_ns: int) -> None:
        self._db.executemany(
            "INSERT INTO faults SELECT gateway, log_id, ?, ?, ?, ?, ?, ?, ?, 1 FROM logs"
            " WHERE id = ? ON CONFLICT DO UPDATE SET last_ns = excluded.last_ns,"
            " hash = excluded.hash, reason = excluded.reason, count = count + 1",
            [
                (stream, item.sequence, item.kind, item.hash, item.reason[:FAULT_TEXT],
                 now_ns, now_ns, log)
                for item in faults
            ],
        )  # fmt: skip

    def _read_catalogues(self) -> set[bytes]:
        return {name for (name,) in self._db.execute("SELECT hash FROM catalogues")}


def _connect(path: Path) -> sqlite3.Connection:
    # Used from one thread at a time, but not always the same one.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file only
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA journal_size_limit = 67108864")
        _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection) -> None:
    schema = resources.files("gateway.receiver.sqlite").joinpath("schema.sql").read_text("utf-8")
    scripts = migrations(schema)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(scripts):
        raise sqlite3.DatabaseError(NEWER_SCHEMA.format(version))
    for number, script in enumerate(scripts[version:], version + 1):
        db.executescript(f"BEGIN;{script};PRAGMA user_version = {number};COMMIT;")

"""One SQLite file of the buffer: how it is opened, migrated, appended to, read and trimmed.

Guarantees: WAL, synchronous=FULL, STRICT tables. A `Database` belongs to one thread at a time.
`append` only adds to the running transaction; nothing is durable before `commit` has returned.
After a failed commit `reopen` closes the file, opens it anew and tells what it really holds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from buffer.contract import NO_HASH, Record, SignedHead, Stream, chain_hash

TELEMETRY, RECORDS = "telemetry", "records"
STREAMS = {
    TELEMETRY: (Stream.TELEMETRY,),
    RECORDS: (Stream.ALARM, Stream.EVENT, Stream.EVIDENCE),
}
TABLE = {stream: stream.name.lower() for stream in Stream}
APPLICATION_ID = {TELEMETRY: 0x50474154, RECORDS: 0x50474152}  # "PGAT", "PGAR"
ROW_OVERHEAD_BYTES = 128
"""What a row takes beside its payload: 12 integers, a hash, its share of pages; rounded up."""

RENEWED_FROM = "renewed_from"
"""Name in meta of the log id before the present one, for a renewal that is cut off."""

ROWS_TRIED = 1_000
"""Rows read one by one after a damaged page was met."""

COLUMNS = (
    "id, time_ns, monotonic_ns, clock_offset_ns, synchronised, boot, catalogue, hash, group_id,"
    " first_ns, last_ns, samples, payload"
)


def migrations(kind: str) -> list[str]:
    """SQL of each migration of one database, in order."""
    text = resources.files("buffer").joinpath("schema.sql").read_text(encoding="utf-8")
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["--"] and len(words) == 3 and words[1] in STREAMS and words[2].isdigit():
            lines = sections.setdefault(f"{words[1]} {words[2]}", [])
        else:
            lines.append(line)
    found: list[str] = []
    while (section := sections.get(f"{kind} {len(found) + 1}")) is not None:
        found.append("\n".join(section))
    return found


@dataclass(slots=True)
class Head:
    """Where a stream stands. Ids are rows; sequence = id - base.

    first_id: oldest row of the present log id.  next_id: row that comes next.
    hash: of the newest record, NO_HASH where there is none.
    """

    base: int
    first_id: int
    next_id: int
    hash: bytes


class Database:
    """An open file. Raises sqlite3.Error and OSError as they come."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.lock_wait_ms = 1_000
        self.kind = kind
        self.heads: dict[Stream, Head] = {}
        self._names: dict[bytes, int] = {}
        self.connection = self._connect()
        try:
            self._migrate()
            self.load()
        except BaseException:
            self.connection.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            isolation_level=None,
            check_same_thread=False,
            timeout=self.lock_wait_ms / 1e3,
        )
        fresh = self.path.stat().st_size == 0 if self.path.exists() else True
        if fresh:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        connection.execute("PRAGMA cache_size = -2048")
        return connection

    def _migrate(self) -> None:
        connection = self.connection
        steps = migrations(self.kind)
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        for number in range(version, len(steps)):
            connection.executescript(
                f"BEGIN IMMEDIATE; {steps[number]}"
                f" PRAGMA application_id = {APPLICATION_ID[self.kind]};"
                f" PRAGMA user_version = {number + 1}; COMMIT;"
            )

    def set_lock_wait(self, lock_wait_ms: int) -> None:
        """Wait so long for another process to let go of the file."""
        self.lock_wait_ms = lock_wait_ms
        self.connection.execute(f"PRAGMA busy_timeout = {lock_wait_ms}")

    def load(self) -> None:
        """Read from the file where each stream stands."""
        self._names = {
            bytes(value): int(key)
            for key, value in self.connection.execute("SELECT id, value FROM name")
        }
        for stream in STREAMS[self.kind]:
            base = int(self.meta(f"base.{stream.value}", 0))
            anchor_id, anchor = self._anchor(stream)
            row = self.connection.execute(
                f"SELECT id, hash FROM {TABLE[stream]} ORDER BY id DESC LIMIT 1"
            ).fetchone()
            last_id, newest = (int(row[0]), bytes(row[1])) if row else (anchor_id, anchor)
            if last_id <= base:
                last_id, newest = base, NO_HASH
            head = Head(base, self._first_id(stream, base, last_id), last_id + 1, newest)
            self.heads[stream] = head

    def _first_id(self, stream: Stream, base: int, last_id: int) -> int:
        row = self.connection.execute(
            f"SELECT min(id) FROM {TABLE[stream]} WHERE id > ?",
            (base,),
        ).fetchone()
        return int(row[0]) if row[0] is not None else last_id + 1

    def _anchor(self, stream: Stream) -> tuple[int, bytes]:
        return (
            int(self.meta(f"anchor_id.{stream.value}", self.meta(f"base.{stream.value}", 0))),
            bytes(self.meta(f"anchor.{stream.value}", NO_HASH)),
        )

    def meta(self, key: str, default: int | bytes) -> int | bytes:
        """Named value of the file."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else row[0]

    def set_meta(self, key: str, value: int | bytes) -> None:
        """Set a named value in the running transaction."""
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def delete_meta(self, key: str) -> None:
        """Forget a named value in the running transaction."""
        self.connection.execute("DELETE FROM meta WHERE key = ?", (key,))

    def begin(self) -> None:
        """Start a write transaction."""
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the running transaction durable."""
        self.connection.execute("COMMIT")

    def append(self, record: Record) -> None:
        """Add a record, whose sequence and hash follow the stream's head; moves the head on."""
        head = self.heads[record.stream]
        row_id = record.sequence + head.base
        self.connection.execute(
            f"INSERT INTO {TABLE[record.stream]} ({COLUMNS})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row_id,
                record.time_ns,
                record.monotonic_ns,
                record.clock_offset_ns,
                int(record.synchronised),
                self.name_id(record.boot_id),
                self.name_id(record.catalogue),
                record.hash,
                record.group + head.base,
                record.first_ns,
                record.last_ns,
                record.samples,
                record.payload,
            ),
        )
        head.next_id = row_id + 1
        head.hash = record.hash

    def name_id(self, value: bytes) -> int:
        """Small number of a boot id or catalogue hash; adds it where it is new."""
        known = self._names.get(value)
        if known is None:
            cursor = self.connection.execute("INSERT INTO name (value) VALUES (?)", (value,))
            known = self._names[value] = int(cursor.lastrowid or 0)
        return known

    def saved_heads(self) -> dict[Stream, Head]:
        """Copy of the heads, to return to when a transaction fails."""
        return {
            stream: Head(head.base, head.first_id, head.next_id, head.hash)
            for stream, head in self.heads.items()
        }

    def rollback(self) -> None:
        """Give up the running transaction, if there is one."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def reopen(self) -> None:
        """Close and open anew; heads then say what the file really holds."""
        self.connection.close()
        self.connection = self._connect()
        self.load()

    def move_wal(self) -> None:
        """Move all of the WAL into the file and sync it; OperationalError where that fails.

        After a sync that failed, what can be read need not be on disk: the kernel may have
        dropped it while its pages look clean. Here it is written anew, elsewhere, and synced.
        """
        _, in_wal, moved = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if moved != in_wal:
            raise sqlite3.OperationalError("a reader keeps the WAL from being written back")

    def cut_back(self, stream: Stream, next_id: int) -> None:
        """Delete the rows from `next_id` on, which nobody has been told of; a transaction."""
        self.begin()
        self.connection.execute(f"DELETE FROM {TABLE[stream]} WHERE id >= ?", (next_id,))
        self.connection.execute(
            "DELETE FROM signed_head WHERE stream = ? AND id >= ?", (int(stream), next_id)
        )
        self.commit()

    def close(self) -> None:
        """Close the file; the last closer moves the WAL into it."""
        self.connection.close()

    def delete_through(self, stream: Stream, last_id: int, keep: Collection[int] = ()) -> None:
        """Delete the oldest rows up to `last_id`, but for `keep`, in the running transaction.

        The hash of each row that precedes one that stays is kept, so that it can be verified.
        """
        table = TABLE[stream]
        head = self.heads[stream]
        for kept in keep:
            if kept - 1 <= head.base:
                continue  # the first of this log id, or of a former one: nothing precedes it
            self.connection.execute(
                f"INSERT OR IGNORE INTO meta SELECT ?, hash FROM {table} WHERE id = ?",
                (_before(stream, kept), kept - 1),
            )
        row = self.connection.execute(
            f"SELECT id, hash FROM {TABLE[stream]} WHERE id <= ? ORDER BY id DESC LIMIT 1",
            (last_id,),
        ).fetchone()
        if row is None:
            return
        # Not of a former log id, whose hashes precede nothing here; nor what was kept and goes now,
        # long after what came behind it: the anchor only moves on.
        if row[0] > max(head.base, self._anchor(stream)[0]):
            self.set_meta(f"anchor_id.{stream.value}", row[0])
            self.set_meta(f"anchor.{stream.value}", row[1])
        self.connection.execute(
            f"DELETE FROM {table} WHERE id <= ? AND id NOT IN (SELECT value FROM json_each(?))",
            (last_id, json.dumps(list(keep))),
        )
        head.first_id = self._first_id(stream, head.base, head.next_id - 1)

    def renumber(self, stream: Stream, from_id: int, log_id: bytes) -> None:
        """Give the rows from `from_id` on sequences 1, 2, ... and hashes of a new log.

        In the running transaction. Rows before `from_id` keep their bytes, and have no sequence.
        """
        connection = self.connection
        base = min(from_id, self.heads[stream].next_id) - 1
        previous = NO_HASH
        table = TABLE[stream]
        row_id = base
        while True:
            row = connection.execute(
                f"SELECT id, payload FROM {table} WHERE id > ? ORDER BY id LIMIT 1",
                (row_id,),
            ).fetchone()
            if row is None:
                break
            if int(row[0]) != row_id + 1:
                self.set_meta(_before(stream, int(row[0])), previous)
            row_id = int(row[0])
            previous = chain_hash(previous, stream, row_id - base, row[1])
            connection.execute(f"UPDATE {table} SET hash = ? WHERE id = ?", (previous, row_id))
        self.set_meta(f"base.{stream.value}", base)
        self.set_meta(f"anchor_id.{stream.value}", base)
        self.set_meta(f"anchor.{stream.value}", NO_HASH)
        self.set_meta("log_id", log_id)
        connection.execute("DELETE FROM signed_head WHERE stream = ?", (int(stream),))
        head = self.heads[stream]
        self.heads[stream] = Head(
            base, self._first_id(stream, base, head.next_id - 1), head.next_id, previous
        )


class Reader:
    """Read-only connection to one file; used by one thread at a time; short transactions."""

    def __init__(self, path: Path, *, mark_damage: bool = True, immutable: bool = False) -> None:
        """`immutable`: nobody writes to the file; for a directory that cannot be written to."""
        self._path = path
        self._mark_damage = mark_damage
        self._connection = sqlite3.connect(
            f"{path.as_uri()}?mode=ro{'&immutable=1' if immutable else ''}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def records(
        self, log_id: bytes, stream: Stream, first: int, last: int, max_bytes: int
    ) -> tuple[list[Record], bool]:
        """Records of the present log id; empty when the file has another one.

        Also tells whether all of them could be read; if not, the file is marked (but with
        mark_damage=False) for a whole verification at the next start.
        """
        connection = self._connection
        connection.execute("BEGIN")
        try:
            base = self.base(log_id, stream)
            if base is None:
                return [], True
            try:
                return list(self._rows(stream, base, first + base, last + base, max_bytes)), True
            except sqlite3.DatabaseError:
                if self._mark_damage:
                    verify_marker(self._path).touch()
                last = min(last, first + ROWS_TRIED)
                return list(self._readable(stream, base, first + base, last + base)), False
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def base(self, log_id: bytes, stream: Stream) -> int | None:
        """Difference between rows and sequences; None when the file has another log id."""
        if bytes(self.meta("log_id", b"")) != log_id:
            return None
        return int(self.meta(f"base.{stream.value}", 0))

    def ask(self, stream: Stream, query: str, *arguments: int) -> list[tuple[Any, ...]]:
        """Every row of a question about `stream`, whose table is {table}; keep it short."""
        return self._connection.execute(query.format(table=TABLE[stream]), arguments).fetchall()

    def group_start(self, log_id: bytes, sequence: int) -> int:
        """Sequence of the key of a telemetry record; the record's own if it is not held."""
        base = self.base(log_id, Stream.TELEMETRY)
        if base is None:
            return sequence
        row = self._connection.execute(
            "SELECT group_id FROM telemetry WHERE id = ?", (sequence + base,)
        ).fetchone()
        return sequence if row is None else int(row[0]) - base

    def between(self, log_id: bytes, stream: Stream, from_ns: int, to_ns: int) -> tuple[int, int]:
        """First and last sequence that may hold times in [from_ns, to_ns]; (1, 0) if none."""
        base = self.base(log_id, stream)
        if base is None:
            return (1, 0)
        if stream is Stream.TELEMETRY:
            query = (
                "SELECT min(id), max(last_id) FROM (SELECT id, last_id FROM finished_group"
                " WHERE first_ns <= :to AND last_ns >= :from AND id > :base UNION ALL"
                " SELECT min(id), max(id) FROM telemetry"
                " WHERE id > coalesce((SELECT max(last_id) FROM finished_group), 0)"
                " AND id > :base HAVING min(first_ns) <= :to AND max(last_ns) >= :from)"
            )
        else:
            query = (
                f"SELECT min(id), max(id) FROM {TABLE[stream]}"
                " WHERE time_ns BETWEEN :from AND :to AND id > :base"
            )
        arguments = {"from": from_ns, "to": to_ns, "base": base}
        low, high = self._connection.execute(query, arguments).fetchone()
        return (1, 0) if low is None else (int(low) - base, int(high) - base)

    def signed_heads(self, log_id: bytes, stream: Stream) -> list[SignedHead]:
        """Signed heads of the present log id that are held, oldest first; none in an old file."""
        base = self.base(log_id, stream)
        if base is None or int(self._connection.execute("PRAGMA user_version").fetchone()[0]) < 2:
            return []
        return signed_heads(self._connection, log_id, stream, base)

    def meta(self, key: str, default: int | bytes) -> int | bytes:
        """Named value of the file."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else row[0]

    def _readable(self, stream: Stream, base: int, first_id: int, last_id: int) -> Iterator[Record]:
        """Rows one by one, without those that cannot be read."""
        for row_id in range(first_id, last_id + 1):
            try:
                yield from self._rows(stream, base, row_id, row_id, 1)
            except sqlite3.DatabaseError:
                continue

    def _rows(
        self, stream: Stream, base: int, first_id: int, last_id: int, max_bytes: int
    ) -> Iterator[Record]:
        rows: Iterable[tuple[Any, ...]] = self._connection.execute(
            f"SELECT t.id, time_ns, monotonic_ns, clock_offset_ns, synchronised, b.value,"
            " c.value, hash, group_id, first_ns, last_ns, samples, payload"
            f" FROM {TABLE[stream]} t"
            " JOIN name b ON b.id = t.boot JOIN name c ON c.id = t.catalogue"
            " WHERE t.id BETWEEN ? AND ? ORDER BY t.id",
            (max(first_id, base + 1), last_id),
        )
        previous: tuple[int, bytes] | None = None
        for row in rows:
            if previous is None or previous[0] != row[0] - 1:
                previous = (row[0] - 1, self._hash_before(stream, row[0]))
            record = _record(stream, base, row, previous[1])
            yield record
            previous = (row[0], record.hash)
            max_bytes -= len(record.payload)
            if max_bytes <= 0:
                return

    def _hash_before(self, stream: Stream, row_id: int) -> bytes:
        if row_id - 1 <= int(self.meta(f"base.{stream.value}", 0)):
            return NO_HASH
        row = self._connection.execute(
            f"SELECT hash FROM {TABLE[stream]} WHERE id = ?",
            (row_id - 1,),
        ).fetchone()
        if row is not None:
            return bytes(row[0])
        if int(self.meta(f"anchor_id.{stream.value}", 0)) == row_id - 1:
            return bytes(self.meta(f"anchor.{stream.value}", NO_HASH))
        return bytes(self.meta(_before(stream, row_id), NO_HASH))


def signed_heads(
    connection: sqlite3.Connection, log_id: bytes, stream: Stream, base: int
) -> list[SignedHead]:
    """Signed heads of a stream that are held, oldest first."""
    rows = connection.execute(
        "SELECT id, hash, key_id, signature FROM signed_head WHERE stream = ? AND id > ?"
        " ORDER BY id",
        (int(stream), base),
    )
    return [
        SignedHead(log_id, stream, row_id - base, digest, key_id, signature)
        for row_id, digest, key_id, signature in rows
    ]


def verify_marker(path: Path) -> Path:
    """File that asks the next start to verify the whole database."""
    return path.with_name(path.name + ".verify")


def _before(stream: Stream, row_id: int) -> str:
    return f"before.{stream.value}.{row_id}"


def _record(stream: Stream, base: int, row: tuple[Any, ...], previous: bytes) -> Record:
    (row_id, time_ns, monotonic_ns, offset, synchronised, boot, catalogue, digest, group) = row[:9]
    first_ns, last_ns, samples, payload = row[9:]
    return Record(
        stream=stream,
        sequence=row_id - base,
        time_ns=time_ns,
        monotonic_ns=monotonic_ns,
        boot_id=boot,
        clock_offset_ns=offset,
        synchronised=bool(synchronised),
        previous_hash=previous,
        hash=digest,
        payload=payload,
        group=group - base,
        catalogue=catalogue,
        first_ns=first_ns,
        last_ns=last_ns,
        samples=samples,
    )

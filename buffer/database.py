"""One SQLite file of the buffer: how it is opened, migrated, appended to and trimmed.

Guarantees: WAL, synchronous=FULL (but where `begin` says so), STRICT tables. A `Database` belongs
to one thread at a time. `append` only adds to the running transaction; nothing is durable before
`commit` has returned. After a failed commit `reopen` closes the file, opens it anew and tells what
it really holds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

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


class DamagedError(sqlite3.DatabaseError):
    """A database file does not hold what was written to it; says where."""


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
        self._is_synced = True
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
        self._is_synced = True
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

    def begin(self, *, is_synced: bool = True) -> None:
        """Start a write transaction; with is_synced=False its commit does not wait for the disk.

        Such a commit is not durable until a later one is, which syncs the WAL it lies in: it may
        be lost in a power cut, with nothing that was committed before or after it.
        """
        if is_synced is not self._is_synced:
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if is_synced else 'NORMAL'}")
            self._is_synced = is_synced
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
                (before_name(stream, kept), kept - 1),
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

    def check_row(
        self, stream: Stream, before: tuple[int, bytes] | None, row: tuple[int, bytes, bytes]
    ) -> None:
        """Raise DamagedError where a row does not carry the hash of its payload.

        before: row and hash of the one before it, where it was seen.  row: its id, payload, hash.
        """
        row_id, payload, digest = row
        base = self.heads[stream].base
        anchor = self._anchor(stream)
        if before is None or before[0] != row_id - 1:
            before = anchor if anchor[0] == row_id - 1 else None
        if before is None or row_id <= base:
            return  # what was before it is not held, or counted under another log id
        if chain_hash(before[1], stream, row_id - base, payload) != digest:
            text = f"{stream.name.lower()} record {row_id - base} is not intact"
            raise DamagedError(text)

    def renumber(
        self, stream: Stream, from_id: int, log_id: bytes, *, is_verified: bool = False
    ) -> None:
        """Give the rows from `from_id` on sequences 1, 2, ... and hashes of a new log.

        In the running transaction. Rows before `from_id` keep their bytes, and have no sequence.
        Raises DamagedError where a row does not carry the hash of what is in it: it must not get
        one that it would carry. is_verified: all of the file has just been looked through.
        """
        connection = self.connection
        base = min(from_id, self.heads[stream].next_id) - 1
        previous = NO_HASH
        table = TABLE[stream]
        was: tuple[int, bytes] | None = None
        row = connection.execute(f"SELECT id, hash FROM {table} WHERE id = ?", (base,)).fetchone()
        if row is not None and base > self.heads[stream].base:
            was = (int(row[0]), bytes(row[1]))  # else the first follows nothing
        row_id = base
        while True:
            row = connection.execute(
                f"SELECT id, payload, hash FROM {table} WHERE id > ? ORDER BY id LIMIT 1",
                (row_id,),
            ).fetchone()
            if row is None:
                break
            if not is_verified:
                self.check_row(stream, was, row)
            was = (int(row[0]), bytes(row[2]))
            if int(row[0]) != row_id + 1:
                self.set_meta(before_name(stream, int(row[0])), previous)
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


def carry_name(stream: Stream) -> str:
    """Name in meta of the sequence from which a repaired stream is sent again."""
    return f"carry.{stream.value}"


def verify_marker(path: Path) -> Path:
    """File that asks the next start to verify the whole database."""
    return path.with_name(path.name + ".verify")


def before_name(stream: Stream, row_id: int) -> str:
    """Name in meta of the hash of a row that went while the one after it stayed."""
    return f"before.{stream.value}.{row_id}"

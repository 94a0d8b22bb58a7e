"""Reads one SQLite file of the buffer beside its writer: read-only, in short transactions.

Guarantees: every question asks for a bounded number of rows. What cannot be read is never left out
unsaid, and marks the file for a whole verification.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from buffer.contract import NO_HASH, Record, SignedHead, Stream
from buffer.database import TABLE, before_name, signed_heads, verify_marker
from buffer.door import Door

ROWS_TRIED = 1_000
"""Rows read one by one after a damaged page was met."""
ROWS_FAILED = 20
"""Of them, so many in a row may fail: a drive takes seconds to say that a sector is bad."""


class Reader:
    """Read-only connection to one file; used by one thread at a time; short transactions."""

    def __init__(
        self,
        path: Path,
        *,
        door: Door | None = None,
        mark_damage: bool = True,
        immutable: bool = False,
    ) -> None:
        """Raises sqlite3.Error where the file cannot be read at all.

        door: of the data directory, where a gateway that may repair it runs in this process.
        immutable: nobody writes to the file; for a directory that cannot be written to.
        """
        self._path = path
        self._mark_damage = mark_damage
        self._connection = (door or Door()).opened(path, is_immutable=immutable)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def records(
        self, log_id: bytes, stream: Stream, first: int, last: int, max_bytes: int
    ) -> list[Record]:
        """Records of the present log id; empty when the file has another one.

        Raises sqlite3.DatabaseError where any of them cannot be read: ask `readable` then.
        """
        connection = self._connection
        connection.execute("BEGIN")
        try:
            base = self.base(log_id, stream)
            if base is None:
                return []
            return list(self._rows(stream, base, first + base, last + base, max_bytes))
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def readable(
        self, log_id: bytes, stream: Stream, first: int, last: int, max_bytes: int
    ) -> tuple[list[Record], int]:
        """Records up to the first that cannot be read, one by one; at most ROWS_TRIED rows.

        Where not even one can be: none, and the sequence up to which that is so, else 0. The file
        is marked (but with mark_damage=False) for a whole verification at the next start.
        """
        base = self.base(log_id, stream)
        if base is None:
            return [], 0
        if self._mark_damage:
            verify_marker(self._path).touch()
        found: list[Record] = []
        failed = 0
        stop = min(last + 1, first + ROWS_TRIED)
        for sequence in range(first, stop):
            row_id = sequence + base
            try:
                rows = list(self._rows(stream, base, row_id, row_id, 1))
            except sqlite3.DatabaseError:
                failed += 1
                if found:
                    break
                if failed == ROWS_FAILED:
                    return [], sequence + 1
                continue
            if rows and failed:
                return [], sequence
            found += rows
            max_bytes -= sum(len(record.payload) for record in rows)
            if max_bytes <= 0:
                break
        is_all_gone = not failed and stop > last
        return found, 0 if found or is_all_gone else stop

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
        return bytes(self.meta(before_name(stream, row_id), NO_HASH))


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

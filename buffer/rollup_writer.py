"""Makes the one-minute rollup beside the log: a thread that reads what is stored, and `rollup.db`.

Guarantees: nothing of it is on the way of a value: it reads records back once their group is
finished, works at most a fifth of the time, and writes one transaction a minute. What is rolled up
and how far that goes are one transaction, so that a crash neither loses nor doubles a sample. The
minute of a record is that of its first sample. The rollup comes from the log and can be made again
from what the log holds: it has no gap records, syncs lazily, and goes oldest first when it exceeds
its quota. A damaged rollup.db is set aside and made anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from buffer.block import BlockDecoder, BlockError
from buffer.contract import Clock
from buffer.database import TELEMETRY
from buffer.door import Door
from buffer.patient import is_damage
from buffer.policy import BufferConfig
from buffer.rollup import CHUNK_POINTS, MINUTE_NS, Minute, Roller, decode, encode, merged

FILE = "rollup.db"
ROWS_AT_ONCE = 100
REST = 4
"""Rests so many times as long as it worked, so that a long past to catch up with costs little."""
MINUTES_AT_ONCE = 1_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS minute (
    chunk INTEGER NOT NULL, minute INTEGER NOT NULL, part INTEGER NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (chunk, minute, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_minute ON minute (minute);
CREATE TABLE IF NOT EXISTS meta (
    key TEXT PRIMARY KEY, value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


@dataclass(slots=True)
class _Progress:
    """How far it is. done_id, done_ns: newest row whose samples are in a stored minute."""

    done_id: int = 0
    done_ns: int = 0
    minute: int = -1
    part: int = 0
    last: tuple[int, int] = (0, 0)
    decoder: BlockDecoder = field(default_factory=BlockDecoder)
    roller: Roller = field(default_factory=Roller)
    following: int = 0


def _nobody(_kind: str, _why: str) -> None:
    """Nobody is told."""


class RollupWriter:
    """`start`, `wake` when a group is finished, `stop`. `failure` says what is wrong, or ""."""

    def __init__(
        self,
        folder: Path,
        config: BufferConfig,
        clock: Clock,
        suspect: Callable[[str, str], None] = _nobody,
        door: Door | None = None,
    ) -> None:
        """`suspect` is told, in the thread, when a file of the log cannot be read."""
        self._folder = folder
        self._quota_bytes = config.rollup_quota_bytes
        self._min_free_bytes = config.min_free_bytes
        self._clock = clock
        self._suspect = suspect
        self._door = door or Door()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="buffer-rollup", daemon=True)
        self.failure = ""

    def start(self) -> None:
        """Start the thread; it catches up with what the log holds."""
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """A group is finished."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                with contextlib.closing(self._opened()) as rollup:
                    self._catch_up(rollup)
            except (sqlite3.Error, OSError) as failure:
                self.failure = f"the rollup is not written: {failure}"
                if is_damage(failure):
                    self._suspect(TELEMETRY, self.failure)
            else:
                self.failure = ""

    def _catch_up(self, rollup: sqlite3.Connection) -> None:
        source = self._folder / "telemetry.db"
        with contextlib.closing(self._door.opened(source)) as log:
            progress = _resumed(rollup, log)
            while self._has_room() and not self._stop.is_set():
                began = time.monotonic()
                after = progress.last[0] or _start_of_group(log, progress.done_id)
                rows = log.execute(
                    "SELECT id, group_id, time_ns, first_ns, payload FROM telemetry WHERE id > ?"
                    " AND id <= (SELECT max(last_id) FROM finished_group) ORDER BY id LIMIT ?",
                    (after, ROWS_AT_ONCE),
                ).fetchall()
                if not rows:
                    return
                for row in rows:
                    self._feed(rollup, progress, row)
                self._stop.wait(REST * (time.monotonic() - began))

    def _feed(
        self, rollup: sqlite3.Connection, progress: _Progress, row: tuple[int, int, int, int, bytes]
    ) -> None:
        row_id, group_id, time_ns, first_ns, payload = row
        minute = first_ns // MINUTE_NS
        is_new = row_id > progress.done_id
        if is_new and minute != progress.minute:
            self._store(rollup, progress)
            progress.minute, progress.part = minute, row_id
        if row_id in {group_id, progress.following}:
            try:
                batches = progress.decoder.feed(payload)
            except BlockError:
                batches = []  # the log's own verification says so
                progress.following = 0
            else:
                progress.following = row_id + 1
            if is_new:
                for batch in batches:
                    progress.roller.feed(batch)
        progress.last = (row_id, time_ns)

    def _store(self, rollup: sqlite3.Connection, progress: _Progress) -> None:
        """Store the minute that is over, and how far that goes."""
        if progress.minute < 0:
            return
        columns = progress.roller.take(progress.minute * MINUTE_NS)
        done_id, done_ns = progress.last
        with rollup:
            rollup.executemany(
                "INSERT OR REPLACE INTO minute VALUES (?, ?, ?, ?)",
                [
                    (chunk, progress.minute, progress.part, payload)
                    for chunk, payload in encode(columns)
                ],
            )
            rollup.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("done_id", done_id), ("done_ns", done_ns)],
            )
            self._evict(rollup)
        progress.done_id, progress.done_ns = done_id, done_ns

    def _evict(self, rollup: sqlite3.Connection) -> None:
        pages, free, size = (
            int(rollup.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * size <= self._quota_bytes:
            return
        low, high = rollup.execute("SELECT min(minute), max(minute) FROM minute").fetchone()
        if low is not None and low < high:  # a tenth of the oldest, so that it is done seldom
            bound = low + max(1, (high - low) // 10)
            rollup.execute("DELETE FROM minute WHERE minute < ?", (bound,))

    def _has_room(self) -> bool:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize >= self._min_free_bytes

    def _opened(self) -> sqlite3.Connection:
        path = self._folder / FILE
        try:
            return _open(path)
        except sqlite3.DatabaseError as failure:
            if isinstance(failure, sqlite3.OperationalError):
                raise  # it passes; anything else is damage
        aside = f"{FILE}.set-aside-{self._clock.wall_ns()}"
        with self._door:
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    (self._folder / f"{FILE}{suffix}").rename(self._folder / f"{aside}{suffix}")
        return _open(path)


class RollupReader:
    """Reads rollup.db, read-only, at most MINUTES_AT_ONCE rows a transaction. `close` it."""

    def __init__(self, folder: Path, door: Door | None = None) -> None:
        """FileNotFoundError where there is no rollup yet; sqlite3.Error where it is damaged."""
        path = folder.absolute() / FILE
        if not path.exists():
            raise FileNotFoundError(path)
        self._db = (door or Door()).opened(path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def minutes(self, point: int, from_ns: int, to_ns: int) -> list[Minute]:
        """Minutes of a point that begin in [from_ns, to_ns), in order.

        Raises sqlite3.Error and ValueError where the file is damaged.
        """
        return merged(self._parts(point, from_ns, to_ns))

    def points(self) -> list[int]:
        """Points of which anything is held."""
        found: set[int] = set()
        for minute, payload in self._db.execute("SELECT minute, payload FROM minute"):
            found.update(decode(minute, payload).points.tolist())
        return sorted(found)

    def _parts(self, point: int, from_ns: int, to_ns: int) -> Iterator[Minute]:
        minute, stop = max(-(-from_ns // MINUTE_NS), 0), min(-(-to_ns // MINUTE_NS), 1 << 60)
        part = -1
        while True:
            rows = self._db.execute(
                "SELECT minute, part, payload FROM minute WHERE chunk = ?"
                " AND (minute, part) > (?, ?) AND minute < ? ORDER BY minute, part LIMIT ?",
                (point // CHUNK_POINTS, minute, part, stop, MINUTES_AT_ONCE),
            ).fetchall()
            for at, _, payload in rows:
                found = decode(at * MINUTE_NS, payload).minute(point)
                if found is not None:
                    yield found
            if len(rows) < MINUTES_AT_ONCE:
                return
            minute, part = rows[-1][:2]


def minutes_held(
    folder: Path, point: int, from_ns: int, to_ns: int, door: Door | None = None
) -> list[Minute]:
    """What RollupReader.minutes gives; empty where there is no rollup, or a damaged one."""
    try:
        with contextlib.closing(RollupReader(folder, door)) as reader:
            return reader.minutes(point, from_ns, to_ns)
    except (FileNotFoundError, sqlite3.Error, ValueError):
        return []  # the writer sets a damaged file aside and makes it anew from the log


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _resumed(rollup: sqlite3.Connection, log: sqlite3.Connection) -> _Progress:
    """Where to go on: after the row done, if the log still counts its rows the same way."""
    meta = {str(key): int(value) for key, value in rollup.execute("SELECT key, value FROM meta")}
    done_id, done_ns = meta.get("done_id", 0), meta.get("done_ns", 0)
    row = log.execute("SELECT time_ns FROM telemetry WHERE id = ?", (done_id,)).fetchone()
    newest = log.execute("SELECT coalesce(max(id), 0) FROM telemetry").fetchone()[0]
    if row is not None:
        is_other = row[0] != done_ns
    else:  # evicted, or never in this file: then what comes after it is older
        query = "SELECT time_ns FROM telemetry WHERE id > ? ORDER BY id LIMIT 1"
        following = log.execute(query, (done_id,)).fetchone()
        is_other = newest < done_id or (following is not None and following[0] <= done_ns)
    if is_other:  # the file was rebuilt, its rows count anew
        query = "SELECT coalesce(max(id), 0) FROM telemetry WHERE time_ns <= ?"
        done_id = int(log.execute(query, (done_ns,)).fetchone()[0])
    return _Progress(done_id, done_ns)


def _start_of_group(log: sqlite3.Connection, done_id: int) -> int:
    """Row before the key from which the row after `done_id` decodes."""
    query = "SELECT group_id FROM telemetry WHERE id > ? ORDER BY id LIMIT 1"
    row = log.execute(query, (done_id,)).fetchone()
    return done_id if row is None else int(row[0]) - 1

"""Opening a data directory: what is there is kept, what is broken is set aside, never deleted.

Guarantees: an unusable directory raises `BufferPathError` with one clear sentence; anything else
starts without a human. Of a file that is torn, foreign or of a newer version, what can be read is
copied into a fresh file; then the damaged one is renamed (`telemetry.db.set-aside-<time>`) and
the fresh one takes its place; what is missing becomes a gap of cause `corruption`. A repair that
is cut off at any moment is done again, or completed, at the next start, and counts its gaps once.
A file that cannot be opened for a reason that passes (locked, disk full, no permission, a write
that fails) is no damage: that is a `BufferPathError`.

Under which log id it goes on is decided in `log_identity.py`.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from buffer.bookkeeping import load_pending_gaps, save_pending_gaps
from buffer.contract import Bounds, BufferPathError, Clock, Stream
from buffer.database import (
    APPLICATION_ID,
    RECORDS,
    RENEWED_FROM,
    STREAMS,
    TABLE,
    TELEMETRY,
    DamagedError,
    Database,
    migrations,
    verify_marker,
)
from buffer.door import Door
from buffer.jobs import EVICTED, RENEWED_CARRY, SALVAGED
from buffer.log_identity import finish_eviction, same_rows, settle_log_id
from buffer.outcome import Told
from buffer.patient import FILE_ATTEMPTS, UNREADABLE, asked
from buffer.salvage import carry_from, gaps_told, salvage
from buffer.unusable import PASSES, unusable

ResultT = TypeVar("ResultT")
VERIFY_WHOLE_BYTES = 64 << 20
EVERYTHING = 1 << 62
VERIFY_ROWS = 1_000
LOCK_ATTEMPTS = 5
LOCK_PAUSE_S = 0.02
"""An inspection holds the lock for microseconds to see whether it is free; that is waited out."""


@dataclass(slots=True)
class Opened:
    """A data directory that is ready. lock: handle that keeps other processes out."""

    telemetry: Database
    records: Database
    log_id: bytes
    lock: int
    notes: list[str] = field(default_factory=list)

    def state(self) -> dict[str, bytes]:
        """Named values as they were last committed."""
        rows = self.records.connection.execute("SELECT key, value FROM state")
        return {str(key): bytes(value) for key, value in rows}

    def use(self, path: Path, make: Callable[[], ResultT]) -> ResultT:
        """What `make` gives; BufferPathError where the files could be opened and not be read."""
        try:
            return make()
        except sqlite3.Error as failure:
            os.close(self.lock)
            raise unusable(path, failure) from failure

    def try_out(self, path: Path, now_ns: int) -> None:
        """Commit to both files what says nothing; where one does not take it, all is closed.

        Raises BufferPathError. A disk may take a small file and not what is written to these.
        """
        try:
            for database in (self.telemetry, self.records):
                database.begin()
                database.set_meta("tried_ns", now_ns)
                database.commit()
        except (sqlite3.Error, OSError) as failure:
            self.close()
            raise unusable(path, failure) from failure

    def close(self) -> None:
        """Let go of it all, unused."""
        self.telemetry.close()
        self.records.close()
        os.close(self.lock)

    def bounds(self) -> dict[Stream, Bounds]:
        """Sequences held of each stream."""
        heads = {**self.telemetry.heads, **self.records.heads}
        return {
            stream: Bounds(head.first_id - head.base, head.next_id - head.base)
            for stream, head in heads.items()
        }


def open_data_dir(path: Path, now_ns: int, verify_whole_bytes: int = VERIFY_WHOLE_BYTES) -> Opened:
    """Open both databases, repaired if need be; raises BufferPathError.

    Of files above verify_whole_bytes the newest VERIFY_ROWS rows are verified.
    """
    _check_path(path)
    lock = _lock(path)
    notes: list[str] = []
    try:
        try:
            return _opened(path, lock, now_ns, notes, verify_whole_bytes)
        except DamagedError as failure:  # met beyond what was verified: now all of it is
            notes.append(f"{failure}: both files were verified as a whole")
            return _opened(path, lock, now_ns, notes, EVERYTHING)
    except (sqlite3.Error, OSError) as failure:
        os.close(lock)
        raise unusable(path, failure) from failure
    except BaseException:
        os.close(lock)
        raise


def _opened(
    path: Path, lock: int, now_ns: int, notes: list[str], verify_whole_bytes: int
) -> Opened:
    telemetry, telemetry_whole = _open(
        path / "telemetry.db", TELEMETRY, now_ns, notes, verify_whole_bytes
    )
    try:
        records, records_whole = _open(
            path / "records.db", RECORDS, now_ns, notes, verify_whole_bytes
        )
    except BaseException:
        telemetry.close()
        raise
    try:
        for database in (telemetry, records):
            _take_over_gaps(database, records)
        if same_rows(telemetry, records):
            finish_eviction(telemetry, records)
        sure = telemetry_whole and records_whole
        is_verified = verify_whole_bytes == EVERYTHING
        log_id = settle_log_id(telemetry, records, notes, sure=sure, is_verified=is_verified)
    except BaseException:
        telemetry.close()
        records.close()
        raise
    return Opened(telemetry, records, log_id, lock, notes)


def verify(database: Database, verify_whole_bytes: int = VERIFY_WHOLE_BYTES) -> None:
    """Raise DamagedError (or sqlite3.Error) where a file does not hold what was written to it."""
    connection = database.connection
    marker = verify_marker(database.path)
    whole = marker.exists() or database.path.stat().st_size <= verify_whole_bytes
    if whole:
        report = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if report != "ok":
            raise DamagedError(str(report))
    for stream in STREAMS[database.kind]:
        head = database.heads[stream]
        start = head.base if whole else max(head.base, head.next_id - VERIFY_ROWS)
        _verify_chain(database, stream, start)
    marker.unlink(missing_ok=True)


def _verify_chain(database: Database, stream: Stream, after_id: int) -> None:
    before: tuple[int, bytes] | None = None
    rows = database.connection.execute(
        f"SELECT id, payload, hash FROM {TABLE[stream]} WHERE id > ? ORDER BY id",
        (after_id,),
    )
    for row in rows:
        database.check_row(stream, before, row)
        before = (row[0], row[2])


def _check_path(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as failure:
        raise unusable(path, failure, failure.strerror or "") from failure


def _lock(path: Path) -> int:
    try:
        handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as failure:
        raise unusable(path, failure, f"lock: {failure.strerror}") from failure
    for attempt in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failure:
            if attempt + 1 < LOCK_ATTEMPTS:
                time.sleep(LOCK_PAUSE_S)
                continue
            os.close(handle)
            text = f"Data directory {path} is in use by another process."
            raise BufferPathError(text) from failure
        break
    return handle


def _open(
    path: Path, kind: str, now_ns: int, notes: list[str], verify_whole_bytes: int
) -> tuple[Database, bool]:
    """Open a file that is there, or make one; tells whether its past is certain."""
    rebuilt = path.with_name(path.name + ".rebuilt")
    if rebuilt.exists() and not path.exists():
        _set_aside(path, now_ns)  # what is left of its WAL
        rebuilt.rename(path)
        notes.append(f"{path.name} was rebuilt: a repair that had been cut off was completed")
        return Database(path, kind), False
    _remove(rebuilt)
    if not path.exists():
        if kind == RECORDS and any((path.parent / "evidence").glob("*/*")):
            # Stands for the file that is gone: nothing that it may have named is collected.
            path.with_name(f"{path.name}.set-aside-{now_ns}-missing").touch()
            notes.append(
                f"{path.name} was missing: the evidence files found are kept, named or not"
            )
        return Database(path, kind), True
    if _never_used(path):
        return Database(path, kind), True
    try:
        return asked(lambda: _sound(path, kind, verify_whole_bytes), FILE_ATTEMPTS), True
    except sqlite3.DatabaseError as failure:
        reason = _damage(failure)
    notes.append(_rebuild(path, kind, now_ns, reason, _told_by_records(path, kind)))
    return Database(path, kind), False


def _never_used(path: Path) -> bool:
    """Tell whether an empty file is what a first start left that was cut off: nothing was lost."""
    folder = path.parent
    (other,) = {folder / "telemetry.db", folder / "records.db"} - {path}
    if not _is_empty(path) or any(folder.glob("*.set-aside-*")):
        return False
    if any((folder / "evidence").glob("*/*")):
        return False
    try:
        return not other.exists() or _is_empty(other) or not _named(other)
    except sqlite3.Error:
        return False


def _is_empty(path: Path) -> bool:
    return path.stat().st_size == 0 and not path.with_name(path.name + "-wal").exists()


def _sound(path: Path, kind: str, verify_whole_bytes: int) -> Database:
    """Open a file that holds what was written to it; raises DamagedError or sqlite3.Error."""
    _check_identity(path, kind)
    database = Database(path, kind)
    try:
        verify(database, verify_whole_bytes)
    except BaseException:
        database.close()
        raise
    return database


def _rebuild(
    path: Path, kind: str, now_ns: int, reason: str, told: Told, door: Door | None = None
) -> str:
    """Copy what can be read of a file that nobody writes to; only then set it aside."""
    rebuilt = path.with_name(path.name + ".rebuilt")
    _remove(rebuilt)
    fresh = Database(rebuilt, kind)
    try:
        salvage(path, fresh, now_ns, told)
        fresh.move_wal()
    finally:
        fresh.close()
    with door or Door():
        aside = _set_aside(path, now_ns)
        verify_marker(path).unlink(missing_ok=True)
        rebuilt.rename(path)
    _sync_folder(path.parent)
    return f"{path.name} was set aside as {aside.name}: {reason}"


class FileRepairs:
    """Verifies and repairs a file while the gateway runs; called by the writer of that file."""

    def __init__(self, clock: Clock, door: Door) -> None:
        self._clock = clock
        self._door = door

    def verify(self, path: Path, kind: str) -> str:
        """Why a file cannot be trusted, read anew through a connection of its own; else ""."""
        verify_marker(path).touch()  # a start after a crash looks at all of it, too
        try:
            asked(lambda: _sound(path, kind, EVERYTHING), FILE_ATTEMPTS).close()
        except sqlite3.DatabaseError as failure:
            return _damage(failure)
        return ""

    def rebuild(self, path: Path, kind: str, damage: str, told: Told) -> str:
        """Set a damaged file aside and put what can be read of it in its place."""
        return _rebuild(path, kind, self._clock.wall_ns(), damage, told, self._door)


def _told_by_records(path: Path, kind: str) -> Told:
    """What records.db says of a damaged file, as far as it can be read."""
    try:
        return asked(lambda: _told(path, kind))
    except (sqlite3.Error, ValueError):
        return Told({})


def _told(path: Path, kind: str) -> Told:
    with closing(_read_only(path.with_name("records.db"))) as source:
        if kind == RECORDS:
            return Told(carry_from(source))
        meta = dict(source.execute("SELECT key, value FROM meta").fetchall())
        named = _named(path)
        evicted = int(meta.get(EVICTED, 0))
        if named and named == meta.get("log_id"):
            return Told(carry_from(source), evicted)
        if named and named == meta.get(RENEWED_FROM):  # a renewal was cut off between the files
            return Told({Stream.TELEMETRY: int(meta.get(RENEWED_CARRY, 1))}, evicted)
    return Told({})


def _named(path: Path) -> bytes:
    with closing(_read_only(path)) as source:
        return _log_id(source)


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _log_id(source: sqlite3.Connection) -> bytes:
    row = source.execute("SELECT value FROM meta WHERE key = 'log_id'").fetchone()
    return b"" if row is None else bytes(row[0])


def _damage(failure: Exception) -> str:
    """Why a file is damaged; raises `failure` where that says nothing of what is in the file."""
    code = getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    primary = code & 0xFF
    if primary in PASSES or (primary == sqlite3.SQLITE_IOERR and code not in UNREADABLE):
        raise failure
    return str(failure)


def _remove(rebuilt: Path) -> None:
    """Delete what a repair that was cut off had copied; the damaged file is still there."""
    for suffix in ("", "-wal", "-shm"):
        rebuilt.with_name(rebuilt.name + suffix).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take_over_gaps(database: Database, records: Database) -> None:
    """Queue the gaps that a repair left in a rebuilt file for their gap records, once."""
    text = bytes(database.meta(SALVAGED, b""))
    if not text:
        return
    taken = f"{SALVAGED}.{database.kind}"
    if bytes(records.meta(taken, b"")) != text:
        records.begin()
        save_pending_gaps(records, [*load_pending_gaps(records), *gaps_told(text)])
        records.set_meta(taken, text)
        records.commit()
    database.begin()
    database.connection.execute("DELETE FROM meta WHERE key = ?", (SALVAGED,))
    database.commit()


def _check_identity(path: Path, kind: str) -> None:
    if _is_empty(path):
        raise DamagedError("the file is empty")
    connection = sqlite3.connect(path)
    try:
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    finally:
        connection.close()
    if tables and application != APPLICATION_ID[kind]:
        raise DamagedError("the file belongs to another program")
    if version > len(migrations(kind)):
        raise DamagedError(f"the file was written by a newer version (schema {version})")


def _set_aside(path: Path, now_ns: int) -> Path:
    aside = path.with_name(f"{path.name}.set-aside-{now_ns}")
    number = 0
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.set-aside-{now_ns}-{number}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside

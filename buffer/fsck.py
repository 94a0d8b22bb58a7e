"""What the next start would repair in a data directory, and doing it without a gateway.

Guarantees: `findings` writes nothing. While a gateway runs it asks only what short questions can
tell (no check of whole pages). `repair` takes the gateway's lock, does what a start does, and
leaves what was lost where the next start reports it as a gap record.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from buffer.contract import BufferPathError, Stream
from buffer.database import APPLICATION_ID, RECORDS, STREAMS, TELEMETRY, migrations, verify_marker
from buffer.inspection import Inspection, in_use
from buffer.recover import open_data_dir


def findings(path: Path) -> list[str]:
    """One sentence for each thing that the next start would repair; raises BufferPathError."""
    path = path.absolute()
    if not path.is_dir():
        raise BufferPathError(f"{path} is no directory.")
    files = [path / f"{kind}.db" for kind in STREAMS]
    if not any(file.exists() for file in files):
        raise BufferPathError(f"{path} holds no buffer (telemetry.db, records.db).")
    found: list[str] = []
    for kind, file in zip(STREAMS, files, strict=True):
        why = _damage(file, kind, is_whole=not in_use(path))
        if why:
            found.append(f"{file.name} would be set aside and rebuilt: {why}")
    if not found:
        with Inspection(path) as inspection:
            found += _damaged_streams(inspection)
            found += _disagreement(inspection)
            rows = inspection.promised_eviction()
            if rows:
                found.append(f"{rows} telemetry records of an unfinished eviction would be deleted")
    return found


def repair(path: Path, now_ns: int) -> list[str]:
    """Do what the next start would; gives its notes. BufferPathError where a gateway runs."""
    for kind in STREAMS:
        file = path / f"{kind}.db"
        if file.exists():
            verify_marker(file).touch()
    opened = open_data_dir(path, now_ns)
    try:
        for kind in STREAMS:
            verify_marker(path / f"{kind}.db").unlink(missing_ok=True)
    finally:
        opened.telemetry.close()
        opened.records.close()
        os.close(opened.lock)
    return opened.notes


def _damage(file: Path, kind: str, *, is_whole: bool) -> str:
    """Why a file cannot be trusted as a whole, or nothing."""
    if not file.exists():
        return "it is missing"
    if file.stat().st_size == 0 and not file.with_name(file.name + "-wal").exists():
        return "the file is empty"
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            return _damage_inside(connection, kind, is_whole=is_whole)
    except sqlite3.Error as failure:
        return str(failure)


def _damage_inside(connection: sqlite3.Connection, kind: str, *, is_whole: bool) -> str:
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if application != APPLICATION_ID[kind]:
        return "the file belongs to another program"
    if version > len(migrations(kind)):
        return f"the file was written by a newer version (schema {version})"
    if not is_whole:
        return ""
    report = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    return "" if report == "ok" else report


def _damaged_streams(inspection: Inspection) -> list[str]:
    found: list[str] = []
    for stream in Stream:
        verified = inspection.verify(stream)
        if verified.why:
            name = TELEMETRY if stream is Stream.TELEMETRY else RECORDS
            found.append(
                f"{name}.db would be set aside and rebuilt: {stream.name.lower()} record"
                f" {verified.bad}: {verified.why}"
            )
    return found


def _disagreement(inspection: Inspection) -> list[str]:
    if inspection.log_id(TELEMETRY) != inspection.log_id(RECORDS):
        return ["the log id would be new: the files do not agree on one past"]
    known = inspection.known_of_telemetry()
    held = inspection.held(Stream.TELEMETRY)
    if held.next <= known:
        return [
            f"the log id would be new: telemetry ends at {held.next - 1}, but {known} was there"
        ]
    return []


__all__ = ["findings", "repair"]

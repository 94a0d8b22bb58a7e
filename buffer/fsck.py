"""What the next start would repair in a data directory, and doing it without a gateway.

Guarantees: `findings` writes nothing. While a gateway runs it asks only what short questions can
tell (no check of whole pages). `repair` takes the gateway's lock, does what a start does, and
leaves what was lost where the next start reports it as a gap record.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from buffer.contract import BufferPathError, Stream
from buffer.database import (
    APPLICATION_ID,
    RECORDS,
    STREAMS,
    TELEMETRY,
    migrations,
    verify_marker,
)
from buffer.evidence import EvidenceFiles
from buffer.filing import names_held, names_uncertain, orphans
from buffer.inspection import Inspection, in_use
from buffer.reader import Reader
from buffer.recover import open_data_dir

NamedBy = Callable[[bytes], bytes]
"""Gives, by the payload of an evidence record, the SHA-256 of the file that it names, or b""."""


@dataclass(slots=True)
class Findings:
    """Sentences. repairs: what the next start would repair.  notes: what no start can."""

    repairs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def findings(path: Path, named_by: NamedBy) -> Findings:
    """What is wrong in a data directory, a sentence each; raises BufferPathError.

    Evidence files are looked at where the databases are sound.
    """
    path = path.absolute()
    if not path.is_dir():
        raise BufferPathError(f"{path} is no directory.")
    files = [path / f"{kind}.db" for kind in STREAMS]
    if not any(file.exists() for file in files):
        raise BufferPathError(f"{path} holds no buffer (telemetry.db, records.db).")
    found, notes = list[str](), list[str]()
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
            if not found:
                orphaned, notes = _evidence(inspection, named_by)
                found += orphaned
    return Findings(found, notes)


def repair(path: Path, now_ns: int, named_by: NamedBy) -> list[str]:
    """Do what the next start would; gives its notes. BufferPathError where a gateway runs."""
    for kind in STREAMS:
        file = path / f"{kind}.db"
        if file.exists():
            verify_marker(file).touch()
    opened = open_data_dir(path, now_ns)
    try:
        for kind in STREAMS:
            verify_marker(path / f"{kind}.db").unlink(missing_ok=True)
        if removed := _collect(path.absolute(), named_by):
            opened.notes.append(f"{removed} evidence files that no record names were deleted")
    finally:
        opened.telemetry.close()
        opened.records.close()
        os.close(opened.lock)
    return opened.notes


def _evidence(inspection: Inspection, named_by: NamedBy) -> tuple[list[str], list[str]]:
    """Orphans, which the next start deletes, and what is to be known of the rest.

    While a gateway runs nothing counts as an orphan: it may wait for its record.
    """
    path = inspection.path
    named = names_held(inspection.reader(RECORDS), named_by)
    lying = EvidenceFiles(path / "evidence", 0).names()
    found, notes = list[str](), list[str]()
    if missing := len(named - lying):
        notes.append(f"{missing} evidence files that records name are gone (quota, or damage)")
    alone = 0 if in_use(path) else len(orphans(lying, named, ()))
    if alone and names_uncertain(path):
        notes.append(
            f"{alone} evidence files that no record names are kept: a records.db was set aside or"
            " missing"
        )
    elif alone:
        found.append(f"{alone} evidence files that no record names would be deleted")
    return found, notes


def _collect(path: Path, named_by: NamedBy) -> int:
    """Delete what no record names; under the gateway's lock. Gives how many files that were."""
    if names_uncertain(path):
        return 0
    with closing(Reader(path / f"{RECORDS}.db")) as reader:
        named = names_held(reader, named_by)
    evidence = EvidenceFiles(path / "evidence", 0)
    return evidence.remove(orphans(evidence.names(), named, ()))


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


__all__ = ["Findings", "findings", "repair"]

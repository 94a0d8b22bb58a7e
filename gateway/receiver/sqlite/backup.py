"""A copy of a store in a folder, made beside its running receiver.

Guarantees: the database is that of one moment, and under its name only once everything is synced;
every evidence file that it speaks of is there, because files are copied after it (linked where
both are on one disk: a file is never changed). Only its owner can read a copy, whatever umask says:
it holds people's pictures. Parts of files are left out; their gateways send them again. The
receiver goes on; its WAL grows by what comes meanwhile.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from buffer.contract import Stream
from gateway.receiver.contract import StorePathError
from gateway.receiver.sqlite.store import DATABASE

_FOLDER, _FILE = 0o700, 0o600


class Made(NamedTuple):
    """Size of the database's copy, and how many evidence files lie beside it."""

    database_bytes: int
    files: int


def back_up(store: Path, target: Path, files: Path | None = None) -> Made:
    """Copy a store into a folder that is empty or not there. Raises StorePathError.

    files: where evidence files lie, if not in the store's own folder (`receive --files`).
    """
    try:
        if not (store / DATABASE).exists():
            raise StorePathError(f"{store} holds no store ({DATABASE} is not there)")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise StorePathError(f"{target} is not empty: name a new folder for each backup")
        target.mkdir(_FOLDER, parents=True, exist_ok=True)
        part = target / f"{DATABASE}.part"
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE))
        source = f"{(store / DATABASE).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(source, uri=True)) as db, closing(sqlite3.connect(part)) as to:
            db.backup(to)
            named = _speaks_of_evidence(to)
        _sync(part)
        count = _files(files or store / "evidence", target / "evidence")
        if named and not count and files is None:
            raise StorePathError(
                f"{store} has records of evidence files and none of these: name the folder that"
                " the receiver was given (--files DIR); the copy is not whole"
            )
        part.replace(target / DATABASE)
        _sync(target)
        return Made((target / DATABASE).stat().st_size, count)
    except sqlite3.Error as error:
        raise StorePathError(f"store {store} cannot be copied: {error}") from error
    except OSError as error:
        raise StorePathError(f"{error.filename or target}: {error.strerror}") from error


def _speaks_of_evidence(db: sqlite3.Connection) -> bool:
    query = (  # by the keys of each log, since a store may hold more than can be read through
        "SELECT EXISTS (SELECT 1 FROM logs WHERE EXISTS (SELECT 1 FROM records WHERE id >="
        " (logs.id * 4 + :stream - 1) << 40 AND id < (logs.id * 4 + :stream) << 40))"
    )
    return bool(db.execute(query, {"stream": int(Stream.EVIDENCE)}).fetchone()[0])


def _files(source: Path, target: Path) -> int:
    """Copy what is there; a file that goes meanwhile is not of the store any more."""
    count = 0
    for folder in sorted(source.glob("[0-9a-f][0-9a-f]")):
        place = target / folder.name
        target.mkdir(_FOLDER, exist_ok=True)
        place.mkdir(_FOLDER, exist_ok=True)
        for file in folder.iterdir():
            try:
                _copy(file, place / file.name)
            except FileNotFoundError:
                continue
            count += 1
        _sync(place)
    return count


def _copy(file: Path, copy: Path) -> None:
    try:
        os.link(file, copy)
    except OSError:  # another disk, or one without links
        shutil.copyfile(file, copy)
        copy.chmod(_FILE)
        _sync(copy)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

"""A copy of a store in a folder, made beside its running receiver.

Guarantees: the database is that of one moment, synced, and under its name only once it is whole;
every evidence file that it speaks of is there, because files are copied after it (linked where
both are on one disk: a file is never changed). Parts of files are left out; their gateways send
them again. The receiver goes on; its WAL grows by what comes meanwhile.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from gateway.receiver.contract import StorePathError
from gateway.receiver.sqlite.store import DATABASE


class Made(NamedTuple):
    """Size of the database's copy, and how many evidence files lie beside it."""

    database_bytes: int
    files: int


def back_up(store: Path, target: Path) -> Made:
    """Copy a store into a folder that is empty or not there. Raises StorePathError."""
    if not (store / DATABASE).is_file():
        raise StorePathError(f"{store} holds no store ({DATABASE} is not there)")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StorePathError(f"{target} is not empty: name a new folder for each backup")
    try:
        target.mkdir(parents=True, exist_ok=True)
        part = target / f"{DATABASE}.part"
        source = f"{(store / DATABASE).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(source, uri=True)) as db, closing(sqlite3.connect(part)) as to:
            db.backup(to)
        _sync(part)
        part.replace(target / DATABASE)
        files = _files(store / "evidence", target / "evidence")
        _sync(target)
    except sqlite3.Error as error:
        raise StorePathError(f"store {store} cannot be copied: {error}") from error
    except OSError as error:
        raise StorePathError(f"{error.filename or target}: {error.strerror}") from error
    return Made((target / DATABASE).stat().st_size, files)


def _files(source: Path, target: Path) -> int:
    count = 0
    for folder in sorted(source.glob("[0-9a-f][0-9a-f]")):
        place = target / folder.name
        place.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            try:
                os.link(file, place / file.name)
            except OSError:  # another disk, or one without links
                shutil.copyfile(file, place / file.name)
                _sync(place / file.name)
            count += 1
        _sync(place)
    return count


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

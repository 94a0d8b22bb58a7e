"""What only the SQLite store has: a folder, a lock, a file that may be something else."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.receiver.contract import StorePathError
from gateway.receiver.sqlite.store import DATABASE, SqliteStore


def test_one_receiver_at_a_time(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    with pytest.raises(StorePathError, match="in use"):
        SqliteStore.open(tmp_path)
    store.close()
    SqliteStore.open(tmp_path).close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StorePathError, match="file"):
        SqliteStore.open(file)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / DATABASE).write_bytes(b"this is no database" * 100)
    with pytest.raises(StorePathError, match="not a database"):
        SqliteStore.open(tmp_path / "store")


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    SqliteStore.open(tmp_path).close()
    db = sqlite3.connect(tmp_path / DATABASE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorePathError, match="newer version"):
        SqliteStore.open(tmp_path)

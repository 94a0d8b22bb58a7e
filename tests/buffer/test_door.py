"""A file that is put in another's place is never opened by halves."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buffer.contract import Stream
from buffer.database import RECORDS
from buffer.door import Door
from buffer.outcome import Told
from buffer.recover import FileRepairs
from tests.buffer.conftest import HandClock
from tests.buffer.test_store import add

if TYPE_CHECKING:
    from tests.buffer.conftest import OpenBuffer


def made(path: Path, value: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (?)", (value,))
    return connection


def test_who_came_before_a_swap_reads_the_former_file_and_disturbs_nobody(tmp_path: Path) -> None:
    """Asked nothing before, SQLite 3.40 gives rows of both and cuts the writer's -shm short."""
    path, door = tmp_path / "a.db", Door()
    writer = made(path, 1)
    with closing(door.opened(path)) as reader:
        writer.close()
        made(tmp_path / "b.db", 2).close()
        with door:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).rename(tmp_path / f"aside{suffix}")
            (tmp_path / "b.db").rename(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as fresh:
            fresh.execute("INSERT INTO t VALUES (3)")
            assert reader.execute("SELECT x FROM t").fetchall() == [(1,)]
            fresh.execute("INSERT INTO t VALUES (4)")
            reader.close()
            fresh.execute("INSERT INTO t VALUES (5)")
            assert fresh.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(door.opened(path)) as reader:
        assert reader.execute("SELECT x FROM t").fetchall() == [(2,), (3,), (4,), (5,)]


async def test_a_repair_moves_no_file_while_another_thread_opens_it(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    async with open_buffer() as log:
        await add(log, 1.0)
        await log.add_record(Stream.ALARM, b"alarm")
    path, door = tmp_path / "data" / "records.db", Door()
    before = path.stat().st_ino
    work = threading.Thread(
        target=FileRepairs(clock, door).rebuild, args=(path, RECORDS, "a test", Told({}))
    )
    with door:
        work.start()
        work.join(1)
        assert path.stat().st_ino == before
        assert work.is_alive()
    work.join()
    assert path.stat().st_ino != before


def test_a_file_that_cannot_be_read_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Door().opened(tmp_path / "a.db")
    with pytest.raises(sqlite3.OperationalError):
        Door().opened(tmp_path / "missing.db")

"""Where a store lives, for one suite over all engines: what contract.py promises, each keeps.

A `Place` can be opened again, copied away and put back, as a person restores a backup. Test modules
import the fixtures `place` and `store`.
"""

from __future__ import annotations

import contextlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from buffer.contract import Stream
from gateway.receiver.check import Entry
from gateway.receiver.contract import (
    Greeting,
    Known,
    Reader,
    Store,
    Stored,
    Work,
)
from gateway.receiver.stores import open_reader, open_store
from tests.peers import postgres

DAY_NS = 86_400 * 1_000_000_000
NOW_NS = 1_700_000_000_000_000_000
LOG_ID = b"L" * 16


class Place(ABC):
    """Where one store lives."""

    target: str

    def store(self) -> Store:
        return open_store(self.target)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reader]:
        with contextlib.closing(open_reader(self.target)) as reader:
            yield reader

    @abstractmethod
    def backup(self) -> None: ...

    @abstractmethod
    def restore(self) -> None: ...

    @abstractmethod
    def make_newer(self) -> None:
        """Pretend that a later version of the program made it."""


class FolderPlace(Place):
    def __init__(self, folder: Path) -> None:
        self.target = str(folder / "store")
        self._copy = folder / "copy"

    def backup(self) -> None:
        shutil.copytree(self.target, self._copy)

    def restore(self) -> None:
        shutil.rmtree(self.target)
        shutil.copytree(self._copy, self.target)

    def make_newer(self) -> None:
        import sqlite3

        db = sqlite3.connect(f"{self.target}/receiver.db")
        db.execute("PRAGMA user_version = 99")
        db.close()


class PostgresPlace(Place):
    def __init__(self, server: postgres.Postgres) -> None:
        self.server = server
        self.target = server.database()

    def backup(self) -> None:
        self._template(self._name, self._name + "_copy")

    def restore(self) -> None:
        self.server.drop(self.target)
        self._template(self._name + "_copy", self._name)

    def make_newer(self) -> None:
        with psycopg.connect(self.target) as db:
            db.execute("INSERT INTO plantgate.migrations VALUES (99)")

    @property
    def _name(self) -> str:
        return self.target.rpartition("/")[2]

    def _template(self, old: str, new: str) -> None:
        with psycopg.connect(self.server.address, autocommit=True) as db:
            db.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(new), sql.Identifier(old)
                )
            )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.peer)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return FolderPlace(tmp_path)
    return PostgresPlace(request.getfixturevalue("postgres_server"))


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with contextlib.closing(place.store()) as opened:
        yield opened


def entry(
    sequence: int, content: int = 1, group: int = 0, catalogue: bytes = b"", *, time_ns: int = 0
) -> Entry:
    return Entry(
        sequence, bytes([content]) * 32, b"p" * 32, time_ns or NOW_NS + sequence, 1, b"B" * 16, 0,
        True, False, group or sequence, catalogue, 1, bytes([content]),
    )  # fmt: skip


def chained(*contents: int) -> list[Entry]:
    """Records from 1 on, each with the hash of the one before it."""
    hashes = [bytes(32), *(bytes([content]) * 32 for content in contents)]
    return [
        entry(number, content)._replace(previous_hash=hashes[number - 1])
        for number, content in enumerate(contents, 1)
    ]


def greet(store: Store, gateway: str = "G-1", log_id: bytes = LOG_ID, *named: bytes) -> Known:
    [known] = store.apply([Greeting(gateway, "91370800TEST", "test/1", log_id, named)], NOW_NS)
    assert isinstance(known, Known)
    return known


def put(store: Store, work: Work, now_ns: int = NOW_NS) -> Stored:
    [stored] = store.apply([work], now_ns)
    assert isinstance(stored, Stored)
    return stored


def held(place: Place, stream: Stream = Stream.ALARM) -> list[tuple[int, bytes]]:
    with place.reading() as reader:
        return [
            (record.sequence, record.payload)
            for log in reader.logs()
            for record in reader.records(log, stream)
        ]


def kinds(place: Place) -> list[tuple[str, int, int]]:
    with place.reading() as reader:
        return [
            (fault.kind, fault.sequence, fault.count)
            for log in reader.logs()
            for fault in reader.faults(log)
        ]

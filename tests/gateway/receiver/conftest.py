"""A receiver in this process, on a port of its own."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.receiver import requests
from gateway.receiver.evidence import EvidenceFiles
from gateway.receiver.gate import Gate
from gateway.receiver.service import Receiver, Tls
from gateway.receiver.sqlite.store import SqliteStore
from gateway.runtime.clock import SystemClock
from tests.gateway.receiver.serving import serving
from tests.peers import postgres


@dataclass
class Running:
    """A receiver that serves, where it listens and where it stores."""

    receiver: Receiver
    target: str
    folder: Path

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database beside the running receiver."""
        db = sqlite3.connect(f"file:{self.folder / 'receiver.db'}?mode=ro", uri=True)
        try:
            return db.execute(query).fetchall()
        finally:
            db.close()


@contextlib.asynccontextmanager
async def _running(
    folder: Path, tls: Tls | None = None, gate: Gate | None = None
) -> AsyncIterator[Running]:
    with contextlib.closing(SqliteStore.open(folder)) as store:
        receiver = Receiver(store, EvidenceFiles(folder / "evidence"), SystemClock(), tls, gate)
        async with serving(receiver) as port:
            yield Running(receiver, f"127.0.0.1:{port}", folder)


RunReceiver = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def run_receiver(monkeypatch: pytest.MonkeyPatch) -> RunReceiver:
    """Context manager that runs a receiver over a folder; use it again for a restart.

    It waits for a gateway's answer longer than for a person's sake: the machine may stall.
    """
    monkeypatch.setattr(requests, "ANSWER_SECONDS", 90.0)
    return _running


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """A real PostgreSQL for the whole session; each test makes a database of its own."""
    postgres.require()
    server = postgres.Postgres()
    server.start()
    yield server
    server.close()

"""Group commit: what waits shares a commit, urgent work goes first, a failure is nobody's loss."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from threading import Event

import pytest

from buffer.contract import Stream
from gateway.receiver import commit
from gateway.receiver.commit import Committer
from gateway.receiver.contract import (
    Entries,
    Gaps,
    Greeting,
    Known,
    Outcome,
    Seen,
    StoreFailedError,
    Work,
)
from gateway.receiver.sqlite.store import SqliteStore
from gateway.runtime.clock import SystemClock


class Disk(SqliteStore):
    """A real store whose commits can be held back or made to fail."""

    def __init__(self, directory: Path) -> None:
        lock = (directory / "lock").open("w", encoding="ascii")
        super().__init__(directory, lock)
        self.groups: list[Sequence[Work]] = []
        self.go = Event()
        self.go.set()
        self.held_back = Event()
        self.broken = False

    def apply(self, works: Iterable[Work], now_ns: int) -> list[Outcome]:
        group = list(works)
        self.groups.append(group)
        if not self.go.is_set():
            self.held_back.set()
            self.go.wait(30)
        if self.broken:
            raise StoreFailedError("disk I/O error")
        return super().apply(group, now_ns)


@contextlib.asynccontextmanager
async def running(disk: Disk) -> AsyncIterator[Committer]:
    committer = Committer(disk, SystemClock())
    async with asyncio.TaskGroup() as group:
        group.create_task(committer.run())
        try:
            yield committer
        finally:
            disk.go.set()
            committer.stop()
    disk.close()


async def greeted(committer: Committer) -> int:
    known = await (await committer.submit(Greeting("G", "", "", b"L" * 16), 0, urgent=True))
    assert isinstance(known, Known)
    return known.log


async def test_what_comes_during_a_commit_shares_the_next(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    async with running(disk) as committer:
        log = await greeted(committer)
        disk.go.clear()
        bulk = [Gaps(log, Stream.TELEMETRY, [(n, n + 1)]) for n in range(1, 11)]
        first = await committer.submit(bulk[0], 10, urgent=False)
        assert await asyncio.to_thread(disk.held_back.wait, 30)
        futures = [await committer.submit(work, 10, urgent=False) for work in bulk[1:]]
        urgent = Gaps(log, Stream.ALARM, [(1, 2)])
        futures.append(await committer.submit(urgent, 10, urgent=True))
        committer.note_seen(Seen(log, b"status"))
        disk.go.set()
        for future in (first, *futures):
            await future
        assert disk.groups[1:] == [bulk[:1], [urgent, *bulk[1:], Seen(log, b"status")]]


async def test_a_full_queue_makes_bulk_wait_and_urgent_work_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "QUEUE_BYTES", 100)
    disk = Disk(tmp_path)
    async with running(disk) as committer, asyncio.TaskGroup() as group:
        log = await greeted(committer)
        disk.go.clear()
        work = Gaps(log, Stream.TELEMETRY, [(1, 2)])
        await committer.submit(work, 0, urgent=False)
        assert await asyncio.to_thread(disk.held_back.wait, 30)
        await committer.submit(work, 100, urgent=False)
        waits = group.create_task(committer.submit(work, 100, urgent=False))
        await asyncio.sleep(0)
        await committer.submit(Gaps(log, Stream.ALARM, [(1, 2)]), 100, urgent=True)
        assert not waits.done()
        disk.go.set()
        await (await waits)


async def test_a_failed_commit_fails_its_works_and_the_next_one_works(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    async with running(disk) as committer:
        log = await greeted(committer)
        disk.broken = True
        work = Entries(log, Stream.ALARM, [])
        future = await committer.submit(work, 10, urgent=True)
        with pytest.raises(StoreFailedError, match="disk I/O error"):
            await future
        disk.broken = False
        await (await committer.submit(work, 10, urgent=True))


async def test_stop_commits_what_is_queued_and_takes_nothing_more(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    committer = Committer(disk, SystemClock())
    async with asyncio.TaskGroup() as group:
        group.create_task(committer.run())
        log = await greeted(committer)
        futures = [
            await committer.submit(Gaps(log, Stream.ALARM, [(n, n + 1)]), 10, urgent=False)
            for n in range(1, 100)
        ]
        committer.note_seen(Seen(log, b"last"))
        committer.stop()
        with pytest.raises(StoreFailedError, match="stopping"):
            await committer.submit(Gaps(log, Stream.ALARM, [(1, 2)]), 10, urgent=True)
    assert all(future.done() for future in futures)
    disk.close()
    db = sqlite3.connect(tmp_path / "receiver.db")
    assert db.execute("SELECT stop FROM ranges").fetchall() == [(100,)]
    assert db.execute("SELECT status FROM gateways").fetchall() == [(b"last",)]
    db.close()

"""Group commit: what waits shares a commit, urgent work goes first, a failure is nobody's loss."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffer.contract import Stream
from gateway.receiver import commit
from gateway.receiver.commit import Committer, PastLimit, Turn
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
            self.go.wait(60)
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
    known = await (await committer.submit(Greeting("G", "", "", b"L" * 16), 0, Turn.URGENT))
    assert isinstance(known, Known)
    return known.log


async def test_what_comes_during_a_commit_shares_the_next(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    async with running(disk) as committer:
        log = await greeted(committer)
        disk.go.clear()
        bulk = [Gaps(log, Stream.TELEMETRY, [(n, n + 1)]) for n in range(1, 11)]
        first = await committer.submit(bulk[0], 10, Turn.PAST)
        assert await asyncio.to_thread(disk.held_back.wait, 60)
        futures = [await committer.submit(work, 10, Turn.PAST) for work in bulk[1:]]
        urgent = Gaps(log, Stream.ALARM, [(1, 2)])
        futures.append(await committer.submit(urgent, 10, Turn.URGENT))
        committer.note_seen(Seen(log, b"status"))
        disk.go.set()
        for future in (first, *futures):
            await future
        assert disk.groups[1:] == [bulk[:1], [urgent, *bulk[1:], Seen(log, b"status")]]


async def test_what_is_live_passes_a_backlog_and_the_backlog_goes_on(tmp_path: Path) -> None:
    """Each in commits of its own by turns: however much waits, live waits for one part of it."""
    disk, much = Disk(tmp_path), commit.COMMIT_BYTES // 4  # what a first commit of the past takes
    async with running(disk) as committer:
        log = await greeted(committer)
        past = [Gaps(log, Stream.TELEMETRY, [(n, n + 1)]) for n in range(1, 6)]
        live = [Gaps(log, Stream.TELEMETRY, [(n, n + 1)]) for n in range(100, 102)]
        alarm = Gaps(log, Stream.ALARM, [(1, 2)])
        disk.go.clear()
        futures = [await committer.submit(past[0], much, Turn.PAST)]
        assert await asyncio.to_thread(disk.held_back.wait, 60)
        futures += [await committer.submit(work, much, Turn.PAST) for work in past[1:]]
        futures += [await committer.submit(work, 10, Turn.LIVE) for work in live]
        futures.append(await committer.submit(alarm, 10, Turn.URGENT))
        disk.go.set()
        for future in futures:
            await future
        first, then, *others = disk.groups[1:]
        assert (first, then) == ([past[0]], [alarm, *live])
        assert [work for group in others for work in group] == past[1:]


async def test_little_of_the_past_needs_no_commit_of_its_own(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    async with running(disk) as committer:
        log = await greeted(committer)
        disk.go.clear()
        works = [Gaps(log, Stream.TELEMETRY, [(n, n + 1)]) for n in range(3)]
        futures = [await committer.submit(works[0], 10, Turn.LIVE)]
        assert await asyncio.to_thread(disk.held_back.wait, 60)
        futures.append(await committer.submit(works[1], commit.ASIDE_BYTES, Turn.PAST))
        futures.append(await committer.submit(works[2], 10, Turn.LIVE))
        disk.go.set()
        for future in futures:
            await future
        assert disk.groups[1:] == [[works[0]], [works[2], works[1]]]


async def test_neither_live_nor_past_starves_while_both_go_on(tmp_path: Path) -> None:
    disk, much = Disk(tmp_path), commit.COMMIT_BYTES // 4
    async with running(disk) as committer, asyncio.TaskGroup() as group:
        log = await greeted(committer)

        async def go_on(turn: Turn) -> None:
            for number in range(20):
                await (await committer.submit(Seen(log, bytes([number])), much, turn))

        for _ in range(4):
            group.create_task(go_on(Turn.PAST))
            group.create_task(go_on(Turn.LIVE))
    # Every future was answered, or the group would not have ended.
    assert sum(len(works) for works in disk.groups[1:]) == 160


@given(
    speeds=st.lists(st.floats(1e4, 1e9), min_size=1, max_size=50),
    fixed_s=st.floats(0, 3, allow_nan=False),
)
def test_the_limit_of_the_past_follows_the_disk_within_its_bounds(
    speeds: list[float], fixed_s: float
) -> None:
    limit = PastLimit()
    for speed in speeds:
        limit.took(limit.size_bytes, fixed_s + limit.size_bytes / speed)
        assert commit.PAST_LEAST_BYTES <= limit.size_bytes <= commit.COMMIT_BYTES
    for _ in range(40):
        limit.took(limit.size_bytes, limit.size_bytes / 6e6)
    assert 0.2 < limit.size_bytes / 6e6 < 0.3, "a quarter of a second at 6 MB/s"
    before = limit.size_bytes
    limit.took(before, 10.0)
    assert limit.size_bytes > before // 2, "one slow sync does not halve it"
    limit.took(10, 10.0)
    assert limit.size_bytes > before // 2, "a small commit says nothing"


@pytest.mark.parametrize("turn", [Turn.LIVE, Turn.PAST])
async def test_a_full_queue_makes_its_own_wait_and_others_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: Turn
) -> None:
    monkeypatch.setattr(commit, "QUEUE_BYTES", 200)
    disk = Disk(tmp_path)
    async with running(disk) as committer, asyncio.TaskGroup() as group:
        log = await greeted(committer)
        disk.go.clear()
        work = Gaps(log, Stream.TELEMETRY, [(1, 2)])
        await committer.submit(work, 0, turn)
        assert await asyncio.to_thread(disk.held_back.wait, 60)
        await committer.submit(work, 100, turn)
        waits = group.create_task(committer.submit(work, 100, turn))
        await asyncio.sleep(0)
        for other in set(Turn) - {turn}:
            await committer.submit(Gaps(log, Stream.ALARM, [(1, 2)]), 100, other)
        assert not waits.done()
        disk.go.set()
        await (await waits)


async def test_a_failed_commit_fails_its_works_and_the_next_one_works(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    async with running(disk) as committer:
        log = await greeted(committer)
        disk.broken = True
        work = Entries(log, Stream.ALARM, [])
        future = await committer.submit(work, 10, Turn.URGENT)
        with pytest.raises(StoreFailedError, match="disk I/O error"):
            await future
        disk.broken = False
        await (await committer.submit(work, 10, Turn.URGENT))


async def test_what_waited_for_room_when_a_commit_failed_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names a log by a number of before; the store that is there now may be another one."""
    monkeypatch.setattr(commit, "QUEUE_BYTES", 200)
    disk = Disk(tmp_path)
    async with running(disk) as committer, asyncio.TaskGroup() as group:
        log = await greeted(committer)
        disk.go.clear()
        work = Gaps(log, Stream.TELEMETRY, [(1, 2)])
        first = await committer.submit(work, 0, Turn.PAST)
        assert await asyncio.to_thread(disk.held_back.wait, 60)
        await committer.submit(work, 100, Turn.PAST)
        waits = group.create_task(outcome_of(committer, Gaps(log, Stream.TELEMETRY, [(7, 8)])))
        await asyncio.sleep(0)
        disk.broken = True
        disk.go.set()
        with pytest.raises(StoreFailedError):
            await first
        disk.broken = False
        assert await waits == "the store failed meanwhile"
        late = committer.speaker()
        disk.broken = True
        with pytest.raises(StoreFailedError):
            await (await committer.submit(work, 0, Turn.URGENT))
        disk.broken = False
        with pytest.raises(StoreFailedError, match="meanwhile"):
            await late.submit(work, 0, Turn.URGENT)
    db = sqlite3.connect(tmp_path / "receiver.db")
    assert db.execute("SELECT * FROM ranges").fetchall() == []
    db.close()


async def outcome_of(committer: Committer, work: Work) -> str:
    """Why a work of the past that had to wait for room was not stored; "" where it was."""
    try:
        await (await committer.submit(work, 100, Turn.PAST))
    except StoreFailedError as error:
        return str(error)
    return ""


async def test_stop_commits_what_is_queued_and_takes_nothing_more(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    committer = Committer(disk, SystemClock())
    async with asyncio.TaskGroup() as group:
        group.create_task(committer.run())
        log = await greeted(committer)
        futures = [
            await committer.submit(Gaps(log, Stream.ALARM, [(n, n + 1)]), 10, Turn.PAST)
            for n in range(1, 100)
        ]
        committer.note_seen(Seen(log, b"last"))
        committer.stop()
        with pytest.raises(StoreFailedError, match="stopping"):
            await committer.submit(Gaps(log, Stream.ALARM, [(1, 2)]), 10, Turn.URGENT)
    assert all(future.done() for future in futures)
    disk.close()
    db = sqlite3.connect(tmp_path / "receiver.db")
    assert db.execute("SELECT stop FROM ranges").fetchall() == [(100,)]
    assert db.execute("SELECT status FROM gateways").fetchall() == [(b"last",)]
    db.close()

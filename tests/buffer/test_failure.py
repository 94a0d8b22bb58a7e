"""Commits that fail: bounded attempts, receipts that say so, and recovery without a hand."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from buffer.block import BlockDecoder
from buffer.contract import NotStoredError, Signer, Stream
from buffer.ranges import RangeSet
from buffer.store import Buffer
from tests.buffer.test_eviction import gaps_of
from tests.buffer.test_store import GOOD, POINTS, START_NS, add, check_chain, everything

if TYPE_CHECKING:
    from tests.buffer.conftest import HandClock, OpenBuffer


@contextmanager
def blocked(path: Path) -> Iterator[None]:
    """Another connection holds the write lock, so that every commit fails."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def test_telemetry_that_cannot_be_stored_fails_and_recovers(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer(attempts=2, lock_wait_ms=1) as log:
        await add(log, 1.0)
        with blocked(tmp_path / "data" / "telemetry.db"):
            with pytest.raises(NotStoredError, match="locked"):
                await add(log, 2.0)
            assert not log.health()[0]
            assert await log.add_record(Stream.ALARM, b"alarm") == 1
        await add(log, 3.0)
        assert log.health()[0]
        records = await everything(log, Stream.TELEMETRY)
        check_chain(records)
        assert [record.group for record in records] == [1, 2]
        values = [BlockDecoder().feed(record.payload)[0].values[0] for record in records]
        assert values == [1.0, 3.0]
    async with open_buffer() as log:
        found = gaps_of(await everything(log, Stream.EVENT))
        assert found == {("TELEMETRY", "io_error"): (0, 0, 10)}


async def test_an_alarm_that_finds_no_disk_is_told_at_once_and_stored_once_later(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    told: list[tuple[bytes, bool]] = []
    async with open_buffer(attempts=2, lock_wait_ms=1) as log:
        log.add_volatile_listener(lambda found, volatile: told.extend(
            (one.payload, volatile) for one in found))  # fmt: skip
        with blocked(tmp_path / "data" / "records.db"):
            with pytest.raises(NotStoredError, match="locked"):
                await log.add_record(Stream.ALARM, b"first", state={"k": b"1"})
            assert log.state("k") == b""
            assert not log.health()[0]
            assert told == [(b"first", True)]
            second = log.add_record(Stream.ALARM, b"second", state={"k": b"2"})
            assert told == [(b"first", True), (b"second", True)], "before it was even tried"
            with pytest.raises(NotStoredError):
                await second
            assert [one.payload for one in log.volatile()] == [b"first", b"second"]
            with pytest.raises(NotStoredError):
                await log.add_record(Stream.EVENT, b"an event is only counted")
        assert await log.add_record(Stream.ALARM, b"third", state={"k": b"3"}) == 3
        assert log.health()[0]
        assert log.state("k") == b"3"
        assert told[2:] == [
            (b"third", True), (b"first", False), (b"second", False), (b"third", False),
        ]  # fmt: skip
        assert log.volatile() == []
        stored = await everything(log, Stream.ALARM)
        assert [one.payload for one in stored] == [b"first", b"second", b"third"]
        check_chain(stored)
    async with open_buffer() as log:
        found = gaps_of(await everything(log, Stream.EVENT))
        assert found == {("EVENT", "io_error"): (0, 0, 1)}
        assert len(await everything(log, Stream.ALARM)) == 3


async def test_a_held_alarm_is_stored_without_another_one_to_wake_the_disk(
    open_buffer: OpenBuffer, tmp_path: Path, clock: HandClock
) -> None:
    async with open_buffer(attempts=1, lock_wait_ms=1) as log:
        with blocked(tmp_path / "data" / "records.db"), pytest.raises(NotStoredError):
            await log.add_record(Stream.ALARM, b"alone")
        stored = asyncio.Event()
        log.add_volatile_listener(lambda _, volatile: None if volatile else stored.set())
        clock.advance(6)
        log.set_destinations({})
        log.acknowledge("province", Stream.ALARM, RangeSet())  # saves cursors: wakes the writer
        async with asyncio.timeout(120):
            await stored.wait()
        assert [one.payload for one in await everything(log, Stream.ALARM)] == [b"alone"]


async def test_an_alarm_that_waits_for_a_slow_disk_is_told_after_a_second(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    told: list[bool] = []
    async with open_buffer(attempts=1, lock_wait_ms=60_000) as log:
        log.add_volatile_listener(lambda _, volatile: told.append(volatile))
        with blocked(tmp_path / "data" / "records.db"):
            receipt = log.add_record(Stream.ALARM, b"slow")
            await asyncio.sleep(0.05)
            assert told == []
            log._alarms._clock.advance(1)  # type: ignore[attr-defined]  # the hand-set clock
            log._alarms._overdue()  # what the timer does
            assert told == [True]
            assert not receipt.done()
        assert await receipt == 1
        assert told == [True, False]


@contextmanager
def unreadable(path: Path, table: str) -> Iterator[None]:
    """Another hand has renamed a table, so that a question about it fails, and nothing else."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"ALTER TABLE {table} RENAME TO away")
    try:
        yield
    finally:
        connection.execute(f"ALTER TABLE away RENAME TO {table}")
        connection.close()


async def test_an_alarm_whose_commit_took_place_before_a_question_failed_is_stored_once(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer(attempts=1) as log:
        await log.add_record(Stream.ALARM, b"before")
        with unreadable(tmp_path / "data" / "records.db", "evidence"), suppress(NotStoredError):
            await log.add_record(Stream.ALARM, b"one")
        await log.add_record(Stream.ALARM, b"two")
        assert log.health()[0]
        stored = await everything(log, Stream.ALARM)
        check_chain(stored)
        assert [one.payload for one in stored] == [b"before", b"one", b"two"]
    async with open_buffer() as log:
        assert gaps_of(await everything(log, Stream.EVENT)) == {}
        assert len(await everything(log, Stream.ALARM)) == 3


@contextmanager
def gone(path: Path) -> Iterator[None]:
    """The file is away, and its name is taken: it can be neither written to nor opened anew."""
    away = path.with_suffix(".away")
    with blocked(path):
        path.rename(away)
        path.mkdir()
        try:
            yield
        finally:
            path.rmdir()
            away.rename(path)


async def test_a_file_that_cannot_be_opened_any_more_is_told_so_and_ends_quietly(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        async with open_buffer(attempts=2, lock_wait_ms=1) as log:
            assert await log.add_record(Stream.ALARM, b"stored") == 1
            stack.enter_context(gone(tmp_path / "data" / "records.db"))
            for payload in (b"second", b"third"):
                with pytest.raises(NotStoredError, match="unable to open"):
                    await log.add_record(Stream.ALARM, payload)
                assert "unable to open" in log.health()[1], log.health()
            assert [one.payload for one in log.volatile()] == [b"second", b"third"]
    async with open_buffer() as log:
        assert [one.payload for one in await everything(log, Stream.ALARM)] == [b"stored"]


@contextmanager
def ageless(path: Path, table: str) -> Iterator[None]:
    """How old a table's records are cannot be asked, all else can."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME COLUMN time_ns TO away")
    yield
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME COLUMN away TO time_ns")


async def test_a_question_that_fails_while_the_last_is_written_ends_nothing_else(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    records = tmp_path / "data" / "records.db"
    with ExitStack() as stack:
        async with open_buffer(attempts=1, lock_wait_ms=1) as log:
            with blocked(records), pytest.raises(NotStoredError, match="locked"):
                await log.add_record(Stream.ALARM, b"held")
            stack.enter_context(ageless(records, "evidence"))
    async with open_buffer() as log:
        assert [one.payload for one in await everything(log, Stream.ALARM)] == [b"held"]


async def test_file_changed_by_another_hand_is_not_written_to(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer(attempts=2, lock_wait_ms=1) as log:
        await add(log, 1.0)
        await add(log, 2.0)
        other = sqlite3.connect(tmp_path / "data" / "telemetry.db", isolation_level=None)
        other.execute("DELETE FROM telemetry WHERE id = 2")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotStoredError):
            await add(log, 3.0)
        other.execute("ROLLBACK")
        other.close()
        with pytest.raises(NotStoredError, match="not what was written"):
            await add(log, 4.0)


async def test_use_outside_of_with_is_an_error(open_buffer: OpenBuffer) -> None:
    log: Buffer = open_buffer()
    with pytest.raises(RuntimeError, match="not running"):
        log.add_batch(POINTS, np.ones(10), GOOD, START_NS, START_NS)
    async with log:
        with pytest.raises(ValueError, match="add_batch"):
            log.add_record(Stream.TELEMETRY, b"")
        with pytest.raises(ValueError, match="event"):
            log.add_record(Stream.ALARM, b"", keep=b"c" * 32)


@pytest.mark.parametrize(
    "failure", [sqlite3.OperationalError("no answer"), MemoryError("none left")]
)
async def test_a_loss_is_counted_once_where_a_question_fails_while_it_is_planned(
    open_buffer: OpenBuffer, failure: Exception
) -> None:
    """Found by failing reads: the log id could not be read to sign the head of the gap record."""
    failing = True

    def sign(message: bytes) -> bytes:
        if failing:
            raise failure
        return message[:32]

    signer = Signer(b"k" * 32, sign)
    async with open_buffer(signer=signer, queue_bytes=0, commit_ms=60_000) as log:
        waiting = log.add_batch(*batch(1.0))  # fills the queue
        for number in (2.0, 3.0):
            with pytest.raises(NotStoredError, match="overloaded"):
                await log.add_batch(*batch(number))
        with pytest.raises(NotStoredError, match=str(failure)):
            await log.add_record(Stream.ALARM, b"kept")
        failing = False
        await log.add_record(Stream.ALARM, b"stored")
    await waiting
    async with open_buffer() as log:
        found = gaps_of(await everything(log, Stream.EVENT))
        assert found == {("TELEMETRY", "overload"): (0, 0, 2 * len(POINTS))}
        alarms = await everything(log, Stream.ALARM)
        assert [one.payload for one in alarms] == [b"kept", b"stored"]


def batch(value: float) -> tuple[Any, ...]:
    return POINTS, np.full(len(POINTS), value), GOOD, START_NS, START_NS

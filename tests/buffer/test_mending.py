"""Damage that is found while the log runs: repaired without a restart, alarms flowing meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from buffer.contract import NotStoredError, Record, Stream
from buffer.jobs import Evict
from buffer.mending import FIRST_WAIT_NS, MOST_WAIT_NS, SOUND_NS, Mending, Step
from buffer.ranges import RangeSet
from buffer.store import Buffer
from tests.buffer.test_eviction import gaps_of
from tests.buffer.test_recover import RECORDS, aside, damage_page, fill, numbers, payload_of
from tests.buffer.test_store import GOOD, POINTS, check_chain, everything

if TYPE_CHECKING:
    from tests.buffer.conftest import HandClock, OpenBuffer

CHECKPOINT = "PRAGMA wal_checkpoint(TRUNCATE)"


async def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(12_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within two minutes: {what}")


async def gap_events(log: Buffer) -> list[Record]:
    events = await everything(log, Stream.EVENT)
    return [event for event in events if event.payload.startswith(b"gap")]


async def store(log: Buffer, clock: HandClock, number: int) -> None:
    clock.advance(1)
    values = np.append(np.zeros(9), number)
    await log.add_batch(POINTS, values, GOOD, clock.wall, clock.wall)


async def test_a_page_of_telemetry_that_a_reader_cannot_read_is_repaired_at_once(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    former = await fill(open_buffer, clock)
    path = tmp_path / "data" / "telemetry.db"
    payload = payload_of(path, 66)
    told: list[str] = []
    async with open_buffer() as log:
        log.add_repair_listener(told.append)
        log.acknowledge("province", Stream.TELEMETRY, RangeSet([(1, 21)]))
        log.acknowledge("province", Stream.ALARM, RangeSet([(1, 11)]))
        damage_page(path, payload)
        await everything(log, Stream.TELEMETRY)
        assert not log.health()[0]
        assert await log.add_record(Stream.ALARM, b"meanwhile") > 0
        await until(lambda: bool(told), "it is repaired")
        await until(lambda: log.bounds(Stream.TELEMETRY).next > 1, "it is renumbered")
        assert "telemetry.db was set aside" in told[0]
        await until(lambda: log.health()[0], "all is well")
        assert log.log_id != former
        for number in range(RECORDS, RECORDS + 3):
            await store(log, clock, number)
        telemetry = await everything(log, Stream.TELEMETRY)
        check_chain(telemetry)
        assert [one.sequence for one in telemetry] == list(range(1, len(telemetry) + 1))
        found = numbers(telemetry)
        assert found == sorted(set(found))
        assert found[0] == 20, "what was acknowledged is not sent again"
        assert found[-1] == RECORDS + 2
        lost = set(range(20, RECORDS + 3)) - set(found)
        assert lost
        alarms = await everything(log, Stream.ALARM)
        check_chain(alarms)
        assert [one.payload for one in alarms][-1] == b"meanwhile"
        assert len(alarms) == 21, "of 31 the ten acknowledged are not sent again"
        assert set(log.catalogue_records()) == {b"c" * 32}
        assert log.cursor("province", Stream.TELEMETRY) == RangeSet()
        name = log.log_id
        groups = log._telemetry_writer._groups
        assert len(groups) > 2, "groups are evicted one by one"
    assert aside(tmp_path, "telemetry.db")
    async with open_buffer() as log:
        assert log.log_id == name
        assert not log.notes
        assert numbers(await everything(log, Stream.TELEMETRY)) == found
        gaps = gaps_of(await gap_events(log))
        assert gaps == {("TELEMETRY", "corruption"): (0, 0, len(lost))}


async def test_records_that_their_writer_cannot_write_to_are_repaired_and_no_alarm_waits(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    former = await fill(open_buffer, clock)
    path = tmp_path / "data" / "records.db"
    volatile: list[bytes] = []
    async with open_buffer(attempts=2, lock_wait_ms=1) as log:
        log.add_volatile_listener(
            lambda found, is_volatile: volatile.extend(one.payload for one in found if is_volatile)
        )
        await log.add_record(Stream.ALARM, b"before", state={"kept": b"9"})
        log._records_writer.database.connection.execute(CHECKPOINT)
        log._records_writer._broken = True  # so that pages are read anew, as after any failure
        damage_page(path, b"alarm 29")
        with suppress(NotStoredError):
            await log.add_record(Stream.ALARM, b"during", state={"kept": b"10"})
        await until(lambda: any("set aside" in note for note in log.notes), "it is repaired")
        await until(lambda: log.log_id != former and log.health()[0], "all is well")
        assert b"during" in volatile, "people and the province hear it while the file is repaired"
        await log.add_record(Stream.ALARM, b"after")
        await store(log, clock, RECORDS)
        alarms = [one.payload for one in await everything(log, Stream.ALARM)]
        check_chain(await everything(log, Stream.ALARM))
        assert alarms.count(b"during") == 1
        assert alarms[-1] == b"after"
        assert log.volatile() == []
        assert log.state("kept") == b"10"
        assert log.state("ids") == b"7"
        assert numbers(await everything(log, Stream.TELEMETRY)) == list(range(RECORDS + 1))
        name = log.log_id
    async with open_buffer() as log:
        assert log.log_id == name
        assert not log.notes
        gaps = gaps_of(await gap_events(log))
        (count,) = (entry[2] for key, entry in gaps.items() if key == ("ALARM", "corruption"))
        # 31 under the new log id and two that came after them
        assert count == 33 - len(await everything(log, Stream.ALARM))
        assert log.state("kept") == b"10"


async def test_a_file_that_is_sound_is_left_as_it_is(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    former = await fill(open_buffer, clock)
    async with open_buffer() as log:
        log.suspect(Stream.ALARM, "somebody says so")
        assert log.health() == (False, "somebody says so")
        await until(lambda: log.health()[0], "it was verified")
        assert log.log_id == former
        await log.add_record(Stream.ALARM, b"next")


async def test_evictions_promised_for_a_file_do_not_touch_the_one_that_took_its_place(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    await fill(open_buffer, clock)
    async with open_buffer(key_every_s=10) as log:
        with sqlite3.connect(tmp_path / "data" / "telemetry.db") as other:
            other.execute("UPDATE telemetry SET payload = x'00' WHERE id = 66")
        other.close()
        log.suspect(Stream.TELEMETRY, "asked for")
        await until(lambda: any("set aside" in note for note in log.notes), "it is repaired")
        await until(lambda: log.bounds(Stream.TELEMETRY).next > 1, "it is renumbered")
        held = numbers(await everything(log, Stream.TELEMETRY))
        log._telemetry_writer.put(Evict(RECORDS - 1))
        await store(log, clock, RECORDS)
        assert numbers(await everything(log, Stream.TELEMETRY)) == [*held, RECORDS]


def test_steps_follow_suspicions_and_no_disk_is_filled_with_copies() -> None:
    mending = Mending()
    assert mending.suspected("a", "x", by_writer=False, now_ns=0) is Step.VERIFY
    assert mending.suspected("a", "y", by_writer=True, now_ns=0) is Step.NOTHING, "one at a time"
    assert mending.verified("a", "", 1) is Step.NOTHING
    assert mending.suspected("a", "x", by_writer=False, now_ns=2) is Step.NOTHING, "it is sound"
    assert mending.suspected("a", "x", by_writer=True, now_ns=2) is Step.REPAIR, "its writer knows"
    mending.repaired("a", 3, failed=False)
    assert mending.suspected("a", "x", by_writer=True, now_ns=3) is Step.NOTHING, "too soon"
    assert mending.due("a", 2 + FIRST_WAIT_NS) is Step.NOTHING
    assert mending.due("a", 3 + FIRST_WAIT_NS) is Step.VERIFY, "not forgotten"
    assert mending.verified("a", "torn", 4) is Step.REPAIR
    assert mending.why("a") == "torn"
    now_ns = 10 * SOUND_NS
    for _ in range(30):
        mending.repaired("a", now_ns, failed=True)
        assert mending.due("a", now_ns) is Step.NOTHING
        now_ns += MOST_WAIT_NS
        assert mending.due("a", now_ns) is Step.VERIFY
        assert mending.verified("a", "torn", now_ns) is Step.REPAIR
    assert mending.due("b", now_ns) is Step.NOTHING

"""Quota and retention: what goes, what stays, and that every loss is in exactly one gap record."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffer.bookkeeping import FILE_BYTES
from buffer.contract import Bounds, Gap, NotStoredError, Record, Stream
from buffer.inspection import Inspection
from buffer.policy import (
    AGED_A_MINUTE,
    DAY_NS,
    GapLedger,
    Held,
    Limits,
    choose_evictions,
    choose_for_room,
    next_look_ns,
)
from buffer.ranges import RangeSet
from buffer.store import Buffer
from tests.buffer.test_store import GOOD, POINTS, START_NS, check_chain, everything
from tests.waiting import until

if TYPE_CHECKING:
    from tests.buffer.conftest import HandClock, OpenBuffer

QUOTA = {Stream.ALARM: 10**6, Stream.EVENT: 10**6, Stream.TELEMETRY: 3_000, Stream.EVIDENCE: 10**6}


async def until_first(log: Buffer, stream: Stream, first: int) -> None:
    """Wait until everything below `first` is evicted."""
    await until(lambda: log.bounds(stream).first >= first)


def gaps_of(events: list[Record]) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Sum of the gap records per stream and cause: lowest, highest sequence, count."""
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for event in events:
        word, stream, cause, first, last, count = event.payload.decode().split()
        assert word == "gap"
        low, high, total = found.get((stream, cause), (1 << 62, 0, 0))
        found[stream, cause] = (min(low, int(first)), max(high, int(last)), total + int(count))
    return found


async def add_noise(log: Buffer, clock: HandClock, count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(count):
        clock.advance(1)
        await log.add_batch(POINTS, rng.random(10), GOOD, clock.wall, clock.wall)


async def test_quota_takes_the_oldest_groups_and_says_so(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    async with open_buffer(quota_bytes=QUOTA, key_every_s=5) as log:
        await add_noise(log, clock, 100)
        bounds = log.bounds(Stream.TELEMETRY)
        assert bounds.next == 101
        await until_first(log, Stream.TELEMETRY, 70)
        first = log.bounds(Stream.TELEMETRY).first
        records = await everything(log, Stream.TELEMETRY)
        assert records[0].sequence == first == records[0].group
        check_chain(records, records[0].previous_hash)
        assert log.capacity(Stream.TELEMETRY).used_bytes <= 3_000
    async with open_buffer(quota_bytes=QUOTA) as log:
        # an idle log looks at its quota too, so one group more may go while we look
        for _ in range(3_000):
            gone = log.bounds(Stream.TELEMETRY).first - 1
            found = gaps_of(await everything(log, Stream.EVENT))
            if found == {("TELEMETRY", "quota"): (1, gone, gone)}:
                break
            await asyncio.sleep(0.02)
        assert gone >= first - 1
        assert found == {("TELEMETRY", "quota"): (1, gone, gone)}


async def test_the_quota_is_of_bytes_on_disk(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    """Rows of a little more than half a page have a page each: twice what they hold."""
    quota = 2 << 20
    points, good = np.arange(280, dtype=np.int32), np.zeros(280, np.uint16)
    rng = np.random.default_rng(1)
    async with open_buffer(quota_bytes=QUOTA | {Stream.TELEMETRY: quota}, key_every_s=20) as log:
        for _ in range(800):
            clock.advance(1)
            await log.add_batch(points, rng.random(280), good, clock.wall, clock.wall)
        await until_first(log, Stream.TELEMETRY, 200)
        held = log.capacity(Stream.TELEMETRY)
    [path] = list(tmp_path.rglob("telemetry.db"))  # noqa: ASYNC240  # a test, at rest
    with contextlib.closing(sqlite3.connect(path)) as db:
        (size,) = db.execute(FILE_BYTES).fetchone()
        counted, rows = db.execute(
            "SELECT sum(length(payload) + 128), count(*) FROM telemetry"
        ).fetchone()
    assert size > 1.5 * counted, "these rows do not pack"
    assert quota * 0.8 < size <= quota + 20 * 4096, "full, but for the group that begins"
    assert abs(held.used_bytes - size) < 0.1 * size
    assert rows < 2 * quota / 4096
    with Inspection(path.parent) as inspection:
        assert abs(inspection.held(Stream.TELEMETRY).used_bytes - size) < 0.01 * size


async def test_a_clock_that_jumps_ahead_takes_no_more_than_there_is_time_to_notice(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    async with open_buffer(retention_days=1) as log:
        for number in range(1_000):
            log.add_record(Stream.ALARM, b"alarm %d" % number)
        await log.add_record(Stream.ALARM, b"the last")
        clock.advance(120)  # what was stored a minute before counts no more
        for _ in range(2):
            await log.add_record(Stream.EVENT, b"gap NONE none 0 0 0")
        clock.wall += 365 * 86_400 * 10**9
        for _ in range(30):  # as many looks for what is too old
            await log.add_record(Stream.EVENT, b"gap NONE none 0 0 0")
        held = log.bounds(Stream.ALARM)
        assert held.next - held.first > 1_001 - 2 * AGED_A_MINUTE
        for _ in range(200):  # more minutes than it needs: one may pass while it commits
            if log.bounds(Stream.ALARM).first >= 1_001:
                break
            clock.advance(60)
            await log.add_record(Stream.EVENT, b"gap NONE none 0 0 0")
        await until_first(log, Stream.ALARM, 1_001)  # it keeps up, all the same


async def test_retention_takes_what_is_too_old(open_buffer: OpenBuffer, clock: HandClock) -> None:
    async with open_buffer(key_every_s=5, retention_days=1) as log:
        await add_noise(log, clock, 10)
        await log.add_record(Stream.ALARM, b"old")
        await log.add_record(Stream.ALARM, b"newest stays")
        clock.advance(2 * 86_400)
        await add_noise(log, clock, 1)
        await log.add_record(Stream.EVENT, b"gap NONE none 0 0 0")
        await until_first(log, Stream.TELEMETRY, 11)
        await until_first(log, Stream.ALARM, 2)
    async with open_buffer() as log:
        found = gaps_of(await everything(log, Stream.EVENT))
        assert found["TELEMETRY", "retention"] == (1, 10, 10)
        assert found["ALARM", "retention"] == (1, 1, 1)


async def test_catalogue_of_a_group_held_is_never_evicted(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    async with open_buffer(quota_bytes={**QUOTA, Stream.EVENT: 4_000}) as log:
        name = b"n" * 32
        await log.add_record(Stream.EVENT, b"before")
        assert await log.add_record(Stream.EVENT, b"catalogue", keep=name) == 2
        log.set_catalogue(name)
        await add_noise(log, clock, 3)
        for _ in range(100):
            await log.add_record(Stream.EVENT, bytes(100))
        assert log.catalogue_records() == {name: 2}
        assert log.bounds(Stream.EVENT).first == 2
        held = await everything(log, Stream.EVENT)
        assert [record.payload for record in held[:1]] == [b"catalogue"]
        assert len(held) < 30
        assert held[1].sequence > 70
        again = await log.read(Stream.EVENT, held[1].sequence, last=1_000, max_bytes=1 << 20)
        check_chain(again, again[0].previous_hash)
        await log.add_record(Stream.EVENT, b"catalogue", keep=b"m" * 32)


async def test_a_catalogue_that_goes_late_leaves_the_chain_whole(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    """Found by the loss machine: the anchor went back to the catalogue's row."""
    quota = {**QUOTA, Stream.EVENT: 6_000}
    async with open_buffer(quota_bytes=quota, key_every_s=1) as log:
        hashes: dict[int, bytes] = {}
        log.add_listener(
            lambda stream, records: hashes.update(
                (record.sequence, record.hash) for record in records if stream is Stream.EVENT
            )
        )
        name = b"n" * 32
        await log.add_record(Stream.EVENT, bytes(2_000), keep=name)
        log.set_catalogue(name)
        await add_noise(log, clock, 3)
        for _ in range(60):
            await log.add_record(Stream.EVENT, bytes(100))
        assert log.bounds(Stream.EVENT).first == 1
        other = b"m" * 32
        await log.add_record(Stream.EVENT, bytes(100), keep=other)
        log.set_catalogue(other)
        await add_noise(log, clock, 40)  # the groups that named the first one go
        await until_first(log, Stream.TELEMETRY, 5)
        for _ in range(200):
            if name not in log.catalogue_records():
                break
            await log.add_record(Stream.EVENT, bytes(100))
        assert other in log.catalogue_records()
        held = await everything(log, Stream.EVENT)
        assert held[0].sequence == log.bounds(Stream.EVENT).first > 2
        assert held[0].previous_hash == hashes[held[0].sequence - 1]
        check_chain(held, held[0].previous_hash)


async def test_a_catalogue_that_went_is_not_said_to_be_kept(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    """Found by the loss machine: who came back to it stored it no more."""
    async with open_buffer(quota_bytes={**QUOTA, Stream.EVENT: 2_000}) as log:
        for digit in (b"1", b"2"):
            await log.add_record(Stream.EVENT, b"catalogue", keep=digit * 32)
        log.set_catalogue(b"2" * 32)
        await add_noise(log, clock, 1)
        for _ in range(60):
            await log.add_record(Stream.EVENT, bytes(100))
        assert set(log.catalogue_records()) == {b"2" * 32}
    async with open_buffer() as log:
        assert set(log.catalogue_records()) == {b"2" * 32}


async def test_shedding_on_a_full_disk_spares_alarms(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    async with open_buffer(min_free_bytes=1 << 62) as log:
        for _ in range(3):
            with pytest.raises(NotStoredError, match="full"):
                await log.add_batch(POINTS, np.ones(10), GOOD, START_NS, START_NS)
        assert await log.add_record(Stream.ALARM, b"alarm") == 1
        good, text = log.health()
        assert not good
        assert "telemetry" in text
    async with open_buffer() as log:
        found = gaps_of(await everything(log, Stream.EVENT))
        assert found == {("TELEMETRY", "disk_full"): (0, 0, 30)}
        await log.add_batch(POINTS, np.ones(10), GOOD, START_NS, START_NS)
        assert log.health()[0]


async def test_overload_is_refused_and_counted(open_buffer: OpenBuffer, clock: HandClock) -> None:
    async with open_buffer(queue_bytes=1_000, commit_ms=60_000) as log:
        for _ in range(30):
            receipt = log.add_batch(POINTS, np.ones(10), GOOD, START_NS, START_NS)
            if receipt.done():
                break
        assert isinstance(receipt.exception(), NotStoredError)
        room = asyncio.timeout(0.01)
        try:
            async with room:
                await log.room()
        except TimeoutError:
            assert room.expired()
        log.request_key()
        await log.room()
    async with open_buffer() as log:
        found = gaps_of(await everything(log, Stream.EVENT))
        assert found == {("TELEMETRY", "overload"): (0, 0, 10)}


def test_ledger_reports_at_once_then_adds_up() -> None:
    def gap(first: int) -> Gap:
        return Gap(Stream.TELEMETRY, "quota", first, first, first, first, 1)

    ledger = GapLedger(100)
    assert ledger.add(gap(1), 0) == [gap(1)]
    assert ledger.add(gap(2), 50) == []
    assert ledger.add(gap(3), 60) == []
    assert ledger.next_deadline_ns() == 100
    twin = ledger.copy()
    assert ledger.tick(100) == [Gap(Stream.TELEMETRY, "quota", 2, 3, 2, 3, 2)]
    assert ledger.tick(199) == []
    assert ledger.tick(200) == []
    assert ledger.add(gap(4), 201) == [gap(4)]
    assert ledger.next_deadline_ns() is None
    assert twin.close() == [Gap(Stream.TELEMETRY, "quota", 2, 3, 2, 3, 2)]
    assert GapLedger(100, [gap(9)]).tick(0) == [gap(9)]


def test_a_clock_far_ahead_does_not_empty_the_log() -> None:
    held = [Held(number, number, number, number, 1) for number in range(100)]
    chosen = choose_evictions(held, 100, Limits(1_000, -(1 << 62), 400 * DAY_NS))
    assert [unit.first_id for _, unit in chosen] == [0, 1]


async def test_retention_waits_for_every_destination_and_the_quota_for_none(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    async with open_buffer(retention_days=10 / 86_400, key_every_s=5) as log:
        log.set_destinations({"province": tuple(Stream), "city": tuple(Stream)})
        await add_noise(log, clock, 60)
        assert log.bounds(Stream.TELEMETRY).first == 1, "nobody has it yet"
        log.acknowledge("province", Stream.TELEMETRY, RangeSet([(1, 61)]))
        log.acknowledge("city", Stream.TELEMETRY, RangeSet([(1, 31)]))
        await add_noise(log, clock, 40)
        await until_first(log, Stream.TELEMETRY, 26)
        assert log.bounds(Stream.TELEMETRY).first <= 31
        log.set_destinations({"province": tuple(Stream)})
        await add_noise(log, clock, 40)
        await until_first(log, Stream.TELEMETRY, 56)
        events = await everything(log, Stream.EVENT)
    assert set(gaps_of(events)) == {("TELEMETRY", "retention")}
    async with open_buffer(quota_bytes=QUOTA, key_every_s=5) as log:
        await add_noise(log, clock, 60)
        await until_first(log, Stream.TELEMETRY, 130)


async def test_a_quota_in_hours_takes_what_nobody_acknowledged(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    hours = {Stream.TELEMETRY: 20 / 3600, Stream.ALARM: 20 / 3600}
    async with open_buffer(quota_hours=hours, key_every_s=5) as log:
        log.set_destinations({"province": tuple(Stream)})
        await log.add_record(Stream.ALARM, b"old")
        await add_noise(log, clock, 60)
        await log.add_record(Stream.ALARM, b"new")
        await log.add_record(Stream.ALARM, b"newer")
        await until_first(log, Stream.TELEMETRY, 30)
        await until_first(log, Stream.ALARM, 2)
    async with open_buffer(quota_hours=hours) as log:
        gaps = gaps_of(await everything(log, Stream.EVENT))
    assert gaps["ALARM", "quota"] == (1, 1, 1)
    assert gaps["TELEMETRY", "quota"][0] == 1


async def test_a_disk_nearly_full_takes_new_telemetry_where_acknowledged_was(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    """It does not grow the file, evicts nothing that is unsent, and sheds once no more may go."""
    points, good = np.arange(280, dtype=np.int32), np.zeros(280, np.uint16)
    rng = np.random.default_rng(1)

    def add(log: Buffer) -> asyncio.Future[None]:
        clock.advance(2)  # the disk is looked at once a second
        return log.add_batch(points, rng.random(280), good, clock.wall, clock.wall)

    async with open_buffer(key_every_s=20) as log:
        for _ in range(300):
            await add(log)
    status = os.statvfs(tmp_path)
    nearly_full = int(1.4 * status.f_bavail * status.f_frsize)
    stored = shed = 0
    async with open_buffer(key_every_s=20, commit_bytes=10_000, min_free_bytes=nearly_full) as log:
        log.set_destinations({"province": tuple(Stream)})
        for _ in range(5):
            with pytest.raises(NotStoredError, match="disk is full"):
                await add(log)
            shed += 1
        assert log.bounds(Stream.TELEMETRY) == Bounds(1, 301), "nothing is acknowledged"
        size = (tmp_path / "data" / "telemetry.db").stat().st_size
        log.acknowledge("province", Stream.TELEMETRY, RangeSet([(1, 251)]))
        refused = 0
        for _ in range(20_000):
            try:
                await add(log)
            except NotStoredError:
                shed, refused = shed + 1, refused + 1
                nothing_left = log.bounds(Stream.TELEMETRY).first == 251
                if nothing_left and refused >= 50:  # looks at the disk
                    break
                await asyncio.sleep(0.01)  # what is acknowledged is on its way out
            else:
                stored, refused = stored + 1, 0
                assert log.health() == (True, "everything given is being stored")
        assert stored >= 150, "five sixths of what went, or more, came in"
        assert log.bounds(Stream.TELEMETRY).first == 251, "all that may go, and no more"
        assert not log.health()[0]
        assert (tmp_path / "data" / "telemetry.db").stat().st_size <= size + 4 * 4_096
    async with open_buffer() as log:
        gone = log.bounds(Stream.TELEMETRY).first - 1
        gaps = [event.payload.decode().split() for event in await everything(log, Stream.EVENT)]
    assert {gap[2] for gap in gaps} == {"disk_full"}
    samples = [int(gap[5]) for gap in gaps if gap[3] == "0"]
    rows = [(int(gap[3]), int(gap[4]), int(gap[5])) for gap in gaps if gap[3] != "0"]
    assert sum(samples) == 280 * shed
    assert (min(rows)[0], max(rows)[1], sum(row[2] for row in rows)) == (1, gone, gone)


@given(st.lists(st.integers(1, 1_000), max_size=20), st.integers(-5, 20_000), st.integers(0, 25))
def test_room_is_made_of_the_oldest_that_is_acknowledged_and_of_no_more_than_it_takes(
    sizes: list[int], short: int, acknowledged: int
) -> None:
    held = [Held(n, n, 0, 0, size) for n, size in enumerate(sizes, 1)]
    chosen = choose_for_room(held, short, Limits(0, 0, 0, acknowledged))
    assert chosen == held[: len(chosen)]
    assert all(unit.last_id <= acknowledged for unit in chosen)
    made = sum(unit.used_bytes for unit in chosen)
    if chosen:
        assert made - chosen[-1].used_bytes < short, "one fewer would not have been enough"
    if made < short:
        assert len(chosen) == min(len(held), acknowledged)


async def test_a_log_nobody_writes_to_is_looked_at(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    async with open_buffer(key_every_s=5) as log:
        await add_noise(log, clock, 30)
        await log.add_record(Stream.ALARM, b"old")
        await log.add_record(Stream.ALARM, b"newest")
    clock.advance(40 * 86_400)
    async with open_buffer(key_every_s=5) as log:
        await until_first(log, Stream.TELEMETRY, 6)
        await until_first(log, Stream.ALARM, 2)


def test_the_next_look_is_when_the_oldest_ends_its_time() -> None:
    limit = Limits(0, -(1 << 62), 1_000 * 10**9)
    assert next_look_ns(None, limit, 5) is None
    for last_s, wait_s in ((0, 60), (1_030, 60), (1_900, 900), (10**6, 3_600)):
        unit = Held(1, 1, 0, last_s * 10**9, 1)
        assert next_look_ns(unit, limit, 5) == 5 + wait_s * 10**9

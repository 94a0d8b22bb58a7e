"""The desk: durable before it returns, the same thing stored once, silence told."""

from __future__ import annotations

import asyncio
import math

import pytest

from drivers.contract import DriverPoint, Quality
from drivers.intake.desk import Desk, NotDurableError
from drivers.intake.mapping import MappingConfig, build
from drivers.intake.rows import Accepted, Rejected, RowReader
from drivers.intake.samples import SampleRows
from drivers.intake.settings import ExternalAddress
from tests.fakes.intake_store import IntakeStore, ManualClock
from tests.waiting import until

POINTS = [
    DriverPoint(1, "ti", ExternalAddress(id="TI-101"), 2),
    DriverPoint(2, "records", ExternalAddress(id="#records"), 3),
]
MAPPING = build(MappingConfig(source="s"))
NOW_NS = 1_777_593_600_000_000_000


def rows(*ids: str) -> list[Accepted | Rejected]:
    reader = RowReader("d", MAPPING)
    document = [{"id": i, "time": "2026-05-01T00:00:00Z", "level": "red"} for i in ids]
    return list(reader.read(MAPPING.tables["lightning"], document, "x", NOW_NS))


def desk(clock: ManualClock | None = None, stale_after_s: float = 60) -> Desk:
    return Desk("d", POINTS, clock or ManualClock(), stale_after_s)


async def test_hand_in_returns_only_when_all_is_durable() -> None:
    store, counter = IntakeStore(held=True), desk()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(counter.hand_in(store.emit, rows("a", "b")))
        await until(lambda: len(store.events("intake.lightning")) == 2)
        await asyncio.sleep(0)
        assert not task.done()
        store.release()
    assert task.done()
    assert counter.counters.records == 2


async def test_what_could_not_be_stored_is_not_acknowledged_and_taken_again() -> None:
    store, counter = IntakeStore(), desk()
    store.fail_next = 1
    with pytest.raises(NotDurableError, match="disk"):
        await counter.hand_in(store.emit, rows("a", "b"))
    await counter.hand_in(store.emit, rows("a", "b"))
    assert sorted(str(e.attributes["id"]) for e in store.durable_events("intake.lightning")) in (
        ["a", "b"],
        ["a", "b", "b"],  # b was durable when a failed: the same id and hash tell the consumer
    )


async def test_the_same_content_is_stored_once_also_at_the_same_time() -> None:
    store, counter = IntakeStore(held=True), desk()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(counter.hand_in(store.emit, rows("a")))
        await until(lambda: len(store.events("intake.lightning")) == 1)
        store.release()
    await counter.hand_in(store.emit, rows("a", "a", "b"))
    assert [e.attributes["id"] for e in store.events("intake.lightning")] == ["a", "b"]
    assert counter.counters.repeats == 4


async def test_own_points_count_records() -> None:
    store, counter = IntakeStore(), desk()
    await counter.hand_in(store.emit, rows("a", "b"))
    assert store.last_value(2) == (2.0, 0)


async def test_an_outage_makes_every_point_bad_once() -> None:
    store, counter = IntakeStore(), desk()
    await counter.tell_down(store.emit, "no broker")
    await counter.tell_down(store.emit, "no broker")
    await counter.tell_down(store.emit, "still none")
    assert [len(b) for b in store.batches] == [2]
    assert set(store.batches[0].quality.tolist()) == {Quality.BAD_NOT_CONNECTED}
    assert [e.text for e in store.events("link.down")] == ["no broker.", "still none."]
    await counter.tell_up(store.emit, "up", {})
    assert store.last_value(2) == (0.0, 0)
    await counter.tell_down(store.emit, "no broker")
    assert store.last_value(1)[1] == Quality.BAD_NOT_CONNECTED


async def test_a_silent_point_becomes_stale_with_its_last_value() -> None:
    clock = ManualClock()
    store, counter = IntakeStore(), desk(clock, 10)
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(counter.watch(store.emit))
        await clock.advance_s(10)
        await until(lambda: store.last_value(1)[1] == Quality.BAD_WAITING)
        assert math.isnan(store.last_value(1)[0])
        document = {"id": "TI-101", "time": "2026-05-01T00:00:00Z", "value": 5}
        found = counter.samples.read(MAPPING.tables["samples"], document)
        await counter.hand_in_samples(store.emit, found, b"1")
        assert store.last_value(1) == (5.0, 0)
        await clock.advance_s(10)
        await until(lambda: store.last_value(1) == (5.0, Quality.UNCERTAIN_STALE))
        watch.cancel()
    assert counter.counters.stale_points == 2


async def test_after_an_outage_silence_counts_anew_and_the_newest_value_is_kept() -> None:
    clock = ManualClock()
    store, counter = IntakeStore(), desk(clock, 10)

    def sample(second: int, value: float) -> SampleRows:
        document = {"id": "TI-101", "time": f"2026-05-01T00:00:0{second}Z", "value": value}
        return counter.samples.read(MAPPING.tables["samples"], document)

    await counter.hand_in_samples(store.emit, sample(5, 5.0), b"1")
    await counter.hand_in_samples(store.emit, sample(1, 1.0), b"2")
    await counter.tell_down(store.emit, "gone")
    await clock.advance_s(100)
    await counter.tell_up(store.emit, "back", {})
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(counter.watch(store.emit))
        await clock.advance_s(9)
        assert store.last_value(1)[1] == Quality.BAD_NOT_CONNECTED
        await clock.advance_s(1)
        await until(lambda: store.last_value(1) == (5.0, Quality.UNCERTAIN_STALE))
        watch.cancel()


async def test_refused_rows_are_told_as_an_event() -> None:
    store, counter = IntakeStore(), desk()
    reader = RowReader("d", MAPPING)
    found = reader.read(MAPPING.tables["lightning"], [{"id": "a"},
                        {"id": "b", "time": "x", "level": "blue"}], "x", NOW_NS)  # fmt: skip
    refused = [row for row in found if isinstance(row, Rejected)]
    await counter.tell_rejected(store.emit, "topic/a", refused, b'{"id":"a\0"}')
    (event,) = store.events("intake.rejected")
    assert event.attributes["rows"] == 2
    assert "a: time is missing" in str(event.attributes["reasons"])
    assert "\0" not in str(event.attributes["content"])

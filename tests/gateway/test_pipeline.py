"""The flow over a log in memory: nothing waits for what it must not wait for, nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from buffer.block import BlockDecoder
from buffer.contract import NotStoredError, Stream
from buffer.memory import MemoryLog
from drivers.contract import Batch, Quality, SourceEvent
from gateway.model.alarm import AlarmState
from gateway.model.catalogue import Catalogue
from gateway.model.point import Limits, Point
from gateway.normalise.scale import Normaliser
from gateway.pipeline import LOG_RENEWED, Pipeline
from gateway.rules.judge import DESK_STATE, PART
from gateway.wire.v1 import uplink_pb2 as wire
from tests.gateway.flow_rig import (
    JPEG,
    WALL_NS,
    BrokenLog,
    FullLog,
    HandClock,
    S,
    alarms,
    batch,
    events,
    judge,
    over_count,
    pipeline,
    points,
    records,
)

ACTIVE, RETURNED = AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def log(clock: HandClock) -> MemoryLog:
    return MemoryLog(clock=clock)


@asynccontextmanager
async def ticking(flow: Pipeline) -> AsyncIterator[None]:
    """`run` beside the block."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(flow.run())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()


async def soon(condition: Callable[[], bool]) -> None:
    """Give the loop turns until a condition holds; a hundred are far more than any needs."""
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition did not come about")


async def test_a_batch_is_stored_whole_though_it_raises_an_alarm(
    log: MemoryLog, clock: HandClock
) -> None:
    flow = pipeline(log, clock)
    await (await flow.accept(batch({1: 11.0, 2: 3.0, 3: 4.0})))
    [block] = await records(log, Stream.TELEMETRY)
    [stored] = BlockDecoder().feed(block.payload)
    assert stored.points.tolist() == [1, 2, 3]
    assert np.asarray(stored.values).tolist() == [11.0, 3.0, 4.0]
    [raised] = await alarms(log)
    assert (raised.source, raised.condition, raised.state) == ("gds/a", "high", ACTIVE)
    assert (raised.value, raised.limit, raised.unit) == (11.0, 10.0, "ppm")
    counted = {k: v for k, v in flow.statistics().items() if not k.startswith("risk_")}
    assert counted == {
        "batches": 1, "values": 3, "bad_values": 0, "alarms_raised": 1, "alarms_returned": 0,
        "events": 0, "not_stored": 0, "alarms_standing": 1,
    }  # fmt: skip


async def test_an_alarm_does_not_wait_for_room_of_the_batch_that_caused_it(
    clock: HandClock,
) -> None:
    log = FullLog(clock)
    flow = pipeline(log, clock)
    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(flow.accept(batch({1: 11.0})))
        await asyncio.sleep(0)
        assert len(await alarms(log)) == 1
        assert not accepting.done()
        assert await records(log, Stream.TELEMETRY) == []
        log.space.set()
    await accepting.result()
    assert len(await records(log, Stream.TELEMETRY)) == 1


async def test_a_source_cancelled_while_it_waits_for_room_leaves_its_alarm(
    clock: HandClock,
) -> None:
    log = FullLog(clock)
    flow = pipeline(log, clock)
    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(flow.accept(batch({1: 11.0})))
        await asyncio.sleep(0)
        accepting.cancel()
    assert len(await alarms(log)) == 1
    assert log.states(DESK_STATE)


async def test_of_a_flood_each_alarm_carries_its_own_state(clock: HandClock) -> None:
    class Watched(MemoryLog):
        named: list[list[str]]

        def add_record(self, stream: Stream, payload: bytes, **keys: Any) -> Any:
            if stream is Stream.ALARM:
                self.named.append(list(keys["state"]))
            return super().add_record(stream, payload, **keys)

    log = Watched(clock=clock)
    log.named = []
    flow = pipeline(log, clock)
    await (await flow.accept(batch({1: 11.0, 4: -1.0})))
    assert log.named == [[f"{DESK_STATE}gds/a\x1fhigh"], [f"{DESK_STATE}gds/d\x1flow"]]
    assert sorted(log.states(DESK_STATE)) == sorted(name for [name] in log.named)


async def test_what_is_not_stored_is_counted_and_nothing_is_left_unretrieved(
    clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()  # what other tests left behind is none of this one's
    caplog.clear()
    flow = pipeline(BrokenLog(clock=clock), clock)
    receipt = await flow.accept(batch({1: 11.0}))
    await flow.accept(SourceEvent("link.up", "gds", WALL_NS, "Connected."))
    await flow.accept(over_count(active=True, picture=JPEG))
    flow.announce({})
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # two alarms, the batch, two events, the picture, the event about it, the catalogue
    assert flow.counters.not_stored == 8
    with pytest.raises(NotStoredError, match="disk is full"):
        await receipt
    del receipt
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_bad_values_are_counted_and_raise_nothing(log: MemoryLog, clock: HandClock) -> None:
    flow = pipeline(log, clock)
    await (await flow.accept(batch({1: float("nan"), 3: 1.0}, Quality.BAD_COMM_FAILURE)))
    assert flow.counters.bad_values == 2
    assert await alarms(log) == []


async def test_a_delayed_alarm_fires_without_another_value(
    log: MemoryLog, clock: HandClock
) -> None:
    flow = pipeline(log, clock)
    async with ticking(flow):
        await flow.accept(batch({2: 12.0}))
        await soon(lambda: clock.sleeping_to_ns == [5 * S])
        clock.advance(4.9)
        assert await alarms(log) == []
        clock.advance(0.1)
        await soon(lambda: flow.counters.alarms_raised == 1)
        [raised] = await alarms(log)
        assert (raised.source, raised.value) == ("gds/b", 12.0)


async def test_an_earlier_deadline_wakes_the_one_who_waits_for_a_later(
    log: MemoryLog, clock: HandClock
) -> None:
    flow = pipeline(log, clock)
    async with ticking(flow):
        await flow.accept(batch({4: -1.0}))
        await flow.accept(batch({2: 12.0}))
        await soon(lambda: clock.sleeping_to_ns == [5 * S])
        await flow.accept(batch({4: 1.0}))
        await soon(lambda: clock.sleeping_to_ns == [2 * S])
        clock.advance(2.0)
        await soon(lambda: flow.counters.alarms_returned == 1)
        await soon(lambda: clock.sleeping_to_ns == [5 * S])
        clock.advance(3.0)
        await soon(lambda: flow.counters.alarms_raised == 2)
    assert [(a.source, a.state) for a in await alarms(log)] == [
        ("gds/d", ACTIVE), ("gds/d", RETURNED), ("gds/b", ACTIVE),
    ]  # fmt: skip


async def test_a_delay_that_is_called_off_fires_nothing(log: MemoryLog, clock: HandClock) -> None:
    flow = pipeline(log, clock)
    async with ticking(flow):
        await flow.accept(batch({2: 12.0}))
        await soon(lambda: clock.sleeping_to_ns == [5 * S])
        await flow.accept(batch({2: 1.0}))
        clock.advance(10.0)
        await soon(lambda: clock.sleeping_to_ns == [])
        assert await alarms(log) == []


async def test_evidence_is_durable_before_anything_names_it(clock: HandClock) -> None:
    order: list[str] = []

    class Watched(MemoryLog):
        async def put_file(self, content: bytes) -> bytes:
            await asyncio.sleep(0)
            order.append("file")
            return await super().put_file(content)

        def add_record(self, stream: Stream, payload: bytes, **keys: Any) -> Any:
            order.append(stream.name)
            return super().add_record(stream, payload, **keys)

    log = Watched(clock=clock)
    flow = pipeline(log, clock)
    await (await flow.accept(over_count(active=True, picture=JPEG)))
    assert order == ["ALARM", "EVENT", "file", "EVIDENCE", "EVENT"]
    digest = hashlib.sha256(JPEG).digest()
    [raised] = await alarms(log)
    happened, attached = await events(log)
    assert happened.kind == "vision.over_count"
    assert happened.attributes["active"] == "true"
    assert attached.kind == "evidence_attached"
    assert attached.evidence_attached.alarm_id == raised.alarm_id
    assert attached.evidence_attached.sha256 == digest
    [record] = await records(log, Stream.EVIDENCE)
    file = wire.EvidenceFile.FromString(record.payload)
    assert (file.alarm_id, file.sha256, file.total_bytes) == (raised.alarm_id, digest, len(JPEG))
    assert await log.read_file(digest, 0, 1 << 20) == JPEG


@pytest.mark.parametrize(
    ("picture", "media_type"),
    [(JPEG, "image/jpeg"), (b"\x89PNG\r\n\x1a\n" + JPEG, "image/png"), (b"?", "image/jpeg")],
)
async def test_a_picture_of_a_site_system_travels_as_what_it_is(
    picture: bytes, media_type: str, log: MemoryLog, clock: HandClock
) -> None:
    said = {"media_type": "text/html", "alarm_id": "zz"}  # nobody but our cameras may name these
    item = SourceEvent("intake.picture", "box", 1, "A box saw it.", said, picture)
    await (await pipeline(log, clock).accept(item))
    [record] = await records(log, Stream.EVIDENCE)
    file = wire.EvidenceFile.FromString(record.payload)
    assert (file.media_type, file.alarm_id) == (media_type, b"")
    attached = (await events(log))[-1]
    assert f"({media_type}, {len(picture)} bytes)" in attached.text


@pytest.mark.parametrize(
    "wrong", [{}, {"zone": "yard"}, {"zone": "yard", "people": "7", "limit": 4, "active": True}]
)
async def test_an_event_no_rule_can_read_is_stored_and_named_and_disturbs_nobody(
    log: MemoryLog, clock: HandClock, wrong: dict[str, str | int | float | bool]
) -> None:
    flow = pipeline(log, clock)
    await (await flow.accept(SourceEvent("vision.over_count", "cam", WALL_NS, "Too many.", wrong)))
    refused, happened = await events(log)
    assert refused.kind == "event.not_judged"
    assert refused.text.startswith("An event of cam was stored but could not be judged: cam: ")
    assert "\n" not in refused.text
    assert (happened.kind, happened.text) == ("vision.over_count", "Too many.")
    assert await alarms(log) == []
    await (await flow.accept(over_count(active=True)))
    assert len(await alarms(log)) == 1


async def test_events_of_unknown_kind_are_stored(log: MemoryLog, clock: HandClock) -> None:
    flow = pipeline(log, clock)
    item = SourceEvent("new.kind", "x", WALL_NS, "Something.", {"n": 1, "f": 0.5, "b": False})
    await (await flow.accept(item))
    [stored] = await events(log)
    assert dict(stored.attributes) == {"n": "1", "f": "0.5", "b": "false"}


async def test_after_a_new_log_id_the_catalogue_is_announced_again(
    log: MemoryLog, clock: HandClock
) -> None:
    flow = pipeline(log, clock)
    await flow.announce({"point_ids": b"{}"})
    assert log.state("point_ids") == b"{}"
    flow.note_uplink("uplink.refused", "No.", {})
    assert [event.kind for event in await events(log)] == ["catalogue", "uplink.refused"]
    log.renew_log_id("the receiver knows more than we hold")
    flow.note_uplink(LOG_RENEWED, "The log id is new.", {"stream": "event"})
    *_, renewed, announced = await events(log)
    assert (renewed.kind, announced.kind) == (LOG_RENEWED, "catalogue")
    catalogue = Catalogue.of(points())
    assert announced.catalogue.SerializeToString(deterministic=True) == catalogue.encoded
    assert log.catalogue_records()[catalogue.hash] == log.bounds(Stream.EVENT).next - 1
    await (await flow.accept(batch({3: 1.0})))
    assert (await records(log, Stream.TELEMETRY))[-1].catalogue == catalogue.hash


async def test_at_start_lost_states_are_named_and_removed_zones_returned(
    log: MemoryLog, clock: HandClock
) -> None:
    before = judge()
    before.feed_event(over_count(active=True), now_ns=0)
    state = {**before.states(), f"{DESK_STATE}gds/a\x1fhigh": b"not JSON"}
    flow = pipeline(log, clock, judge(state, zones=()))
    await flow.begin()
    [complaint] = await events(log)
    assert complaint.kind == "alarms.state_lost"
    assert "The alarm gds/a high is not known any more" in complaint.text
    [returned] = await alarms(log)
    assert (returned.source, returned.state) == ("cam/yard", RETURNED)
    assert flow.counters.alarms_returned == 1
    assert "returned" in returned.state.name.lower()


async def test_a_batch_that_does_not_fit_is_the_sources_error(
    log: MemoryLog, clock: HandClock
) -> None:
    flow = pipeline(log, clock)
    two_points_one_quality = Batch(
        np.array([3, 3], np.int32), np.zeros(2), np.zeros(1, np.uint16), WALL_NS, WALL_NS, 0
    )
    with pytest.raises((ValueError, IndexError)):
        await flow.accept(two_points_one_quality)
    await (await flow.accept(batch({3: 1.0})))


async def test_settled_waits_for_what_is_under_way(log: MemoryLog, clock: HandClock) -> None:
    flow = pipeline(log, clock)
    await flow.settled()
    receipt = await flow.accept(batch({1: 11.0}))
    assert isinstance(receipt, asyncio.Future)
    assert not receipt.done()
    await flow.settled()
    assert receipt.done()
    assert log.bounds(Stream.ALARM).next == 2
    broken = pipeline(BrokenLog(clock=clock), clock)
    await broken.accept(batch({1: 11.0}))
    await broken.settled()
    assert broken.counters.not_stored == 2


async def test_others_get_their_turn_while_a_flood_is_stored(clock: HandClock) -> None:
    count = 5 * PART
    points = [Point(i, f"gds/p{i}", limits=Limits(high=10.0)) for i in range(1, count + 1)]
    catalogue, log = Catalogue.of(points), MemoryLog(clock=clock)
    flow = Pipeline(log, catalogue, Normaliser(points), judge(judged=points), clock)
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while flow.counters.alarms_raised < count:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(somebody_else())
        await flow.accept(batch(dict.fromkeys(range(1, count + 1), 11.0)))
    assert turns >= 4
    assert len(await alarms(log)) == count

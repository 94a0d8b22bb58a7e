"""Alarms sent a second time: on long lines only, bounded, never in a ledger, stored once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from buffer.contract import Record, Stream
from buffer.ranges import RangeSet
from gateway.runtime.clock import SystemClock
from gateway.uplink.copies import AFTER_NS, BURST_BYTES, RATE_BYTES_PER_S, ROUND_TRIPS, Copies
from gateway.uplink.ledger import wire_bytes
from gateway.uplink.outputs import Lane, LongLine, Output, SendCopies, SendRecords, SessionSettings
from gateway.uplink.pacing import Window
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.receiver import FakeReceiver
from tests.fakes.small_log import SmallLog
from tests.gateway.uplink.played import MS, Played
from tests.gateway.uplink.test_client import PATIENT, QUICK, Destination, all_there, running
from tests.waiting import until

LONG_MS = 50
ANY_LINE = replace(QUICK, long_line_ms=0)


def window(round_trip_ms: int, count: int = ROUND_TRIPS) -> Window:
    measured = Window(SessionSettings())
    for _ in range(count):
        measured.round_trip(round_trip_ms * MS)
    return measured


def alarms(count: int) -> list[Record]:
    return SmallLog().put(Stream.ALARM, *[b""] * count)


def copied(outputs: list[Output]) -> list[int]:
    return [
        record.sequence for one in outputs if isinstance(one, SendCopies) for record in one.records
    ]


def test_a_copy_follows_after_a_moment_and_once() -> None:
    copies, line = Copies(LONG_MS), window(300)
    assert copies.due(0, line, RangeSet()) == [LongLine()]
    copies.alarms_sent(alarms(2), 0, line)
    assert copies.next_ns() == AFTER_NS
    assert copies.due(AFTER_NS - 1, line, RangeSet()) == []
    assert copied(copies.due(AFTER_NS, line, RangeSet())) == [1, 2]
    assert copies.next_ns() is None
    assert copies.due(2 * AFTER_NS, line, RangeSet()) == []


def test_none_for_what_is_acknowledged_by_then() -> None:
    copies, line = Copies(LONG_MS), window(300)
    copies.alarms_sent(alarms(2), 0, line)
    assert copied(copies.due(AFTER_NS, line, RangeSet([(1, 2)]))) == [2]


def test_none_on_a_short_line_or_before_it_is_measured_often_enough() -> None:
    for line in (window(LONG_MS - 1), window(300, ROUND_TRIPS - 1)):
        copies = Copies(LONG_MS)
        copies.alarms_sent(alarms(1), 0, line)
        assert copies.next_ns() is None
        assert copies.due(AFTER_NS, line, RangeSet()) == []


@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 40)), max_size=60))
def test_a_flood_costs_no_more_than_the_bound(bursts: list[tuple[int, int]]) -> None:
    """bursts: ms since the one before, alarms at once."""
    copies, line, log = Copies(LONG_MS), window(300), SmallLog()
    now_ns, spent, made = 0, 0, 0
    for after_ms, count in bursts:
        now_ns += after_ms * MS
        copies.alarms_sent(log.put(Stream.ALARM, *[b""] * count), now_ns, line)
        made += count
    outputs = copies.due(now_ns + AFTER_NS, line, RangeSet())
    records = [one for send in outputs if isinstance(send, SendCopies) for one in send.records]
    spent = sum(wire_bytes(record) for record in records)
    assert spent <= BURST_BYTES + RATE_BYTES_PER_S * now_ns / 1e9
    assert [one.sequence for one in records] == sorted({one.sequence for one in records})
    if made * max((wire_bytes(one) for one in records), default=0) < BURST_BYTES:
        assert len(records) == made, "few alarms are all copied"


def long_session(settings: SessionSettings | None = None) -> Played:
    played = Played(SmallLog(), Lane.PRIORITY, settings)
    played.welcome()
    for ping in range(1, ROUND_TRIPS + 1):
        played.log.now_ns += 300 * MS
        played.feed(ack=wire.Ack(pong=ping))
        played.after(3_000 * MS)
    return played


def test_a_session_copies_live_alarms_and_its_ledger_knows_nothing_of_it() -> None:
    played = long_session()
    assert played.outputs.count(LongLine()) == 1
    played.outputs.clear()
    played.put(Stream.EVENT, b"")
    played.put(Stream.ALARM, b"")
    in_flight = played.counters.in_flight_bytes
    played.after(AFTER_NS)
    assert copied(played.outputs) == [1]
    assert len([one for one in played.outputs if isinstance(one, SendRecords)]) == 2
    assert played.counters.in_flight_bytes == in_flight
    played.ack(Stream.ALARM, 1, 2)
    played.after(10 * AFTER_NS)
    assert copied(played.outputs) == [1]


def test_a_session_that_is_not_to_copy_does_not() -> None:
    for settings in (
        SessionSettings(copy_alarms=False),
        SessionSettings(streams=frozenset({Stream.EVENT, Stream.TELEMETRY})),
    ):
        played = long_session(settings)
        played.put(Stream.ALARM, b"")
        played.after(AFTER_NS)
        assert LongLine() not in played.outputs
        assert not copied(played.outputs)


def test_what_was_missed_before_the_session_is_not_copied() -> None:
    log = SmallLog()
    log.put(Stream.ALARM, *[b""] * 3)
    log.now_ns += 60_000 * MS
    played = Played(log, Lane.PRIORITY)
    played.welcome()
    for ping in range(1, ROUND_TRIPS + 1):
        log.now_ns += 300 * MS
        played.feed(ack=wire.Ack(pong=ping))
        played.after(3_000 * MS)
    assert not copied(played.outputs)


def raise_alarm(log: SmallLog) -> None:
    """Commit an alarm now, by the clock that the uplink reads."""
    log.now_ns = SystemClock().monotonic_ns()
    log.put(Stream.ALARM, b"")


async def test_a_third_connection_takes_the_copies_and_each_alarm_is_stored_once() -> None:
    log = SmallLog()
    async with FakeReceiver() as receiver:
        destination = Destination(receiver.target, copy_alarms=True)
        async with running(destination, log, ANY_LINE) as gateway:
            await until(lambda: {1, 2, 3} <= {hello.lane for hello in receiver.hellos})
            receiver.acknowledging = False
            async with asyncio.timeout(120):
                while not gateway.uplink.statistics()["copied_alarm_records"]:
                    raise_alarm(log)
                    await asyncio.sleep(0.2)
            await until(lambda: bool(receiver.duplicates))
            receiver.acknowledging = True
            await until(all_there(receiver, log))
        assert {stream for stream, _ in receiver.duplicates} == {Stream.ALARM}


async def test_an_alarm_whose_own_connection_is_stuck_comes_by_its_copy() -> None:
    log = SmallLog()
    async with FakeReceiver() as receiver:
        destination = Destination(receiver.target, copy_alarms=True)
        settings = replace(ANY_LINE, silence_ms=60_000)
        async with running(destination, log, settings):
            await until(lambda: {1, 2, 3} <= {hello.lane for hello in receiver.hellos})
            receiver.freeze(Lane.PRIORITY)
            async with asyncio.timeout(120):
                while not receiver.stored(Stream.ALARM):
                    raise_alarm(log)
                    await asyncio.sleep(0.2)
            await until(lambda: log.unacknowledged("province", Stream.ALARM) == 0)
            receiver.thaw()


async def test_a_receiver_that_knows_no_such_lane_is_served_as_before() -> None:
    log = SmallLog()
    async with FakeReceiver() as receiver:
        receiver.lanes = {1, 2}
        destination = Destination(receiver.target, copy_alarms=True)
        async with running(destination, log, replace(PATIENT, long_line_ms=0)) as gateway:
            await until(lambda: 3 in {hello.lane for hello in receiver.hellos})
            log.put(Stream.ALARM, b"")
            await until(all_there(receiver, log))
            assert gateway.uplink.health()[0]
            assert "link.down" not in gateway.kinds()
            assert [int(hello.lane) for hello in receiver.hellos].count(3) == 1

"""Heartbeats behind an alarm: a few, on long lines only, behind the last alarm."""

from __future__ import annotations

from buffer.contract import Stream
from gateway.uplink.chasers import AFTER_NS, LONG_LINE_NS, Chasers
from gateway.uplink.outputs import Lane, SendRecords, SendStatus
from gateway.uplink.session import State
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import SmallLog
from tests.gateway.uplink.played import MS, Played


def test_a_few_follow_the_last_alarm() -> None:
    chasers = Chasers()
    chasers.alarm_sent(0, LONG_LINE_NS)
    chasers.alarm_sent(7, LONG_LINE_NS)
    went = [at for at in range(0, 2 * AFTER_NS[-1], 1_000_000) if chasers.take(at)]
    assert len(went) == len(AFTER_NS)
    assert chasers.next_ns() is None


def test_none_on_a_short_line_or_before_one_is_measured() -> None:
    chasers = Chasers()
    for round_trip_ns in (None, LONG_LINE_NS - 1):
        chasers.alarm_sent(0, round_trip_ns)
        assert chasers.next_ns() is None


def test_those_that_are_late_go_as_one() -> None:
    chasers = Chasers()
    chasers.alarm_sent(0, LONG_LINE_NS)
    assert chasers.take(AFTER_NS[-1])
    assert not chasers.take(AFTER_NS[-1] + 1)


def test_a_session_on_a_long_line_sends_them_and_falls_silent() -> None:
    played = Played(SmallLog(), Lane.PRIORITY)
    log, session = played.log, played.session
    played.welcome()
    assert session.state is State.OPEN
    [ping] = [one.ping for one in played.outputs if isinstance(one, SendStatus)]
    log.now_ns += 300 * MS
    pong = wire.ReceiverMessage(ack=wire.Ack(pong=ping))
    played.take(session.feed(pong, now_ns=log.now_ns))
    played.outputs.clear()
    records = log.put(Stream.ALARM, b"")
    played.take(session.committed(Stream.ALARM, records, now_ns=log.now_ns))
    begun_ns = log.now_ns
    for _ in range(10):
        due_ns = session.next_deadline_ns()
        assert due_ns is not None
        if due_ns > begun_ns + AFTER_NS[-1]:
            break
        log.now_ns = due_ns
        played.take(session.tick(due_ns))
    assert [type(one) for one in played.outputs] == [SendRecords] + [SendStatus] * len(AFTER_NS)

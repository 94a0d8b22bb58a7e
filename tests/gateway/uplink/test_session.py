"""The session's protocol: its beginning, its silence, its pace, and what no longer exists."""

from __future__ import annotations

from dataclasses import replace

import pytest

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.uplink.outputs import (
    Close,
    Fetch,
    Lane,
    Region,
    SendGaps,
    SendHello,
    SendStatus,
    SessionSettings,
)
from gateway.uplink.session import State
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import CATALOGUE, SmallLog, payloads
from tests.gateway.uplink.played import MS, SECOND, Played


def test_a_hello_is_all_that_goes_before_the_welcome() -> None:
    played = Played()
    played.put(Stream.TELEMETRY, b"x")
    assert played.outputs == [SendHello()]
    played.welcome()
    assert played.sent() == [(1, 1, False)]


@pytest.mark.parametrize("body", [{"ack": wire.Ack()}, {"throttle": wire.Throttle()}])
def test_anything_before_the_welcome_breaks_the_protocol(body: dict[str, object]) -> None:
    played = Played()
    played.feed(**body)
    assert played.of(Close)
    assert played.session.state is State.CLOSED
    assert played.session.next_deadline_ns() is None


def test_heartbeat_when_quiet_and_close_when_the_receiver_is_silent() -> None:
    played = Played()
    played.welcome()
    played.outputs.clear()
    played.after(2900 * MS)
    assert not played.of(SendStatus)
    played.after(200 * MS)
    assert len(played.of(SendStatus)) == 1
    played.after(7 * SECOND)
    assert played.of(Close) == [Close("The receiver was silent for 10 s.")]


def test_any_ack_counts_as_life() -> None:
    played = Played()
    played.welcome()
    for _ in range(10):
        played.after(5 * SECOND)
        played.feed(ack=wire.Ack())
    assert not played.of(Close)


def test_pongs_without_acknowledgements_end_in_a_close() -> None:
    played = Played()
    played.welcome()
    played.put(Stream.TELEMETRY, b"x")
    for _ in range(70):
        played.after(SECOND)
        played.feed(ack=wire.Ack(pong=1))
    assert played.of(Close)


def test_silence_before_the_welcome_ends_too() -> None:
    played = Played()
    played.after(11 * SECOND)
    assert played.of(Close)


def test_throttle_pauses_bulk_and_then_limits_it() -> None:
    played = Played(settings=SessionSettings(linger_ms=0, silence_ms=100_000))
    played.welcome()
    played.feed(throttle=wire.Throttle(pause_ms=1500, bytes_per_s=1000))
    played.put(Stream.TELEMETRY, b"x" * 840)
    assert played.sent() == []
    played.after(1500 * MS)
    assert played.sent() == [(1, 1, False)]
    played.put(Stream.TELEMETRY, b"x" * 840)
    played.after(999 * MS)
    assert played.sent() == []
    played.after(MS)
    assert played.sent() == [(2, 2, False)]


def test_evicted_records_travel_as_gaps_and_count_as_acknowledged() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(10))
    log.evict(Stream.TELEMETRY, 4)
    log.lose(Stream.TELEMETRY, 6)
    played = Played(log)
    played.welcome()
    gaps = [one.ranges for one in played.of(SendGaps) if isinstance(one, SendGaps)]
    assert gaps == [RangeSet([(1, 4)]), RangeSet([(6, 7)])]
    assert [push[:2] for push in played.sent()] == [(4, 5), (7, 10)]


def test_settings_have_no_window_below_two_messages() -> None:
    settings = SessionSettings()
    assert settings.window_floor_bytes == 2 * settings.message_floor_bytes
    assert replace(settings, linger_ms=0).heartbeat_ms * 3 < settings.silence_ms


def test_the_urgent_region_is_read_as_one_record() -> None:
    played = Played(lane=Lane.PRIORITY)
    played.welcome()
    played.put(Stream.EVENT, b"catalogue")
    played.ack(Stream.EVENT, 1, 2)
    played.outputs.clear()
    played.take(played.session.deliver_catalogue(CATALOGUE, 1))
    assert played.of(Fetch) == [Fetch(Stream.EVENT, 1, 1, 1, Region.URGENT)]

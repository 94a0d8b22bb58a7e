"""What a lane sends first: live before the past, alarms before events, files in parts."""

from __future__ import annotations

import pytest

from buffer.contract import Stream
from gateway.uplink.outputs import (
    FetchPart,
    Lane,
    Report,
    RequestKey,
    SendPart,
    SendRecords,
    SendStatus,
    SessionSettings,
)
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import SmallLog, payloads
from tests.gateway.uplink.played import MS, SECOND, Played, aged


def test_live_goes_before_the_backlog_and_a_key_is_requested() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(500, size=1000))
    played = Played(aged(log))
    played.welcome(window=8192)
    assert played.of(RequestKey)
    assert played.sent() == [(1, 3, True), (4, 6, True)]
    played.put(Stream.TELEMETRY, *payloads(2, size=500))
    assert played.sent() == [(501, 501, False)]  # what room there was
    played.ack(Stream.TELEMETRY, 1, 4)
    assert played.sent()[0] == (502, 502, False)


def test_history_follows_oldest_first_and_every_record_once() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(200, size=1000))
    played = Played(aged(log))
    played.welcome()
    seen: list[int] = []
    while pushes := played.sent():
        for first, last, historical in pushes:
            assert historical
            seen += range(first, last + 1)
        played.log.now_ns += MS
        played.ack(Stream.TELEMETRY, 1, seen[-1] + 1)
    assert seen == list(range(1, 201))


def test_a_small_fresh_backlog_is_sent_in_order_and_is_not_historical() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(10))
    log.now_ns += SECOND
    played = Played(log)
    played.welcome()
    assert not played.of(RequestKey)
    played.put(Stream.TELEMETRY, b"new")
    assert played.sent() == [(1, 10, False), (11, 11, False)]


def test_what_comes_with_the_backlog_is_historical_however_fresh_it_is() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(100))
    aged(log).put(Stream.TELEMETRY, *payloads(5))  # committed just before the session opened
    played = Played(log)
    played.welcome()
    played.put(Stream.TELEMETRY, b"live")
    pushes = []
    while some := played.sent():
        pushes += some
        played.log.now_ns += MS
        played.ack(Stream.TELEMETRY, 1, max(stop for _, stop, old in pushes if old) + 1)
    past = [one for one in pushes if one[1] <= 105]
    assert past[-1][1] == 105
    assert all(historical for _, _, historical in past)
    assert (106, 106, False) in pushes


def test_records_of_an_earlier_boot_are_historical() -> None:
    log = SmallLog()
    log.put(Stream.ALARM, b"old", boot_id=b"a" * 16)
    played = Played(log, Lane.PRIORITY)
    played.welcome()
    assert played.sent() == [(1, 1, True)]


def test_alarms_go_before_events_even_where_events_fill_the_window() -> None:
    log = SmallLog()
    log.put(Stream.EVENT, *payloads(100, size=1000))
    played = Played(aged(log), Lane.PRIORITY)
    played.welcome(window=8192)
    assert {first for first, _, _ in played.sent(Stream.EVENT)} == {1, 4}
    played.put(Stream.ALARM, *payloads(3, size=1000))
    assert played.sent(Stream.ALARM) == [(1, 3, False)]


def test_a_record_larger_than_the_window_goes_alone_when_nothing_is_in_flight() -> None:
    played = Played()
    played.welcome(window=8192)
    played.put(Stream.TELEMETRY, b"s", b"b" * 50_000)
    assert played.sent() == [(1, 1, False)]
    played.ack(Stream.TELEMETRY, 1, 2)
    assert played.sent() == [(2, 2, False)]


def test_a_record_larger_than_the_receiver_takes_is_set_aside_and_reported() -> None:
    played = Played()
    played.welcome(largest=10_000)
    played.put(Stream.TELEMETRY, b"b" * 50_000, b"s")
    (report,) = played.of(Report)
    assert isinstance(report, Report)
    assert "50000 bytes, the receiver takes 10000" in report.text
    assert played.sent() == [(2, 2, False)]


def test_live_telemetry_lingers_but_never_longer_than_said() -> None:
    played = Played(settings=SessionSettings(linger_ms=250, window_ceiling_bytes=8192))
    played.welcome()
    played.put(Stream.TELEMETRY, b"1")
    assert played.sent() == [(1, 1, False)]
    played.put(Stream.TELEMETRY, b"2")
    played.after(100 * MS)
    played.put(Stream.TELEMETRY, b"3")
    assert played.sent() == []
    played.after(150 * MS)
    assert played.sent() == [(2, 3, False)]
    played.ack(Stream.TELEMETRY, 1, 4)
    played.put(Stream.TELEMETRY, b"4" * 5000)  # a whole message does not wait
    assert played.sent() == [(4, 4, False)]


def evidence(total: int) -> bytes:
    return wire.EvidenceFile(sha256=b"s" * 32, total_bytes=total).SerializeToString()


def test_evidence_goes_in_parts_in_order_from_the_offset_asked_for() -> None:
    played = Played()
    played.welcome(window=16_384)
    played.put(Stream.EVIDENCE, evidence(30_000), evidence(10))
    assert played.sent() == [(1, 1, False)], "one file at a time"
    played.feed(evidence_need=wire.EvidenceNeed(sha256=b"s" * 32, offset=5_000))
    offset, parts = 5_000, []
    while offset < 30_000:
        (request,) = played.of(FetchPart)
        assert isinstance(request, FetchPart)
        assert request.offset == offset
        played.outputs.clear()
        content = b"." * min(request.length, 30_000 - offset)
        played.take(played.session.part_read(request, content, now_ns=played.log.now_ns))
        parts += [one for one in played.outputs if isinstance(one, SendPart)]
        offset += len(content)
        pings = [one.ping for one in played.outputs if isinstance(one, SendStatus)]
        played.feed(ack=wire.Ack(pong=pings[-1]))
    following = 5_000
    for part in parts:
        assert part.offset == following
        assert 0 < len(part.content) <= 65_536
        following += len(part.content)
    assert following == 30_000
    played.ack(Stream.EVIDENCE, 1, 2)
    assert played.sent() == [(2, 2, False)]


def test_history_and_evidence_share_what_live_leaves() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(400, size=1000))
    settings = SessionSettings(linger_ms=0, history_share=0.75)
    played = Played(aged(log), settings=settings)
    played.welcome(window=8192)
    played.put(Stream.EVIDENCE, evidence(10_000_000))
    sent = {"history": 0, "evidence": 0}
    served = 0
    asked = False
    for _ in range(200):
        outputs, played.outputs = played.outputs, []
        for output in outputs:
            if isinstance(output, FetchPart):
                content = b"." * output.length
                played.take(played.session.part_read(output, content, now_ns=played.log.now_ns))
            elif isinstance(output, SendPart):
                sent["evidence"] += len(output.content)
            elif isinstance(output, SendStatus):
                played.feed(ack=wire.Ack(pong=output.ping))
            elif isinstance(output, SendRecords) and output.stream is Stream.TELEMETRY:
                sent["history"] += sum(len(record.payload) for record in output.records)
                served = output.records[-1].sequence
                played.ack(Stream.TELEMETRY, 1, served + 1)
            elif isinstance(output, SendRecords) and not asked:
                asked = True
                played.feed(evidence_need=wire.EvidenceNeed(sha256=b"s" * 32, offset=0))
        if served > 300:
            break
    share = sent["history"] / (sent["history"] + sent["evidence"])
    assert share == pytest.approx(0.75, abs=0.1)

"""What a session makes of a receiver that knows more, lacks, refuses, or asks for something."""

from __future__ import annotations

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.uplink.outputs import (
    CatalogueDelivered,
    FindCatalogue,
    FindPeriod,
    Lane,
    LogForked,
    Relay,
    Report,
    SendResult,
    SendUnthinned,
    TakePicture,
)
from gateway.uplink.quarantine import Quarantine
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import CATALOGUE, SmallLog, payloads
from tests.gateway.uplink.played import SECOND, Played, aged


def test_a_receiver_that_knows_more_makes_the_log_renew_its_id() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, b"x")
    played = Played(log)
    played.welcome({Stream.TELEMETRY: [(1, 3)]})
    why = "holds telemetry up to 2, this log only up to 1"
    assert played.of(LogForked) == [LogForked(Stream.TELEMETRY, why)]
    played = Played(log)
    played.welcome()
    played.ack(Stream.TELEMETRY, 1, 9)
    assert played.of(LogForked)


def test_records_that_came_without_a_commit_are_found() -> None:
    played = Played()
    played.welcome()
    played.log.put(Stream.TELEMETRY, b"x")
    bounds = played.log.bounds(Stream.TELEMETRY)
    played.take(played.session.extended(Stream.TELEMETRY, bounds, now_ns=played.log.now_ns))
    assert played.sent() == [(1, 1, False)]


def test_what_a_receiver_lost_is_reported_and_sent_again() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(5))
    log.acknowledge("p", Stream.TELEMETRY, RangeSet([(1, 6)]))
    played = Played(log)
    played.welcome({Stream.TELEMETRY: [(1, 3)]})
    (report,) = played.of(Report)
    assert isinstance(report, Report)
    assert "no longer has 3 records" in report.text
    assert [push[:2] for push in played.sent()] == [(3, 5)]


def test_a_missing_catalogue_holds_its_groups_until_it_is_delivered() -> None:
    played = Played()
    played.welcome()
    played.put(Stream.TELEMETRY, *payloads(2))
    played.outputs.clear()
    played.feed(need_catalogue=wire.NeedCatalogue(hashes=[CATALOGUE]))
    assert played.of(FindCatalogue) == [FindCatalogue(CATALOGUE)]
    played.put(Stream.TELEMETRY, b"3")
    assert played.sent() == []
    assert not played.session._sender.busy()
    played.take(played.session.catalogue_delivered(CATALOGUE, now_ns=played.log.now_ns))
    assert played.sent() == [(1, 3, False)]
    played.feed(need_catalogue=wire.NeedCatalogue(hashes=[CATALOGUE]))
    assert not played.of(FindCatalogue), "said before the receiver saw the catalogue"


def test_a_receiver_that_never_keeps_a_catalogue_is_not_followed_for_ever() -> None:
    played = Played()
    played.welcome()
    played.put(Stream.TELEMETRY, b"1")
    for _ in range(8):
        played.feed(need_catalogue=wire.NeedCatalogue(hashes=[CATALOGUE]))
        played.take(played.session.catalogue_delivered(CATALOGUE, now_ns=played.log.now_ns))
        played.feed(ack=wire.Ack(pong=played.session._sender.last_ping))
    assert len(played.of(FindCatalogue)) == 5
    assert len(played.of(Report)) == 1


def test_the_event_of_a_catalogue_goes_ahead_though_it_was_acknowledged() -> None:
    log = SmallLog()
    log.put(Stream.EVENT, *payloads(100, size=1000))
    played = Played(aged(log), Lane.PRIORITY)
    played.welcome({Stream.EVENT: [(1, 3)]}, window=8192)
    played.outputs.clear()
    played.take(played.session.deliver_catalogue(CATALOGUE, 2))
    assert played.sent() == [(2, 2, True)]
    played.ack(Stream.EVENT, 2, 3)
    assert played.of(CatalogueDelivered) == [CatalogueDelivered(CATALOGUE)]


def test_refusals_are_reported_at_once_and_then_once_a_minute() -> None:
    played = Played(lane=Lane.PRIORITY)
    played.welcome()
    played.put(Stream.EVENT, *payloads(50))
    played.outputs.clear()
    for sequence in range(1, 51):
        played.feed(reject=wire.Reject(stream=wire.STREAM_EVENT, sequence=sequence, reason="no"))
    assert len(played.of(Report)) == 1
    for _ in range(13):
        played.after(5 * SECOND)
        played.feed(ack=wire.Ack())
    reports = [one for one in played.of(Report) if isinstance(one, Report)]
    assert [one.attributes["records"] for one in reports] == [1, 49]
    assert not played.session._sender.busy()


def test_refused_records_stay_refused_in_the_next_session() -> None:
    quarantine = Quarantine()
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(3))
    played = Played(log, quarantine=quarantine)
    played.welcome()
    played.feed(reject=wire.Reject(stream=wire.STREAM_TELEMETRY, sequence=2, reason="no"))
    again = Played(log, quarantine=quarantine)
    again.welcome()
    assert [push[:2] for push in again.sent()] == [(1, 1), (3, 3)]


def test_requests_are_answered_allow_listed_and_limited() -> None:
    played = Played(lane=Lane.PRIORITY)
    played.welcome()
    played.outputs.clear()
    played.feed(request=wire.Request(request_id=1, status=True))
    played.feed(request=wire.Request(request_id=2, snapshot="unit1"))
    played.feed(request=wire.Request(request_id=3))
    played.feed(request=wire.Request(request_id=4, catalogue=CATALOGUE))
    asked = wire.ResendPeriod(stream=wire.STREAM_TELEMETRY, from_ns=1, to_ns=2)
    played.feed(request=wire.Request(request_id=12, unthinned=asked))
    period = wire.ResendPeriod(stream=wire.STREAM_ALARM, from_ns=1, to_ns=2)
    played.feed(request=wire.Request(request_id=5, resend_period=period))
    said = {one.request_id: one.accepted for one in played.outputs if isinstance(one, SendResult)}
    assert said == {1: True, 3: False, 4: True}
    assert played.of(TakePicture) == [TakePicture(2, "unit1")]
    assert played.of(SendUnthinned) == [SendUnthinned(12, asked)]
    assert played.of(FindCatalogue) == [FindCatalogue(CATALOGUE)]
    assert played.of(FindPeriod) == [FindPeriod(5, Stream.ALARM, 1, 2)]
    assert len(played.of(Report)) == 6, "each is audited"
    for number in range(7, 12):
        played.feed(request=wire.Request(request_id=number, status=True))
    last = played.of(SendResult)[-1]
    assert last == SendResult(11, accepted=False, message="more than 10 requests a minute")


def test_records_asked_for_again_are_historical_and_go_after_live() -> None:
    played = Played()
    played.welcome()
    played.put(Stream.TELEMETRY, *payloads(6))
    played.ack(Stream.TELEMETRY, 1, 7)
    played.outputs.clear()
    resend = wire.Resend(stream=wire.STREAM_TELEMETRY, ranges=[wire.Range(start=2, stop=99)])
    played.feed(request=wire.Request(request_id=1, resend=resend))
    assert played.of(SendResult) == [SendResult(1, True, "5 records will be sent again")]
    assert played.sent() == [(2, 6, True)]
    played.put(Stream.TELEMETRY, b"new")
    assert played.sent() == [(7, 7, False)]


def test_what_concerns_the_other_lane_is_relayed() -> None:
    played = Played(lane=Lane.PRIORITY)
    played.welcome()
    played.outputs.clear()
    played.feed(throttle=wire.Throttle(pause_ms=1))
    played.feed(need_catalogue=wire.NeedCatalogue())
    played.feed(evidence_need=wire.EvidenceNeed())
    played.feed(reject=wire.Reject(stream=wire.STREAM_TELEMETRY, sequence=1))
    played.ack(Stream.TELEMETRY, 1, 2)
    resend = wire.Resend(stream=wire.STREAM_TELEMETRY)
    played.feed(request=wire.Request(request_id=1, resend=resend))
    assert len(played.of(Relay)) == 6

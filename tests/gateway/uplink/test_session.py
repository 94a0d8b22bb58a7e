"""The session's rules one by one, with time as an argument."""

from __future__ import annotations

from dataclasses import replace

import pytest

from buffer.contract import Record, Stream
from buffer.ranges import RangeSet
from gateway.uplink.outputs import (
    CatalogueDelivered,
    Close,
    Counters,
    Fetch,
    FetchPart,
    FindCatalogue,
    FindPeriod,
    Lane,
    LogForked,
    Output,
    Region,
    Relay,
    Report,
    RequestKey,
    SendGaps,
    SendHello,
    SendPart,
    SendRecords,
    SendResult,
    SendStatus,
    SendUnthinned,
    SessionSettings,
    TakePicture,
)
from gateway.uplink.quarantine import Quarantine
from gateway.uplink.session import LaneSession, State
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import BOOT_ID, CATALOGUE, SmallLog, payloads

MS = 1_000_000
SECOND = 1000 * MS


class Played:
    """A session and its log; reads are answered at once, messages to the receiver are kept."""

    def __init__(
        self,
        log: SmallLog | None = None,
        lane: Lane = Lane.BULK,
        settings: SessionSettings | None = None,
        quarantine: Quarantine | None = None,
    ) -> None:
        self.log = log or SmallLog()
        self.outputs: list[Output] = []
        self.counters = Counters()
        self.session = LaneSession(
            lane,
            settings=settings or SessionSettings(linger_ms=0),
            boot_id=BOOT_ID,
            bounds={stream: self.log.bounds(stream) for stream in Stream},
            cursors={stream: self.log.cursor("p", stream) for stream in Stream},
            quarantine=quarantine or Quarantine(),
            counters=self.counters,
        )
        self.take(self.session.start(now_ns=self.log.now_ns))

    def take(self, outputs: list[Output]) -> None:
        for output in outputs:
            self.outputs.append(output)
            if isinstance(output, Fetch):
                one = output
                records = self.log.read_now(one.stream, one.first, one.last, one.max_bytes)
                self.take(self.session.fetched(one, records, now_ns=self.log.now_ns))

    def welcome(
        self,
        acknowledged: dict[Stream, list[tuple[int, int]]] | None = None,
        window: int = 0,
        largest: int = 0,
    ) -> None:
        said = [
            wire.Acknowledged(
                stream=wire.Stream.ValueType(int(stream)),
                ranges=[wire.Range(start=start, stop=stop) for start, stop in ranges],
            )
            for stream, ranges in (acknowledged or {}).items()
        ]
        self.feed(
            welcome=wire.Welcome(acknowledged=said, window_bytes=window, max_message_bytes=largest)
        )

    def feed(self, **body: object) -> None:
        message = wire.ReceiverMessage(**body)  # type: ignore[arg-type]  # one body by its name
        self.take(self.session.feed(message, now_ns=self.log.now_ns))

    def ack(self, stream: Stream, start: int, stop: int, pong: int = 0) -> None:
        ranges = [wire.Range(start=start, stop=stop)]
        number = wire.Stream.ValueType(int(stream))
        self.feed(ack=wire.Ack(stream=number, ranges=ranges, pong=pong))

    def put(self, stream: Stream, *contents: bytes) -> list[Record]:
        records = self.log.put(stream, *contents)
        self.take(self.session.committed(stream, records, now_ns=self.log.now_ns))
        return records

    def after(self, nanoseconds: int) -> None:
        """Let time pass, ticking at every deadline on the way."""
        until = self.log.now_ns + nanoseconds
        while (due := self.session.next_deadline_ns()) is not None and due <= until:
            assert due > self.log.now_ns, "a deadline that is past must not come again"
            self.log.now_ns = due
            self.take(self.session.tick(due))
        self.log.now_ns = until

    def sent(self, stream: Stream | None = None) -> list[tuple[int, int, bool]]:
        """First and last sequence and the historical mark of each Push, and forget them."""
        pushes = [
            (one.records[0].sequence, one.records[-1].sequence, one.historical)
            for one in self.outputs
            if isinstance(one, SendRecords) and stream in (None, one.stream)
        ]
        self.outputs.clear()
        return pushes

    def of(self, kind: type) -> list[Output]:
        return [one for one in self.outputs if isinstance(one, kind)]


def aged(log: SmallLog, seconds: int = 3600) -> SmallLog:
    log.now_ns += seconds * SECOND
    return log


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

"""What the disk does not give is neither written off nor waited for by what comes behind it."""

from __future__ import annotations

from buffer.contract import Record, Stream
from gateway.uplink.outputs import (
    Fetch,
    FetchPart,
    Lane,
    Output,
    PersistCursor,
    Report,
    SendGaps,
    SendRecords,
)
from gateway.uplink.unread import AGAIN_NS, STUCK_NS, Stuck
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import SmallLog, payloads
from tests.gateway.uplink.played import Played, aged


class Failing(Played):
    """A log of which `bad` cannot be read; a read gives what comes before, as the buffer does."""

    bad = range(0)

    def take(self, outputs: list[Output]) -> None:
        for output in outputs:
            self.outputs.append(output)
            if not isinstance(output, Fetch):
                continue
            now_ns = self.log.now_ns
            if output.first in self.bad:
                self.take(self.session.unread(output, self.bad.stop, now_ns=now_ns))
                continue
            last = (
                min(output.last, self.bad.start - 1) if output.first < self.bad.start else 1 << 40
            )
            records: list[Record] = self.log.read_now(
                output.stream, output.first, min(last, output.last), output.max_bytes
            )
            self.take(self.session.fetched(output, records, now_ns=now_ns))

    def wait(self) -> None:
        """Until the time to read again is over; the receiver lives."""
        for _ in range(6):
            self.after(AGAIN_NS // 5)
            self.feed(ack=wire.Ack(pong=1))

    def written_off(self) -> list[Output]:
        return self.of(SendGaps)

    def arrived(self, stream: Stream) -> set[int]:
        """Sequences sent since the last call; acknowledged at once."""
        found: set[int] = set()
        while pushes := [one for one in self.outputs if isinstance(one, SendRecords)]:
            self.outputs = [one for one in self.outputs if not isinstance(one, SendRecords)]
            for push in pushes:
                numbers = [record.sequence for record in push.records]
                found.update(numbers)
                self.ack(stream, numbers[0], numbers[-1] + 1)
        return found


def backlog(count: int, stream: Stream = Stream.TELEMETRY) -> SmallLog:
    log = SmallLog()
    log.put(stream, *payloads(count, size=900))
    return aged(log)


def test_a_backlog_with_unreadable_records_goes_round_them_and_comes_back() -> None:
    played = Failing(backlog(100))
    played.bad = range(30, 50)
    played.welcome()
    assert played.arrived(Stream.TELEMETRY) == {*range(1, 30), *range(50, 101)}
    assert played.written_off() == []
    assert played.session.backlog_records()[Stream.TELEMETRY] == 20
    played.wait()
    assert played.arrived(Stream.TELEMETRY) == set()
    played.bad = range(0)
    played.wait()
    assert played.arrived(Stream.TELEMETRY) == set(range(30, 50))
    assert played.written_off() == []
    assert played.session.backlog_records()[Stream.TELEMETRY] == 0


def test_a_disk_that_reads_nothing_costs_no_backlog_and_lets_live_data_go() -> None:
    played = Failing(backlog(100))
    played.bad = range(1, 101)
    played.welcome()
    played.put(Stream.TELEMETRY, *payloads(3, seed=9))
    assert played.arrived(Stream.TELEMETRY) == {101, 102, 103}
    assert played.written_off() == []
    cursors = [one.ranges for one in played.of(PersistCursor) if isinstance(one, PersistCursor)]
    assert not any(sequence in ranges for ranges in cursors for sequence in range(1, 101))
    played.bad = range(0)
    played.wait()
    assert played.arrived(Stream.TELEMETRY) == set(range(1, 101))


def test_a_catalogue_that_cannot_be_read_is_asked_for_again() -> None:
    played = Failing(backlog(1, Stream.EVENT), Lane.PRIORITY)
    played.welcome({Stream.EVENT: [(1, 2)]})
    played.bad = range(1, 2)
    played.take(played.session.deliver_catalogue(b"c" * 32, 1))
    assert played.sent(Stream.EVENT) == []
    played.bad = range(0)
    played.wait()
    assert [first for first, _, _ in played.sent(Stream.EVENT)] == [1]


def test_a_file_that_cannot_be_read_waits_and_the_next_one_goes() -> None:
    log = SmallLog()
    for name in (b"1" * 32, b"2" * 32):
        file = wire.EvidenceFile(sha256=name, total_bytes=10)
        log.put(Stream.EVIDENCE, file.SerializeToString())
    played = Failing(log)
    played.welcome()

    def needed(name: bytes) -> FetchPart:
        played.feed(evidence_need=wire.EvidenceNeed(sha256=name))
        request = played.of(FetchPart)[-1]
        assert isinstance(request, FetchPart)
        assert request.sha256 == name
        return request

    assert [first for first, _, _ in played.sent(Stream.EVIDENCE)] == [1]
    request = needed(b"1" * 32)
    played.take(played.session.part_unread(request, "I/O error", now_ns=log.now_ns))
    (told,) = played.of(Report)
    assert isinstance(told, Report)
    assert told.kind == "uplink.evidence_unreadable"
    assert [first for first, _, _ in played.sent(Stream.EVIDENCE)] == [2]
    needed(b"2" * 32)
    played.ack(Stream.EVIDENCE, 2, 3)
    assert played.of(SendGaps) == []
    played.wait()
    assert [first for first, _, _ in played.sent(Stream.EVIDENCE)] == [1]
    played.take(played.session.part_unread(needed(b"1" * 32), "I/O error", now_ns=log.now_ns))
    assert played.of(Report) == [], "said once"
    assert played.of(SendGaps) == []


def test_an_answer_about_a_file_that_is_over_writes_off_no_other_one() -> None:
    log = SmallLog()
    for name in (b"1" * 32, b"2" * 32):
        file = wire.EvidenceFile(sha256=name, total_bytes=10)
        log.put(Stream.EVIDENCE, file.SerializeToString())
    played = Failing(log)
    played.welcome()
    played.feed(evidence_need=wire.EvidenceNeed(sha256=b"1" * 32))
    request = played.of(FetchPart)[-1]
    assert isinstance(request, FetchPart)
    refused = wire.Reject(stream=wire.STREAM_EVIDENCE, sequence=1, reason="damaged")
    played.feed(reject=refused)  # while its file is read, which the quota has just taken
    assert 2 in [first for first, _, _ in played.sent(Stream.EVIDENCE)]
    played.take(played.session.part_read(request, None, now_ns=log.now_ns))
    assert played.written_off() == []
    assert played.of(Report) == []
    played.feed(evidence_need=wire.EvidenceNeed(sha256=b"2" * 32))
    assert [one.sha256 for one in played.of(FetchPart) if isinstance(one, FetchPart)] == [b"2" * 32]


def test_a_place_that_stays_unreadable_is_left_after_a_while() -> None:
    stuck = Stuck()
    assert not stuck.is_long(Stream.ALARM, 5, 0)
    assert not stuck.is_long(Stream.EVENT, 5, STUCK_NS)
    assert stuck.is_long(Stream.ALARM, 5, STUCK_NS)
    assert not stuck.is_long(Stream.ALARM, 6, STUCK_NS + 1), "another place"

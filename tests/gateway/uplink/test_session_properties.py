"""Whatever order acks, cuts, evictions and refusals come in, the session keeps its promises.

The machine plays the shell (reads, both lanes' commits) and the receiver (stores, acknowledges in
any order, refuses, forgets, asks again) and lets Hypothesis choose what happens next.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from buffer.contract import Bounds, Record, Stream
from buffer.ranges import RangeSet
from gateway.uplink.copies import ROUND_TRIPS
from gateway.uplink.ledger import wire_bytes
from gateway.uplink.outputs import (
    STREAMS,
    Close,
    Counters,
    Fetch,
    FetchPart,
    FindCatalogue,
    Lane,
    LogForked,
    Output,
    PersistCursor,
    SendCopies,
    SendGaps,
    SendPart,
    SendRecords,
    SendStatus,
    SessionSettings,
)
from gateway.uplink.quarantine import Quarantine
from gateway.uplink.session import LaneSession, State
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import BOOT_ID, CATALOGUE, SmallLog

NAME = "province"
SETTINGS = SessionSettings(small_backlog_records=3, staged_bytes=6_000, long_line_ms=0)
SECOND = 1_000_000_000


class LaneMachine(RuleBasedStateMachine):
    """One lane with its log and its receiver."""

    lane = Lane.BULK
    widest = 1  # sequences that one record may speak for

    def __init__(self) -> None:
        super().__init__()
        self.log = SpanLog(self.widest)
        self.stored: dict[Stream, dict[int, Record]] = {stream: {} for stream in Stream}
        self.gaps: dict[Stream, RangeSet] = {stream: RangeSet() for stream in Stream}
        self.refused: dict[Stream, set[int]] = {stream: set() for stream in Stream}
        self.set_aside: dict[Stream, RangeSet] = {stream: RangeSet() for stream in Stream}
        self.quarantine = Quarantine()
        self.events: list[str] = []
        self.session: LaneSession | None = None
        self.to_read: deque[Fetch | FetchPart] = deque()
        self.to_receiver: deque[Output] = deque()
        self.copies: deque[SendCopies] = deque()
        self.sent: Tally[tuple[Stream, int]] = Tally()
        self.copied: Tally[int] = Tally()
        self.allowed: Tally[tuple[Stream, int]] = Tally()
        self.unacknowledged: dict[tuple[Stream, int], int] = {}
        self.lacks_catalogue = False
        self.wanted: list[bytes] = []
        self.seed = 0

    @property
    def now_ns(self) -> int:
        return self.log.now_ns

    @property
    def session_now(self) -> LaneSession:
        assert self.session is not None
        return self.session

    # ---- shell ---------------------------------------------------------------------------

    def carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case SendRecords():
                    self.note_sent(output)
                    self.to_receiver.append(output)
                case SendCopies(records):
                    self.note_copied(records)
                    self.copies.append(output)
                case SendGaps() | SendStatus() | SendPart():
                    self.to_receiver.append(output)
                case Fetch() | FetchPart():
                    self.to_read.append(output)
                case PersistCursor():
                    self.persist(output)
                case FindCatalogue(catalogue):
                    self.wanted.append(catalogue)
                case Close() | LogForked():
                    raise AssertionError(output)
                case _:
                    pass

    def persist(self, cursor: PersistCursor) -> None:
        set_cursor = self.log.replace_cursor if cursor.replace else self.log.acknowledge
        set_cursor(NAME, cursor.stream, cursor.ranges)
        for key in list(self.unacknowledged):
            if key[0] is cursor.stream and key[1] in cursor.ranges:
                del self.unacknowledged[key]

    def note_sent(self, send: SendRecords) -> None:
        for record in send.records:
            key = (send.stream, record.sequence)
            self.sent[key] += 1
            refused = record.sequence in self.refused[send.stream]
            assert not refused or self.allowed[key], f"{key} sent unasked after its refusal"
            assert self.sent[key] <= 1 + self.allowed[key], f"{key} sent twice in one session"
            if send.stream is not Stream.EVIDENCE:
                self.unacknowledged[key] = wire_bytes(record)
        if self.lane is Lane.BULK and send.stream is Stream.TELEMETRY:
            window = self.session_now._sender.window
            message = sum(wire_bytes(record) for record in send.records)
            assert sum(self.unacknowledged.values()) <= max(window.limit_bytes, message)
        for before, after in pairwise(send.records):
            assert after.first == before.sequence + 1

    def note_copied(self, records: tuple[Record, ...]) -> None:
        assert records
        for record in records:
            assert record.stream is Stream.ALARM
            assert self.sent[Stream.ALARM, record.sequence], "a copy follows what was sent"
            key = Stream.ALARM, record.sequence
            assert key in self.unacknowledged or self.allowed[key], "or it was asked for again"
            self.copied[record.sequence] += 1
            assert self.copied[record.sequence] <= self.sent[Stream.ALARM, record.sequence]

    # ---- what happens --------------------------------------------------------------------

    @rule(
        stream=st.sampled_from(list(Stream)),
        sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    )
    def commit(self, stream: Stream, sizes: list[int]) -> None:
        stream = STREAMS[self.lane][int(stream) % 2]
        self.seed += 1
        contents = [
            f"{self.seed}/{number}".encode().ljust(n, b".") for number, n in enumerate(sizes)
        ]
        if stream is Stream.EVIDENCE:
            contents = [wire.EvidenceFile(sha256=b"", total_bytes=0).SerializeToString()] * 2
        records = self.log.put(stream, *contents)
        if self.session is not None:
            self.carry_out(self.session.committed(stream, records, now_ns=self.now_ns))

    @rule()
    @precondition(lambda self: self.session is None)
    def connect(self) -> None:
        self.to_read.clear()
        self.to_receiver.clear()
        self.wanted.clear()
        self.sent.clear()
        self.copied.clear()
        self.copies.clear()
        self.allowed.clear()
        self.unacknowledged.clear()
        self.session = LaneSession(
            self.lane,
            settings=SETTINGS,
            boot_id=BOOT_ID,
            bounds={stream: self.log.bounds(stream) for stream in Stream},
            cursors={stream: self.log.cursor(NAME, stream) for stream in Stream},
            quarantine=self.quarantine,
            counters=Counters(),
        )
        if self.lane is Lane.PRIORITY:  # a long line from the first: alarms are copied
            for _ in range(ROUND_TRIPS):
                self.session._sender.window.round_trip(0)
        self.carry_out(self.session.start(now_ns=self.now_ns))

    @rule(window=st.sampled_from([0, 4096, 20_000]))
    @precondition(lambda self: self.session and self.session.state is State.WAITING)
    def welcome(self, window: int) -> None:
        said = []
        for stream in Stream:
            ranges = covered(self.stored[stream].values())
            ranges.update(self.gaps[stream])
            said.append(wire.Acknowledged(stream=number(stream), ranges=to_wire(ranges)))
        self.feed(welcome=wire.Welcome(acknowledged=said, window_bytes=window))

    @rule()
    @precondition(lambda self: self.session is not None)
    def cut(self) -> None:
        self.session = None
        self.to_read.clear()
        self.to_receiver.clear()

    @rule()
    @precondition(lambda self: self.to_read)
    def read(self) -> None:
        assert self.session is not None
        errand = self.to_read.popleft()
        match errand:
            case Fetch(stream, first, last, max_bytes):
                records = self.log.read_now(stream, first, last, max_bytes)
                self.carry_out(self.session.fetched(errand, records, now_ns=self.now_ns))
            case FetchPart():
                self.carry_out(self.session.part_read(errand, b"x", now_ns=self.now_ns))

    @rule(
        forgets=st.booleans(),
        refuses=st.sets(st.integers(0, 20), max_size=2),
        together=st.integers(1, 4),
    )
    @precondition(lambda self: self.to_receiver)
    def receive(self, forgets: bool, refuses: set[int], together: int) -> None:
        """Let the receiver take what was sent, refuse some of it, acknowledge the rest."""
        for _ in range(min(together, len(self.to_receiver))):
            match self.to_receiver.popleft():
                case SendRecords(stream, records):
                    self.take(stream, records, refuses)
                case SendGaps(stream, ranges):
                    self.gaps[stream].update(ranges)
                    self.feed(ack=wire.Ack(stream=number(stream), ranges=to_wire(ranges)))
                case SendStatus(ping):
                    self.feed(ack=wire.Ack(pong=ping))
                case _:
                    pass
        if forgets and self.seed % 3 == 0:
            for stream in Stream:
                self.stored[stream].pop(max(self.stored[stream], default=0), None)

    @rule()
    @precondition(lambda self: self.copies and self.session)
    def receive_copy(self) -> None:
        """A copy comes by its own connection, before or after what it is a copy of."""
        records = self.copies.popleft().records
        self.take(Stream.ALARM, records, self.refused[Stream.ALARM])

    def take(self, stream: Stream, records: tuple[Record, ...], refuses: set[int]) -> None:
        ranges = RangeSet()
        if stream is Stream.TELEMETRY and self.lacks_catalogue:
            self.allowed.update(list(self.unacknowledged))
            for key in list(self.unacknowledged):
                del self.unacknowledged[key]
            self.feed(need_catalogue=wire.NeedCatalogue(hashes=[CATALOGUE]))
            return
        for record in records:
            if record.sequence in refuses:
                self.refused[stream].add(record.sequence)
                self.set_aside[stream].add(record.first, record.sequence + 1)
                reject = wire.Reject(stream=number(stream), sequence=record.sequence)
                self.feed(reject=reject)
                self.unacknowledged.pop((stream, record.sequence), None)
                continue
            before = self.stored[stream].setdefault(record.sequence, record)
            assert before.hash == record.hash
            ranges.add(record.first, record.sequence + 1)
        if ranges:
            self.feed(ack=wire.Ack(stream=number(stream), ranges=to_wire(ranges)))

    @rule()
    @precondition(lambda self: self.lane is Lane.BULK)
    def lose_catalogue(self) -> None:
        self.lacks_catalogue = True

    @rule()
    @precondition(lambda self: self.wanted and self.session)
    def deliver_catalogue(self) -> None:
        self.lacks_catalogue = False
        delivered = self.session_now.catalogue_delivered(self.wanted.pop(), now_ns=self.now_ns)
        self.carry_out(delivered)

    @rule(start=st.integers(1, 30), length=st.integers(1, 5))
    @precondition(lambda self: self.session and self.session.state is State.OPEN)
    def request(self, start: int, length: int) -> None:
        stream = STREAMS[self.lane][0]
        ranges = [wire.Range(start=start, stop=start + length)]
        for sequence in range(start, start + length + self.widest - 1):
            self.allowed[stream, sequence] += 1
        resend = wire.Resend(stream=number(stream), ranges=ranges)
        self.feed(request=wire.Request(request_id=1, resend=resend))

    @rule(rate=st.sampled_from([0, 20_000, 1_000_000]), pause_ms=st.sampled_from([0, 100, 2_000]))
    @precondition(lambda self: self.session and self.session.state is State.OPEN)
    def throttle(self, rate: int, pause_ms: int) -> None:
        self.feed(throttle=wire.Throttle(bytes_per_s=rate, pause_ms=pause_ms))

    @rule(which=st.integers(0, 1))
    @precondition(lambda self: self.session and self.session.state is State.OPEN)
    def conflict(self, which: int) -> None:
        """Another record has an identity of ours: the session ends at once, and says nothing."""
        stream = STREAMS[self.lane][which]
        bounds = self.log.bounds(stream)
        if bounds.first == bounds.next or stream not in SETTINGS.streams:
            return
        session = self.session_now
        if not session._sender.ledgers[stream].first < session._sender.ledgers[stream].next:
            return
        at = session._sender.ledgers[stream].next - 1
        reject = wire.Reject(stream=number(stream), sequence=at, conflict=True)
        message = wire.ReceiverMessage(reject=reject)
        [forked] = session.feed(message, now_ns=self.now_ns)
        assert isinstance(forked, LogForked)
        assert forked.stream is stream
        assert session.state is State.CLOSED
        assert session.next_deadline_ns() is None
        assert session.feed(message, now_ns=self.now_ns) == []
        assert session.tick(self.now_ns + 100 * SECOND) == []
        self.cut()

    @rule(which=st.integers(0, 1), count=st.integers(1, 10))
    def evict(self, which: int, count: int) -> None:
        stream = STREAMS[self.lane][which]
        self.log.evict(stream, self.log.bounds(stream).first + count)

    @rule(which=st.integers(0, 1), sequence=st.integers(1, 30))
    def corrupt(self, which: int, sequence: int) -> None:
        self.log.lose(STREAMS[self.lane][which], sequence)

    @rule(seconds=st.integers(0, 2))
    def wait(self, seconds: int) -> None:
        self.log.now_ns += seconds * SECOND // 2
        if self.session is not None:
            self.feed_nothing()

    def feed_nothing(self) -> None:
        """Keep the link alive by the receiver's own words, then let time act."""
        assert self.session is not None
        if self.session.state is State.WAITING:
            self.welcome(0)
        self.feed(ack=wire.Ack())
        due = self.session.next_deadline_ns()
        assert due is not None
        if due <= self.now_ns:
            self.carry_out(self.session.tick(self.now_ns))

    def feed(self, **body: object) -> None:
        message = wire.ReceiverMessage(**body)  # type: ignore[arg-type]  # one body by its name
        self.carry_out(self.session_now.feed(message, now_ns=self.now_ns))

    # ---- what holds ----------------------------------------------------------------------

    @invariant()
    def nothing_is_in_flight_that_was_not_sent(self) -> None:
        if self.session is not None:
            assert self.session._sender.window.in_flight_bytes >= 0

    def teardown(self) -> None:
        """Let everything go well from now on: all that is held must end up acknowledged."""
        if self.session is not None:
            if self.session.state is State.WAITING:
                self.welcome(0)
            self.settle()
            assert not self.session_now._sender.busy()
        self.cut()
        self.connect()
        self.welcome(0)
        self.settle()
        assert not self.session_now._sender.busy()
        for stream in STREAMS[self.lane]:
            assert self.log.unacknowledged(NAME, stream) == 0
            known = covered(self.stored[stream].values())
            known.update(self.gaps[stream])
            known.update(self.set_aside[stream])
            following = self.log.bounds(stream).next
            assert not known.missing(1, following), "every sequence is stored or a known gap"

    def settle(self) -> None:
        """Play on until nothing is left to do."""
        idle = False
        for _ in range(10_000):
            if self.to_read or self.to_receiver or self.wanted:
                idle = False
            if self.to_read:
                self.read()
            elif self.to_receiver:
                self.receive(forgets=False, refuses=set(), together=1)
            elif self.wanted:
                self.deliver_catalogue()
            elif (due := self.session_now._sender.due_ns(self.now_ns)) is not None:
                self.feed(ack=wire.Ack())  # the receiver lives; it only wants it slower
                self.log.now_ns = max(due, self.now_ns)
                self.carry_out(self.session_now.tick(self.now_ns))
            elif idle:
                return
            else:
                idle = True
                self.log.now_ns += SETTINGS.linger_ms * SECOND // 1000
                self.carry_out(self.session_now.tick(self.now_ns))
        raise AssertionError("the session never comes to rest")


class DerivedMachine(LaneMachine):
    """The same promises where a record may speak for several sequences."""

    widest = 3


class DerivedPriorityMachine(DerivedMachine):
    """Likewise, on the other lane: alarms that stand behind others that were left out."""

    lane = Lane.PRIORITY


class PriorityMachine(LaneMachine):
    """The same promises on the other lane."""

    lane = Lane.PRIORITY


class SpanLog(SmallLog):
    """A log as a destination with a filter sees it: each record speaks for 1 to `widest`."""

    def __init__(self, widest: int) -> None:
        super().__init__()
        self._widest = widest

    def _make(self, stream: Stream, payload: bytes, boot_id: bytes) -> Record:
        if self._widest == 1:
            return super()._make(stream, payload, boot_id)
        first = self.next[stream]
        self.next[stream] += first % self._widest
        made = super()._make(stream, payload, boot_id)
        record = self.records[stream][made.sequence] = replace(made, source_first=first)
        return record

    def bounds(self, stream: Stream) -> Bounds:
        held = self.records[stream].values()
        return Bounds(
            min((one.first for one in held), default=self.next[stream]), self.next[stream]
        )

    def read_now(self, stream: Stream, first: int, last: int, max_bytes: int) -> list[Record]:
        found: list[Record] = []
        for sequence in sorted(self.records[stream]):
            record = self.records[stream][sequence]
            if sequence < first or record.first > last:
                continue
            if found and sum(len(one.payload) for one in found) + len(record.payload) > max_bytes:
                break
            found.append(record)
        return found


def covered(records: Iterable[Record]) -> RangeSet:
    return RangeSet((one.first, one.sequence + 1) for one in records)


def number(stream: Stream) -> wire.Stream.ValueType:
    return wire.Stream.ValueType(int(stream))


def to_wire(ranges: RangeSet) -> list[wire.Range]:
    return [wire.Range(start=start, stop=stop) for start, stop in ranges]


TestBulk = LaneMachine.TestCase
TestBulk.settings = hypothesis_settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPriority = PriorityMachine.TestCase
TestPriority.settings = hypothesis_settings(max_examples=100, stateful_step_count=40, deadline=None)
TestDerived = DerivedMachine.TestCase
TestDerived.settings = hypothesis_settings(max_examples=80, stateful_step_count=40, deadline=None)
TestDerivedPriority = DerivedPriorityMachine.TestCase
TestDerivedPriority.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=40, deadline=None
)

"""Three lanes of one destination that come and go each by itself: the stream survives it.

The machine plays the shell (reads, commits, what the lanes tell each other), the lines (messages
wait in both directions, are lost with their connection, or still arrive after it) and the receiver,
which stores by identity. Certificates are renewed while all of it is under way: every connection is
given up, each ends in its own time, and only new ones use the new certificate.
"""

from __future__ import annotations

import hashlib
from collections import Counter as Tally
from collections import deque
from dataclasses import dataclass, field, replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from buffer.contract import Record, Stream
from buffer.ranges import RangeSet
from gateway.uplink.file_policy import FilePolicy
from gateway.uplink.outputs import (
    MAIN_LANES,
    STREAMS,
    CatalogueDelivered,
    Close,
    Counters,
    Fetch,
    FindCatalogue,
    Lane,
    LogForked,
    Opened,
    Output,
    PersistCursor,
    Relay,
    SendCopies,
    SendGaps,
    SendRecords,
    SendStatus,
    SessionSettings,
)
from gateway.uplink.quarantine import Quarantine
from gateway.uplink.session import LaneSession, State
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import BOOT_ID, SmallLog
from tests.gateway.uplink.test_session_properties import NAME, SECOND, covered, number, to_wire

SETTINGS = SessionSettings(small_backlog_records=3, staged_bytes=6_000, long_line_ms=0)
SILENCE_S = {Lane.PRIORITY: 10, Lane.BULK: 10, Lane.COPY: 30}
"""With nothing heard for so long a line is given up: SessionSettings, and its copy lane's."""
LANES = st.sampled_from(list(Lane))
ANNOUNCING = 1  # the event that announces the catalogue of all telemetry


@dataclass(eq=False)
class Line:
    """One connection: its session, what waits to be read, and what is on its way."""

    lane: Lane
    session: LaneSession
    certificate: int
    ending: bool = False  # given up: nothing that its session says is carried out any more
    reason: str = ""  # why its session closed it
    to_read: deque[Fetch] = field(default_factory=deque)
    to_receiver: deque[Output] = field(default_factory=deque)
    to_gateway: deque[wire.ReceiverMessage] = field(default_factory=deque)
    said: dict[Stream, RangeSet] = field(default_factory=dict)  # by its Welcome
    sent: Tally[tuple[Stream, int]] = field(default_factory=Tally)
    catalogues_wanted: int = 0

    @property
    def is_open(self) -> bool:
        return self.session.state is State.OPEN and not self.ending


class LanesMachine(RuleBasedStateMachine):
    """The lanes of one destination, its log and its receiver."""

    def __init__(self) -> None:
        super().__init__()
        self.log = SmallLog()
        announced = wire.Event(kind="catalogue", catalogue=wire.Catalogue())
        self.catalogue = hashlib.sha256(announced.catalogue.SerializeToString()).digest()
        self.log.put(Stream.EVENT, announced.SerializeToString())
        self.log.set_catalogue(self.catalogue)
        self.stored: dict[Stream, dict[int, Record]] = {stream: {} for stream in Stream}
        self.gaps: dict[Stream, RangeSet] = {stream: RangeSet() for stream in Stream}
        self.knows_catalogue = False
        self.lines: dict[Lane, Line] = {}
        self.late: deque[Output] = deque()
        self.wanted: dict[bytes, int] = {}
        self.quarantine = Quarantine()
        self.policy = FilePolicy()
        self.certificate = 1
        self.seed = 0

    @property
    def now_ns(self) -> int:
        return self.log.now_ns

    # ---- shell: a link, and the uplink that owns it ----------------------------------------

    def carry_out(self, line: Line, outputs: list[Output]) -> None:
        for output in outputs:
            if line.ending:
                return
            match output:
                case SendRecords() | SendGaps() | SendStatus():
                    self.note_sent(line, output)
                    line.to_receiver.append(output)
                case Fetch():
                    line.to_read.append(output)
                case PersistCursor(stream, ranges, replaces):
                    set_cursor = self.log.replace_cursor if replaces else self.log.acknowledge
                    set_cursor(NAME, stream, ranges)
                case Close(reason):
                    line.ending, line.reason = True, reason
                case LogForked():
                    raise AssertionError(output)
                case _:
                    self.tell_others(line, output)

    def tell_others(self, line: Line, output: Output) -> None:
        """What the uplink that owns the lanes does (gateway/uplink/client.py)."""
        match output:
            case Opened() if line.lane is Lane.PRIORITY:
                for catalogue, sequence in self.wanted.items():
                    self.carry_out(line, line.session.deliver_catalogue(catalogue, sequence))
            case Relay(message):
                other = self.lines.get(Lane.BULK if line.lane is Lane.PRIORITY else Lane.PRIORITY)
                if other is not None and other.is_open:
                    self.feed(other, message)
            case FindCatalogue() | CatalogueDelivered():
                self.tell_of_catalogue(output)
            case SendCopies(records):
                assert line.lane is Lane.PRIORITY
                assert all(line.sent[Stream.ALARM, one.sequence] for one in records)
                copies = self.lines.get(Lane.COPY)
                if copies is not None and copies.is_open:
                    send = SendRecords(Stream.ALARM, tuple(records), historical=False)
                    copies.to_receiver.append(send)
            case _:
                pass  # the copy lane comes and goes as Hypothesis likes, not by LongLine

    def tell_of_catalogue(self, output: FindCatalogue | CatalogueDelivered) -> None:
        if isinstance(output, FindCatalogue):
            self.wanted[output.catalogue] = ANNOUNCING
            priority = self.lines.get(Lane.PRIORITY)
            if priority is not None:
                delivered = priority.session.deliver_catalogue(output.catalogue, ANNOUNCING)
                self.carry_out(priority, delivered)
            return
        self.wanted.pop(output.catalogue, None)
        bulk = self.lines.get(Lane.BULK)
        if bulk is not None:
            told = bulk.session.catalogue_delivered(output.catalogue, now_ns=self.now_ns)
            self.carry_out(bulk, told)

    def note_sent(self, line: Line, output: Output) -> None:
        assert line.session.state is State.OPEN, "nothing goes before the Welcome"
        if not isinstance(output, SendRecords):
            return
        for record in output.records:
            key = (output.stream, record.sequence)
            assert output.stream in STREAMS[line.lane]
            line.sent[key] += 1
            if key == (Stream.EVENT, ANNOUNCING):
                continue  # goes whenever the receiver lacks the catalogue
            assert record.sequence not in line.said[output.stream], f"{key}: said to be there"
            again = line.catalogues_wanted if output.stream is Stream.TELEMETRY else 0
            assert line.sent[key] <= 1 + again, f"{key} sent twice on one connection"

    def feed(self, line: Line, message: wire.ReceiverMessage) -> None:
        if message.HasField("welcome"):
            line.said = {stream: RangeSet() for stream in Stream}
            for one in message.welcome.acknowledged:
                ranges = RangeSet((span.start, span.stop) for span in one.ranges)
                line.said[Stream(one.stream)].update(ranges)
        line.catalogues_wanted += message.HasField("need_catalogue")
        self.carry_out(line, line.session.feed(message, now_ns=self.now_ns))

    # ---- what happens at the gateway -------------------------------------------------------

    @rule(stream=st.sampled_from(list(Stream)), sizes=st.lists(st.integers(1, 3000), max_size=6))
    def commit(self, stream: Stream, sizes: list[int]) -> None:
        self.seed += 1
        contents = [f"{self.seed}/{at}".encode().ljust(n, b".") for at, n in enumerate(sizes)]
        if stream is Stream.EVIDENCE:
            contents = [wire.EvidenceFile().SerializeToString() for _ in contents]
        if not contents:
            return
        records = self.log.put(stream, *contents)
        for line in list(self.lines.values()):
            if stream in STREAMS[line.lane]:
                told = line.session.committed(stream, records, now_ns=self.now_ns)
                self.carry_out(line, told)

    @rule(lane=LANES)
    def connect(self, lane: Lane) -> None:
        if lane in self.lines:
            return
        light = replace(SETTINGS, copy_alarms=False, silence_ms=SILENCE_S[lane] * 1000)
        session = LaneSession(
            lane,
            settings=light if lane is Lane.COPY else SETTINGS,
            boot_id=BOOT_ID,
            bounds={stream: self.log.bounds(stream) for stream in STREAMS[lane]},
            cursors={stream: self.log.cursor(NAME, stream) for stream in Stream},
            quarantine=self.quarantine,
            counters=Counters(),
            policy=self.policy,
        )
        line = self.lines[lane] = Line(lane, session, self.certificate)
        self.carry_out(line, session.start(now_ns=self.now_ns))

    @initialize(lanes=st.sets(LANES))
    def begin(self, lanes: set[Lane]) -> None:
        for lane in lanes:
            self.connect(lane)
            self.welcome(lane, 0)

    @rule(steps=st.integers(1, 12))
    def play(self, steps: int) -> None:
        """What is at hand happens in its order, on every lane."""
        for _ in range(steps):
            self.play_once()

    @rule(lane=LANES, arrives=st.booleans())
    def lose(self, lane: Lane, arrives: bool) -> None:
        """A connection is gone; what the gateway had sent may still arrive, unanswered."""
        line = self.lines.pop(lane, None)
        if line is not None and arrives:
            self.late.extend(line.to_receiver)

    @rule()
    def renew(self) -> None:
        """Certificate files are renewed: every connection is given up, and ends when it does."""
        self.certificate += 1
        for line in self.lines.values():
            line.ending = True

    @rule(lane=LANES)
    def read(self, lane: Lane) -> None:
        line = self.lines.get(lane)
        if line is not None and line.to_read:
            fetch = line.to_read.popleft()
            records = self.log.read_now(fetch.stream, fetch.first, fetch.last, fetch.max_bytes)
            self.carry_out(line, line.session.fetched(fetch, records, now_ns=self.now_ns))

    @rule(lane=LANES)
    def hear(self, lane: Lane) -> None:
        line = self.lines.get(lane)
        if line is not None and line.to_gateway:
            self.feed(line, line.to_gateway.popleft())

    @rule(stream=st.sampled_from([Stream.ALARM, Stream.TELEMETRY]), count=st.integers(1, 4))
    def evict(self, stream: Stream, count: int) -> None:
        self.log.evict(stream, self.log.bounds(stream).first + count)

    @rule(halves=st.integers(0, 2))
    def wait(self, halves: int) -> None:
        """Time passes; the receiver is heard on every line."""
        self.let_pass(halves, silent=None)

    @rule(lane=LANES)
    def half_open(self, lane: Lane) -> None:
        """Nothing comes by one line any more: it is given up, and no other is."""
        line = self.lines.get(lane)
        if line is None or line.ending:
            return
        others = [one for one in self.lines.values() if one is not line and one.is_open]
        self.let_pass(2 * SILENCE_S[lane], silent=line)
        assert line.reason
        for other in others:
            assert other.is_open or "acknowledged nothing" in other.reason

    def let_pass(self, halves: int, *, silent: Line | None) -> None:
        """Half seconds in which the receiver is heard on every open line but one."""
        for _ in range(halves):
            self.log.now_ns += SECOND // 2
            for line in list(self.lines.values()):
                if line.is_open and line is not silent:
                    self.feed(line, wire.ReceiverMessage(ack=wire.Ack()))
                if not line.ending:
                    self.tick(line)

    def tick(self, line: Line) -> None:
        due = line.session.next_deadline_ns()
        if due is not None and due <= self.now_ns:
            self.carry_out(line, line.session.tick(self.now_ns))

    # ---- what happens at the receiver ------------------------------------------------------

    @rule(lane=LANES, window=st.sampled_from([0, 4096, 20_000]))
    def welcome(self, lane: Lane, window: int) -> None:
        line = self.lines.get(lane)
        if line is None or line.session.state is not State.WAITING or line.to_gateway:
            return
        assert line.ending or line.certificate == self.certificate
        said = [
            wire.Acknowledged(stream=number(stream), ranges=to_wire(self.held(stream)))
            for stream in Stream
        ]
        body = wire.Welcome(acknowledged=said, window_bytes=window)
        line.to_gateway.append(wire.ReceiverMessage(welcome=body))

    @rule(lane=LANES, together=st.integers(1, 4))
    def receive(self, lane: Lane, together: int) -> None:
        line = self.lines.get(lane)
        if line is None:
            return
        for _ in range(min(together, len(line.to_receiver))):
            line.to_gateway.append(self.take(line.to_receiver.popleft()))

    @rule()
    @precondition(lambda self: self.late)
    def receive_late(self) -> None:
        """What a lost connection had carried reaches the store after all; nobody hears of it."""
        self.take(self.late.popleft())

    @rule()
    def lose_catalogue(self) -> None:
        self.knows_catalogue = False

    def take(self, message: Output) -> wire.ReceiverMessage:
        """Store what arrived; gives the answer."""
        match message:
            case SendStatus(ping):
                return wire.ReceiverMessage(ack=wire.Ack(pong=ping))
            case SendGaps(stream, ranges):
                self.gaps[stream].update(ranges)
            case SendRecords(stream, records):
                if stream is Stream.TELEMETRY and not self.knows_catalogue:
                    need = wire.NeedCatalogue(hashes=[self.catalogue])
                    return wire.ReceiverMessage(need_catalogue=need)
                for record in records:
                    self.store(stream, record)
                ranges = covered(records)
            case _:
                raise AssertionError(message)
        ack = wire.Ack(stream=number(stream), ranges=to_wire(ranges))
        return wire.ReceiverMessage(ack=ack)

    def store(self, stream: Stream, record: Record) -> None:
        before = self.stored[stream].setdefault(record.sequence, record)
        assert before.hash == record.hash
        if (stream, record.sequence) == (Stream.EVENT, ANNOUNCING):
            self.knows_catalogue = True

    def held(self, stream: Stream) -> RangeSet:
        ranges = covered(self.stored[stream].values())
        ranges.update(self.gaps[stream])
        return ranges

    # ---- what holds ------------------------------------------------------------------------

    @invariant()
    def no_cursor_claims_what_the_receiver_does_not_hold(self) -> None:
        for stream in Stream:
            held, cursor = self.held(stream), self.log.cursor(NAME, stream)
            for sequence in self.log.records[stream]:  # of what is evicted there is only a gap
                assert sequence not in cursor or sequence in held

    @rule(lane=LANES)
    def rest_without(self, lane: Lane) -> None:
        """One lane is gone for long: the others go on, and bring all of theirs to the receiver."""
        self.lose(lane, arrives=True)
        self.connect_all(without=lane)
        self.settle()
        if lane is not Lane.PRIORITY:
            self.check_whole(Lane.PRIORITY)
        # Telemetry waits for a catalogue, which is an event; and where the receiver asked for it
        # again and again, for a new connection.
        waits = lane is Lane.PRIORITY and (self.wanted or not self.knows_catalogue)
        if lane is not Lane.BULK and not waits and self.lines[Lane.BULK].catalogues_wanted <= 5:
            self.check_whole(Lane.BULK)

    def teardown(self) -> None:
        """However it stood: with lanes of the newest certificate everything comes to rest whole."""
        for lane in Lane:
            self.lose(lane, arrives=False)
        self.connect_all(without=None)
        self.settle()
        for lane in MAIN_LANES:
            self.check_whole(lane)
        assert all(line.certificate == self.certificate for line in self.lines.values())

    def connect_all(self, *, without: Lane | None) -> None:
        """Have all lanes but one connected; those that are go on as they are."""
        for lane in Lane:
            if lane in self.lines and self.lines[lane].ending:
                self.lose(lane, arrives=False)
            if lane is not without:
                self.connect(lane)
                self.welcome(lane, 0)

    def check_whole(self, lane: Lane) -> None:
        for stream in STREAMS[lane]:
            assert self.log.unacknowledged(NAME, stream) == 0
            following = self.log.bounds(stream).next
            assert not self.held(stream).missing(1, following), "stored, or a known gap"

    def settle(self) -> None:
        """Play on until nothing is left to do."""
        idle = 0
        for _ in range(10_000):
            if self.play_once():
                idle = 0
                continue
            if idle == 3:
                return
            idle += 1
            self.log.now_ns += SETTINGS.linger_ms * SECOND // 1000
            for line in list(self.lines.values()):
                self.feed(line, wire.ReceiverMessage(ack=wire.Ack()))
                self.tick(line)
        raise AssertionError("the lanes never come to rest")

    def play_once(self) -> bool:
        for lane, line in list(self.lines.items()):
            if line.to_read:
                self.read(lane)
                return True
            if line.to_receiver:
                self.receive(lane, 1)
                return True
            if line.to_gateway:
                self.hear(lane)
                return True
        return False


def standing() -> LanesMachine:
    """A machine whose lanes are all connected and at rest."""
    machine = LanesMachine()
    machine.begin(set(Lane))
    machine.settle()
    return machine


def test_a_catalogue_asked_for_while_the_priority_lane_is_gone_comes_with_the_next_one() -> None:
    machine = standing()
    machine.lose_catalogue()
    machine.lose(Lane.PRIORITY, arrives=False)
    machine.commit(Stream.TELEMETRY, [100])
    machine.settle()
    assert machine.wanted
    assert not machine.stored[Stream.TELEMETRY]
    machine.connect(Lane.PRIORITY)
    machine.welcome(Lane.PRIORITY, 0)
    machine.settle()
    assert not machine.wanted
    machine.check_whole(Lane.BULK)


def test_a_renewal_in_mid_stream_sends_again_only_what_the_receiver_lacks() -> None:
    machine = standing()
    machine.commit(Stream.ALARM, [50, 50])
    machine.receive(Lane.PRIORITY, 1)  # stored; its acknowledgement goes down with the connection
    machine.commit(Stream.ALARM, [60])
    machine.renew()
    machine.hear(Lane.PRIORITY)
    assert machine.log.unacknowledged(NAME, Stream.ALARM) == 3
    for lane in Lane:
        machine.lose(lane, arrives=False)
        machine.connect(lane)
        machine.welcome(lane, 0)
    machine.settle()
    anew = machine.lines[Lane.PRIORITY]
    assert anew.certificate == 2
    assert [sequence for stream, sequence in anew.sent if stream is Stream.ALARM] == [3]
    machine.check_whole(Lane.PRIORITY)


def test_a_copy_reaches_the_store_where_the_priority_lane_is_lost_with_the_alarm() -> None:
    machine = standing()
    for _ in range(3):  # round trips, by which the line counts as a long one
        machine.wait(6)
        machine.wait(1)
        machine.settle()
    machine.commit(Stream.ALARM, [50])
    machine.wait(1)  # the copy goes while the alarm is still on its way
    machine.lose(Lane.PRIORITY, arrives=False)
    machine.settle()
    assert list(machine.stored[Stream.ALARM]) == [1], "by the copy"
    assert machine.log.unacknowledged(NAME, Stream.ALARM) == 1, "nobody there to take the Ack"
    machine.teardown()
    assert not machine.lines[Lane.PRIORITY].sent[Stream.ALARM, 1], "not sent a third time"


TestLanes = LanesMachine.TestCase
TestLanes.settings = hypothesis_settings(max_examples=100, stateful_step_count=50, deadline=None)

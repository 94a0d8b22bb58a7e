"""A session and its log, played by hand: for tests of what one lane sends and why."""

from __future__ import annotations

from buffer.contract import Record, Stream
from gateway.uplink.outputs import (
    Counters,
    Fetch,
    Lane,
    Output,
    SendRecords,
    SessionSettings,
)
from gateway.uplink.quarantine import Quarantine
from gateway.uplink.session import LaneSession
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import BOOT_ID, SmallLog

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

"""What a thinned destination asks for in full: every sample of its points in a range of the log.

Guarantees:

- What the destination's filter does not choose is not sent on request either: points, places and
  hazards stay as they are, only thinning falls away.
- A range comes in whole finished groups, as a derived stream of its own over a connection of its
  own, all of it historical. Its log id follows from the log, the filter and the range, and its
  bytes from the log: asked for twice, it is stored once, and after a cut it goes on.
- One range at a time, beside live data, with UNTHINNED_WINDOW_MS of the line in flight at the most;
  the log's own cursors know nothing of it.
- It ends when the receiver has all, when the log gets a new id, or after MOST_ATTEMPTS connections.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from buffer.contract import Bounds, CommitListener, Log, Record, Stream
from buffer.ranges import RangeSet
from drivers.contract import Clock
from gateway.model.clock import ServerTime
from gateway.uplink import encode
from gateway.uplink.derive import DERIVATION
from gateway.uplink.derived import DerivedLog
from gateway.uplink.encode import Moment
from gateway.uplink.hub import Surroundings
from gateway.uplink.link import LaneLink
from gateway.uplink.outputs import Counters, Lane, LogForked
from gateway.uplink.pictures import Answer
from gateway.uplink.quarantine import Quarantine
from gateway.uplink.thin import Choice
from gateway.wire.v1 import uplink_pb2 as wire

MOST_WAITING = 3
MOST_ATTEMPTS = 50
UNTHINNED_WINDOW_MS = 100
"""Beside the 250 ms that bulk has; alarms have a connection of their own."""
_RETRY_NS = 3_000_000_000

Report = Callable[[str, str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Range:
    """Sequences [first, stop) of a log: whole groups."""

    first: int
    stop: int
    log_id: bytes


class UnthinnedLog(DerivedLog):
    """A range of telemetry as one destination may see it; `SentLog` for one link."""

    def __init__(
        self, source: Log, name: str, choice: Choice, clock: Clock, range_: _Range
    ) -> None:
        named = f"{name}/raw/{range_.first}-{range_.stop - 1}"
        super().__init__(source, named, choice, clock)
        self._range = range_
        self._arrived = RangeSet()
        self._source_id = range_.log_id
        made_of = (range_.log_id, self.words.encode(), DERIVATION.encode(), named.encode())
        self._id = hashlib.sha256(b"plantgate unthinned\0" + b"\0".join(made_of)).digest()[:16]

    @property
    def left(self) -> int:
        """Sequences that have not arrived, of what is still held."""
        bounds = self.bounds(Stream.TELEMETRY)
        return len(self._arrived.missing(bounds.first, bounds.next))

    def bounds(self, stream: Stream) -> Bounds:
        """The range; nothing of other streams."""
        if stream is not Stream.TELEMETRY:
            return Bounds(1, 1)
        held = self._source.bounds(stream)
        return Bounds(min(max(self._range.first, held.first), self._range.stop), self._range.stop)

    def cursor(self, destination: str, stream: Stream) -> RangeSet:
        """What the receiver has of the range."""
        del destination
        return self._arrived.copy() if stream is Stream.TELEMETRY else RangeSet()

    def acknowledge(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Add to it."""
        del destination
        if stream is Stream.TELEMETRY:
            self._arrived.update(ranges)

    def replace_cursor(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Set it to what the receiver said."""
        del destination
        if stream is Stream.TELEMETRY:
            self._arrived = ranges.copy()

    def renew_log_id(self, reason: str) -> bytes:
        """Nothing: this stream has the id that its content gives it."""
        del reason
        return self._id

    def request_key(self) -> None:
        """Nothing: its groups are finished."""

    def add_listener(self, listener: CommitListener) -> Callable[[], None]:
        """Nothing is committed to it."""
        del listener
        return lambda: None


class Unthinned:
    """Sends ranges unthinned for one destination while `run` runs. The Hub of its links."""

    def __init__(
        self,
        source: Log,
        choice: Choice | None,
        around: Surroundings,
        report: Report,
        catalogue_wanted: Callable[[bytes], None],
    ) -> None:
        self._source = source
        self._choice = choice
        self._around = around
        self._report = report
        self._want_catalogue = catalogue_wanted
        self._asked: deque[tuple[int, int, Answer]] = deque()
        self._waiting: deque[_Range] = deque()
        self._wake = asyncio.Event()
        self._found = asyncio.Event()
        self._link: LaneLink | None = None
        self._log: UnthinnedLog | None = None

    def want(self, period: wire.ResendPeriod, answer: Answer) -> None:
        """Have a period (wall clock, ns) sent; `answer` is called once, at once or later."""
        if why := self._refusal():
            answer(False, why, b"")
            return
        self._asked.append((period.from_ns, period.to_ns, answer))
        self._wake.set()

    async def look(self) -> None:
        """Find what was asked for in the log, and answer, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._asked:
                from_ns, to_ns, answer = self._asked.popleft()
                try:
                    found = await self._groups(from_ns, to_ns)
                except (OSError, sqlite3.Error) as error:
                    answer(False, f"the log cannot be read now: {error}", b"")
                    continue
                if found is None:
                    answer(False, "no finished group of that period is held here", b"")
                    continue
                self._waiting.append(found)
                self._found.set()
                count = found.stop - found.first
                answer(True, f"{count} records will be sent with every sample", b"")

    async def run(self) -> None:
        """Send one range after the other, until cancelled; `look` must run beside it."""
        while True:
            await self._found.wait()
            self._found.clear()
            while self._waiting:
                await self._send(self._waiting[0])
                self._waiting.popleft()

    def catalogue_delivered(self, catalogue: bytes) -> None:
        """Pass on that the receiver has a catalogue now."""
        if self._link is not None:
            self._link.catalogue_delivered(catalogue)

    def _refusal(self) -> str:
        if self._choice is None or not self._choice.thins:
            return "this destination is sent every sample of its points: ask for the period"
        if Stream.TELEMETRY not in self._around.settings.streams:
            return "this destination does not take the stream of telemetry"
        if len(self._waiting) + len(self._asked) >= MOST_WAITING:
            return f"{MOST_WAITING} periods are being sent; ask again later"
        return ""

    async def _groups(self, from_ns: int, to_ns: int) -> _Range | None:
        log_id, held = self._source.log_id, self._source.bounds(Stream.TELEMETRY)
        first, last = await self._source.sequences_between(Stream.TELEMETRY, from_ns, to_ns)
        if first > last or held.next <= held.first:
            return None
        first = max(await self._source.group_start(first), held.first)
        growing = await self._source.group_start(held.next - 1)
        stop = min(last + 1, growing)
        if stop <= first or self._source.log_id != log_id:
            return None
        return _Range(first, stop, log_id)

    async def _send(self, range_: _Range) -> None:
        around, choice = self._around, self._choice or Choice()
        chosen = Choice(choice.points, choice.places, choice.hazards)
        name, clock = around.destination.name, around.clock
        log = self._log = UnthinnedLog(self._source, name, chosen, clock, range_)
        settings = replace(
            around.settings,
            streams=frozenset({Stream.TELEMETRY}),
            small_backlog_records=0,
            window_ms=UNTHINNED_WINDOW_MS,
        )
        own = replace(around, log=log, settings=settings)
        for _ in range(MOST_ATTEMPTS):
            if not log.log_id or not log.left:
                break
            self._link = LaneLink(Lane.BULK, own, self, Quarantine(), Counters())
            try:
                await self._link.run()
            finally:
                self._link = None
            if log.left:
                await clock.sleep_until(clock.monotonic_ns() + _RETRY_NS)
        self._log = None
        what = "was sent" if not log.left else "could not be sent"
        text = f"Telemetry of {range_.stop - range_.first} records {what} with every sample."
        attributes = {"first": range_.first, "last": range_.stop - 1, "left": log.left}
        self._report("uplink.unthinned", text, attributes)

    # ---- Hub: what the link tells --------------------------------------------------------

    def opened(self, lane: Lane) -> None:
        """Nothing to do: the main lanes say whether the destination is there."""
        self.acknowledged()

    def acknowledged(self) -> None:
        """End the connection once all has arrived."""
        if self._link is not None and self._log is not None and not self._log.left:
            self._link.end("The range was delivered.")

    def relay(self, lane: Lane, message: wire.ReceiverMessage) -> None:
        """Nothing: there is no other lane."""

    def catalogue_wanted(self, catalogue: bytes) -> None:
        """Have the main lanes deliver it."""
        self._want_catalogue(catalogue)

    def long_line(self) -> None:
        """Nothing: no alarms go here."""

    def copy(self, records: Sequence[Record]) -> None:
        """Nothing: no alarms go here."""

    def log_forked(self, lane: Lane, found: LogForked) -> None:
        """Give up: the receiver holds something else under this content's name."""
        self._report("uplink.unthinned", f"The receiver {found.why}.", {})
        if self._link is not None:
            self._link.end("The receiver holds another record.", permanent=True)

    def report(self, kind: str, text: str, attributes: dict[str, Any]) -> None:
        """Record an event of the destination."""
        self._report(kind, text, attributes)

    def picture_wanted(self, camera: str, answer: Answer) -> None:
        """Nobody asks here: requests go to the priority lane."""
        answer(False, "no request is taken on this connection", b"")

    def unthinned_wanted(self, period: wire.ResendPeriod, answer: Answer) -> None:
        """As above."""
        answer(False, "no request is taken on this connection", b"")

    def status(self, ping: int, moment: Moment) -> wire.GatewayMessage:
        """Make the heartbeat: of the range alone."""
        log = self._log
        nothing = Bounds(1, 1)
        return encode.status(
            ping=ping,
            moment=moment,
            bounds={one: log.bounds(one) if log else nothing for one in Stream},
            backlog_records=log.left if log else 0,
            backlog_bytes=0,
            values_per_s=0.0,
            health="ok",
        )

    def heard_time(self, said: ServerTime) -> None:
        """Nothing: the main lanes measure it."""

    def volatile_stored(self, keys: Sequence[bytes]) -> None:
        """Nothing: no alarms go here."""

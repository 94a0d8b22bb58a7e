"""Ledger: which sequences of one stream are acknowledged, in flight, held back or still to send.

Pure. Guarantees, per session: a sequence is offered for sending only while it is not covered;
launching covers it, and nothing but `reopen` and `unhold` uncovers it, so nothing is sent twice
unless the receiver asked for it.

    1 ........ first ................ live_from ............ next
      evicted    history region         live region            not yet committed
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from buffer.contract import Bounds, Record, Stream
from buffer.ranges import RangeSet
from gateway.uplink.pacing import Ticket

RECORD_OVERHEAD_BYTES = 160
"""Upper bound of a wire record beside its payload: two hashes, catalogue, times, tags."""


def wire_bytes(record: Record) -> int:
    """Bytes a record is counted with in windows and messages."""
    return len(record.payload) + RECORD_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Flight:
    """One Push that waits for its acknowledgement; sequences [first, stop)."""

    first: int
    stop: int
    ticket: Ticket
    catalogue: bytes
    newest_ns: int  # monotonic commit time of its newest record
    historical: bool
    firsts: Mapping[int, int] = field(default_factory=dict)  # of records that speak for several


class Ledger:
    """Sequences of one stream as one session knows them."""

    def __init__(self, stream: Stream, bounds: Bounds) -> None:
        self.stream = stream
        self.first = bounds.first
        self.next = bounds.next
        self.live_from = bounds.next
        self.acknowledged = RangeSet()
        self._covered = RangeSet()  # acknowledged, in flight or held
        self.flights: list[Flight] = []
        self.held: dict[bytes, RangeSet] = {}

    def welcome(self, ranges: RangeSet) -> None:
        """Take over what the receiver says it has."""
        self.acknowledged = ranges.copy()
        self._covered = ranges.copy()

    def committed(self, stop: int) -> None:
        """Note that sequences below `stop` are now durable."""
        self.next = max(self.next, stop)

    def missing(self, low: int, high: int) -> tuple[int, int] | None:
        """First run [start, stop) within [low, high) that is to be sent, or None."""
        start = self._covered.contiguous_stop(low)
        if start >= high:
            return None
        following = next((begin for begin, _ in self._covered if begin > start), high)
        return start, min(following, high)

    def backlog(self) -> int:
        """Count of held records that are not acknowledged."""
        if self.acknowledged.contiguous_stop(self.first) >= self.next:
            return 0
        return len(self.acknowledged.missing(self.first, self.next))

    def launch(self, flight: Flight) -> None:
        """Note a Push as sent."""
        if flight.first in self.acknowledged:
            self.acknowledged.discard(flight.first, flight.stop)
        self._covered.add(flight.first, flight.stop)
        self.flights.append(flight)

    def span(self, sequence: int) -> RangeSet:
        """All sequences that the record of this one speaks for, if it is in flight; else itself."""
        for flight in self.flights:
            if flight.first <= sequence < flight.stop:
                return RangeSet([(flight.firsts.get(sequence, sequence), sequence + 1)])
        return RangeSet([(sequence, sequence + 1)])

    def acknowledge(self, ranges: RangeSet) -> list[Flight]:
        """Add acknowledged ranges; give the flights that have thereby landed."""
        self.acknowledged.update(ranges)
        self._covered.update(ranges)
        landed = [flight for flight in self.flights if self._landed(flight)]
        if landed:
            self.flights = [flight for flight in self.flights if not self._landed(flight)]
        return landed

    def write_off(self, start: int, stop: int) -> RangeSet:
        """Count what is neither acknowledged, in flight nor held as acknowledged; say what."""
        gone = self._covered.missing(start, stop)
        self.acknowledged.update(gone)
        self._covered.update(gone)
        return gone

    def reopen(self, ranges: RangeSet) -> RangeSet:
        """Offer again what was acknowledged; what is in flight or held stays. Says what."""
        reopened = RangeSet()
        for start, stop in ranges:
            wanted = RangeSet([(max(start, self.first), min(stop, self.next))])
            for flight in self.flights:
                wanted.discard(flight.first, flight.stop)
            for held in self.held.values():
                for low, high in held:
                    wanted.discard(low, high)
            for low, high in wanted:
                self.acknowledged.discard(low, high)
                self._covered.discard(low, high)
            reopened.update(wanted)
        return reopened

    def hold(self, catalogue: bytes, start: int, stop: int) -> None:
        """Keep sequences back until the receiver has their catalogue."""
        self.held.setdefault(catalogue, RangeSet()).add(start, stop)
        self._covered.add(start, stop)

    def hold_waiting(self, name: bytes, start: int, stop: int) -> None:
        """Keep back what of [start, stop) is to be sent, as `hold` does."""
        for low, high in self._covered.missing(start, stop):
            self.hold(name, low, high)

    def recall_one(self, name: bytes, sequence: int) -> None:
        """Hold back the flight of a sequence, as `recall` does."""
        for flight in [one for one in self.flights if one.first <= sequence < one.stop]:
            self.flights.remove(flight)
            self.hold(name, flight.first, flight.stop)

    def recall(self, catalogue: bytes, keep: Callable[[Flight], None]) -> None:
        """Hold back every flight of that catalogue (it was not stored); `keep` is told each."""
        for flight in [one for one in self.flights if one.catalogue == catalogue]:
            self.flights.remove(flight)
            self.hold(catalogue, flight.first, flight.stop)
            keep(flight)

    def unhold(self, catalogue: bytes) -> None:
        """Offer again what was held for that catalogue and has not been acknowledged since."""
        for start, stop in self.held.pop(catalogue, RangeSet()):
            for low, high in self.acknowledged.missing(start, stop):
                self._covered.discard(low, high)

    def _landed(self, flight: Flight) -> bool:
        return self.acknowledged.contiguous_stop(flight.first) >= flight.stop

"""Which alarms are sent a second time, on a connection of their own, and when. Pure.

Where a packet is lost, TCP holds up everything behind it on that connection for a round trip at
least, and the packet itself for as long or for its timer (300 ms of round trip: 0.5 to 0.7 s). A
copy on another connection is lost or held up independently of that; the receiver takes whichever
comes first, by log id and sequence.

Guarantees: only alarms that have just been raised are copied, each once, and only while they are
not acknowledged; copies are bounded by RATE_BYTES_PER_S and BURST_BYTES, so a flood goes without.
Where the round trip is short nothing is copied, and no connection is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from buffer.contract import Record
from buffer.ranges import RangeSet
from gateway.uplink.ledger import wire_bytes
from gateway.uplink.outputs import LongLine, Output, SendCopies
from gateway.uplink.pacing import Window

AFTER_NS = 40_000_000
"""A copy follows its alarm by so much: about as long as one full packet holds a line of 256 kbit/s,
so that what overflows a queue for a moment does not take both. Far below a round trip, for whoever
waits to know that a packet is lost has waited too long."""
RATE_BYTES_PER_S = 2_048
"""Four alarms a second; 6 % of 256 kbit/s."""
BURST_BYTES = 8 * 1024
"""A quarter of a second of 256 kbit/s, as much as bulk may queue there."""
ROUND_TRIPS = 3
"""So many must have been measured: a receiver that is busy at first looks like a long line."""
_MILLISECOND_NS = 1_000_000
_SECOND_NS = 1_000_000_000


class Copies:
    """Of one session of the priority lane: told of each live alarm, asked what is due."""

    def __init__(self, from_ms: int) -> None:
        """from_ms: shortest round trip, in ms, at which a line counts as long."""
        self._from_ns = from_ms * _MILLISECOND_NS
        self._asked = False
        self._credit_bytes = float(BURST_BYTES)
        self._credit_ns: int | None = None
        self._waiting: deque[tuple[int, Record]] = deque()

    def alarms_sent(self, records: Sequence[Record], now_ns: int, window: Window) -> None:
        """Take live alarms that go on their own lane now; window: what that lane has measured."""
        if not self._is_long(window):
            return
        if self._credit_ns is not None:
            earned = (now_ns - self._credit_ns) * RATE_BYTES_PER_S / _SECOND_NS
            self._credit_bytes = min(self._credit_bytes + earned, BURST_BYTES)
        self._credit_ns = now_ns
        for record in records:
            size = wire_bytes(record)
            if size <= self._credit_bytes:
                self._credit_bytes -= size
                self._waiting.append((now_ns + AFTER_NS, record))

    def next_ns(self) -> int | None:
        """When the next copy is due; None if none waits."""
        return self._waiting[0][0] if self._waiting else None

    def due(self, now_ns: int, window: Window, acknowledged: RangeSet) -> list[Output]:
        """Ask for a connection once the line is known to be long; hand out copies that are due."""
        out: list[Output] = []
        if not self._asked and self._is_long(window):
            self._asked = True
            out.append(LongLine())
        records: list[Record] = []
        while self._waiting and self._waiting[0][0] <= now_ns:
            record = self._waiting.popleft()[1]
            if record.sequence not in acknowledged:
                records.append(record)
        return [*out, SendCopies(tuple(records))] if records else out

    def _is_long(self, window: Window) -> bool:
        if window.shortest_ns is None or window.round_trips < ROUND_TRIPS:
            return False
        return window.shortest_ns >= self._from_ns

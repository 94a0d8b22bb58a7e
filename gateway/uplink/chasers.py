"""What follows an alarm on a long line, so that TCP misses a lost one soon. Pure.

TCP finds a lost packet by acknowledgements of packets sent after it (RFC 8985, RACK; three of them
count at once, RFC 6675): after one round trip. An alarm is a single packet, nothing follows it, and
only the retransmission timer is left: a round trip plus at least 200 ms, doubled each time. So a
few heartbeats go right behind the last alarm. They cost some 300 bytes each and are not worth it
where a round trip is short.
"""

from __future__ import annotations

AFTER_NS = (5_000_000, 15_000_000, 25_000_000)
"""When they go; far enough apart to be packets of their own."""
LONG_LINE_NS = 50_000_000
"""Round trip from which on it is worth it: below, the timer is not the longest part."""


class Chasers:
    """Of one connection: told of each alarm that is sent, asked what is due."""

    def __init__(self) -> None:
        self._due_ns: list[int] = []

    def alarm_sent(self, now_ns: int, round_trip_ns: int | None) -> None:
        """An alarm went; round_trip_ns: the line's shortest, None where none was measured."""
        if round_trip_ns is not None and round_trip_ns >= LONG_LINE_NS:
            self._due_ns = [now_ns + after_ns for after_ns in AFTER_NS]

    def next_ns(self) -> int | None:
        """When the next one is due; None if none is."""
        return self._due_ns[0] if self._due_ns else None

    def take(self, now_ns: int) -> bool:
        """Tell whether one is to go now; one at a time, those that are late are left out."""
        due = [at_ns for at_ns in self._due_ns if at_ns <= now_ns]
        self._due_ns = self._due_ns[len(due) :]
        return bool(due)

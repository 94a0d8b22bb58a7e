"""The completeness of this hour and the last at a destination, as its platform computes it.

Guarantees: an hour's sequences are those whose records were made in it; what the destination has
acknowledged of them is there, what it refused is not. `plantgate completeness` over the receiver's
store counts the same hour likewise (gateway/rules/completeness.py). A question costs no look at the
disk: where an hour begins in each stream is looked up once, at most REFRESH_NS after it began.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping

from buffer.contract import Log, Stream
from buffer.ranges import RangeSet
from drivers.contract import Clock
from gateway.rules.completeness import HOUR_NS, Hour

REFRESH_NS = 10_000_000_000
_PAGE_BYTES = 128 * 1024
_FOREVER_NS = 1 << 62


class SiteScore:
    """`run` until cancelled; `hours` at any time."""

    def __init__(
        self, log: Log, clock: Clock, destination: str, streams: Collection[Stream]
    ) -> None:
        self._log = log
        self._clock = clock
        self._destination = destination
        self._streams = [stream for stream in Stream if stream in streams]
        self._begins: dict[tuple[Stream, int], int] = {}
        self._hour = 0
        self._log_id = b""

    async def run(self) -> None:
        """Look up where hours begin, as they do."""
        while True:
            await self.refresh()
            await self._clock.sleep_until(self._clock.monotonic_ns() + REFRESH_NS)

    async def refresh(self) -> None:
        """Look up what is not known of this hour and the last."""
        log_id, hour = self._log.log_id, self._clock.wall_ns() // HOUR_NS
        known = self._begins if log_id == self._log_id else {}
        begins: dict[tuple[Stream, int], int] = {}
        for stream in self._streams:
            for one in (hour - 1, hour):
                begin = known.get((stream, one))
                try:
                    begins[stream, one] = await self._begin(stream, one) if begin is None else begin
                except (OSError, sqlite3.Error):  # the log says so itself; looked up again later
                    return
        if self._log.log_id == log_id:
            self._begins, self._hour, self._log_id = begins, hour, log_id

    def hours(self, refused: Mapping[Stream, RangeSet]) -> list[tuple[Stream, Hour]]:
        """The last hour and this one, stream by stream; none while the log has a new id.

        refused: sequences that the destination never took; they count as acknowledged in the log.
        """
        if self._log_id != self._log.log_id:
            return []
        found: list[tuple[Stream, Hour]] = []
        for stream in self._streams:
            bounds = self._log.bounds(stream)
            cursor = self._log.cursor(self._destination, stream)
            starts = [self._begins[stream, one] for one in (self._hour - 1, self._hour)]
            for start, stop in zip(starts, (starts[1], bounds.next), strict=True):
                start_ns = (self._hour - 1 + len(found) % 2) * HOUR_NS
                found.append((stream, _hour(start_ns, (start, stop), cursor, refused.get(stream))))
        return found

    def statistics(self, refused: Mapping[Stream, RangeSet]) -> dict[str, float]:
        """Scores, and records expected, for metrics."""
        told: dict[str, float] = {}
        for index, (stream, hour) in enumerate(self.hours(refused)):
            which = f"{('last', 'this')[index % 2]}_hour"
            label = f"{{stream={stream.name.lower()}}}"
            told[f"completeness_{which}{label}"] = hour.score
            told[f"expected_{which}{label}"] = float(hour.expected)
            told[f"received_{which}{label}"] = float(hour.received)
        return told

    def words(self, refused: Mapping[Stream, RangeSet]) -> str:
        """What of this hour is there, for people: "event 12 of 12, telemetry 3,412 of 3,590"."""
        return ", ".join(
            f"{stream.name.lower()} {hour.received:,} of {hour.expected:,}"
            for stream, hour in self.hours(refused)[1::2]
            if hour.expected
        )

    async def _begin(self, stream: Stream, hour: int) -> int:
        """First sequence whose record was made in an hour or later."""
        from_ns = hour * HOUR_NS
        following = self._log.bounds(stream).next  # before asking: what comes meanwhile is in it
        first, last = await self._log.sequences_between(stream, from_ns, _FOREVER_NS)
        while first <= last:  # telemetry is found by whole groups
            page = await self._log.read(stream, first, last=last, max_bytes=_PAGE_BYTES)
            if not page:
                break
            for record in page:
                if record.time_ns >= from_ns:
                    return record.sequence
            first = page[-1].sequence + 1
        return following


def _hour(
    start_ns: int, span: tuple[int, int], acknowledged: RangeSet, refused: RangeSet | None
) -> Hour:
    there = RangeSet([span])
    for start, stop in (*acknowledged.missing(*span), *(refused or ())):
        there.discard(start, stop)
    return Hour(start_ns, received=len(there), unexplained=span[1] - span[0] - len(there))

"""Quarantine: records the receiver refused. They are reported and never sent again. Pure.

It outlives a session, because a Welcome does not name what was refused. Reports are at most one a
minute and stream, with a count: a report is itself an event record, and a receiver that refuses
events must not thereby make new ones for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.uplink.outputs import Report

_PERIOD_NS = 60_000_000_000


@dataclass(slots=True)
class _Pending:
    reported_ns: int | None = None
    count: int = 0
    sequence: int = 0
    reason: str = ""


class Quarantine:
    """Refused sequences of one destination under one log id."""

    def __init__(self) -> None:
        self._ranges: dict[Stream, RangeSet] = {}
        self._pending: dict[Stream, _Pending] = {}

    def ranges(self, stream: Stream) -> RangeSet:
        """Sequences of a stream that were refused."""
        return self._ranges.get(stream, RangeSet())

    def keep(self, stream: Stream, ranges: RangeSet) -> None:
        """Note sequences that are not to be sent again."""
        self._ranges.setdefault(stream, RangeSet()).update(ranges)

    def add(self, stream: Stream, sequence: int, reason: str, now_ns: int) -> list[Report]:
        """Note a refusal; gives the report that is due now, if any."""
        pending = self._pending.setdefault(stream, _Pending())
        pending.count += 1
        pending.sequence = sequence
        pending.reason = reason
        return self._report(stream, pending, now_ns)

    def overdue(self, now_ns: int) -> list[Report]:
        """Reports of refusals that were only counted so far."""
        return [
            report
            for stream, pending in self._pending.items()
            for report in self._report(stream, pending, now_ns)
        ]

    def _report(self, stream: Stream, pending: _Pending, now_ns: int) -> list[Report]:
        recent = pending.reported_ns is not None and now_ns - pending.reported_ns < _PERIOD_NS
        if not pending.count or recent:
            return []
        text = (
            f"The receiver refused {pending.count} record(s) of stream {stream.name.lower()}, "
            f"the last with sequence {pending.sequence}: {pending.reason}"
        )
        attributes: dict[str, str | int | float | bool] = {
            "stream": stream.name.lower(),
            "sequence": pending.sequence,
            "records": pending.count,
        }
        pending.reported_ns = now_ns
        pending.count = 0
        return [Report("uplink.rejected", text, attributes)]

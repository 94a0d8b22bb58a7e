"""Which records of a stream were made in a period, found without reading what lies outside it.

Guarantees: some forty looks at single records find a period in a stream of any length. Times are
the corrected ones, and grow with the sequence, but for what a clock did that was set while it was
said to be right: MARGIN_NS more is read on either side, and a set-back of more than that may leave
records of the edges out.
"""

from __future__ import annotations

from dataclasses import dataclass

from buffer.contract import Stream
from gateway.receiver.contract import NEWEST, Log, Reader
from gateway.receiver.corrections import Corrections

MARGIN_NS = 3_600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """Sequences first..last (inclusive) that hold a period and a record on either side of it.

    from_start, to_end: nothing is stored before, or after.
    """

    first: int
    last: int
    from_start: bool
    to_end: bool


WHOLE = Span(1, NEWEST, True, True)


def span(
    reader: Reader,
    log: Log,
    stream: Stream,
    true: Corrections,
    period_ns: tuple[int | None, int | None],
) -> Span | None:
    """Find the records made in [from, to) of wall-clock ns, None for no bound; None if empty."""
    from_ns, to_ns = period_ns
    oldest = reader.stamp(log, stream, 1)
    if oldest is None:
        return None
    if from_ns is None and to_ns is None:
        return WHOLE
    top = max((stop for _, stop in reader.acknowledged(log, stream)), default=oldest.sequence + 1)

    def first_from(bound_ns: int) -> int:
        """First sequence that follows every record made before."""
        low, high = oldest.sequence, top
        while low < high:
            middle = (low + high) // 2
            record = reader.stamp(log, stream, middle)
            later = record is None or record.sequence >= high
            if record is None or later or true.time_ns(log, record) >= bound_ns:
                high = middle
            else:
                low = record.sequence + 1
        return low

    start = oldest.sequence if from_ns is None else first_from(from_ns - MARGIN_NS)
    after = None
    if to_ns is not None:
        after = reader.stamp(log, stream, first_from(to_ns + MARGIN_NS))
    last = top - 1 if after is None else after.sequence
    at_start = start == oldest.sequence
    return Span(start if at_start else start - 1, last, at_start, after is None)

"""How complete one log is, at either end: hours of its streams, its points, its hazards.

Reads a `Reader` (a receiver's store, or a gateway's own data directory) and feeds the pure scores
of gateway/rules/completeness.py. A period bounds what is read, not only what is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.contract import Log, Reader
from gateway.receiver.corrections import Corrections
from gateway.receiver.samples import Unread, Wanted, samples
from gateway.receiver.spans import Span, span
from gateway.rules.completeness import (
    SILENCE_NS,
    Hour,
    PointScore,
    PointScores,
    StreamScore,
    by_hazard,
)
from gateway.wire.v1 import uplink_pb2 as wire

Names = dict[int, str]
NOTHING = Span(1, 0, True, True)


@dataclass(frozen=True)
class Period:
    """What was made in [from_ns, to_ns), None for no bound; what counts as late and as flat, ns.

    now_ns: the time of the question, up to which a gateway may have been silent; 0: not counted.
    """

    from_ns: int | None
    to_ns: int | None
    late_ns: int
    flat_ns: int
    now_ns: int = 0

    def holds(self, time_ns: int) -> bool:
        """Tell whether a time is in it."""
        return (self.from_ns is None or time_ns >= self.from_ns) and (
            self.to_ns is None or time_ns < self.to_ns
        )


def stream_hours(reader: Reader, log: Log, period: Period) -> Iterator[tuple[Stream, Hour]]:
    """Hours that begin in the period, stream by stream."""
    true = Corrections(reader)
    explained = _explained(reader, log, true, period)
    for stream in Stream:
        found = span(reader, log, stream, true, (period.from_ns, period.to_ns))
        if found is None and (log.derived.source_log_id or log.held_only):
            continue  # where such a stream begins is known by its first record alone
        found = found or NOTHING
        begin = _begin(reader, log, stream) if found.from_start else found.first
        silence_ns = SILENCE_NS if stream is Stream.TELEMETRY else 0
        score = StreamScore(explained[stream], period.late_ns, begin, silence_ns)
        for record in reader.records(log, stream, found.first, found.last):
            made_ns = true.time_ns(log, record)
            received_ns = max(made_ns, record.received_ns)
            score.feed(record.sequence, made_ns, received_ns, first=record.source_first)
        for hour in (
            score.hours(*_end(reader, log, stream, period)) if found.to_end else (score.hours())
        ):
            if period.holds(hour.start_ns):
                yield stream, hour


def points(
    reader: Reader, log: Log, period: Period, unread: Unread, *, hazards: bool
) -> dict[str, PointScore]:
    """Points, or hazards, by name, of what was recorded in the period.

    What came before it, as far as a value may stand still, is read and not counted. A point of the
    newest catalogue that nothing was recorded of is there with no samples. Adds to `unread` what
    cannot be read.
    """
    true = Corrections(reader)
    earlier_ns = None if period.from_ns is None else period.from_ns - period.flat_ns
    found = span(reader, log, Stream.TELEMETRY, true, (earlier_ns, period.to_ns))
    scores = PointScores(period.late_ns, period.flat_ns)
    names: Names = {}
    codes: Names = {}
    if found is not None:
        sequences = found.first, found.last
        for batch, known, _ in samples(reader, log, Wanted(), unread, sequences):
            names, codes = known.names, known.hazards
            scores.feed(batch, counted=period.holds(batch.gateway_time_ns))
    if not log.derived.source_log_id:  # else what is left out was agreed on
        for point in names:
            scores.points.setdefault(point, PointScore())
    if hazards:
        return by_hazard(scores.points, codes)
    return {names.get(point, f"#{point}"): one for point, one in scores.points.items()}


def _begin(reader: Reader, log: Log, stream: Stream) -> int:
    """First sequence to be expected: 1, or where a derived stream or a site's own view begins."""
    if not log.derived.source_log_id and not log.held_only:
        return 1
    return next((record.first for record in reader.records(log, stream)), 1)


def _explained(
    reader: Reader, log: Log, true: Corrections, period: Period
) -> dict[Stream, RangeSet]:
    """What was declared gone, and what gap records name: those come after what they name."""
    found = {stream: reader.gaps(log, stream) for stream in Stream}
    events = span(reader, log, Stream.EVENT, true, (period.from_ns, None))
    if events is None:
        return found
    for record in reader.records(log, Stream.EVENT, events.first, events.last):
        gap = wire.Event.FromString(record.payload).gap
        if gap.first_sequence and Stream.ALARM <= gap.stream <= Stream.EVIDENCE:
            found[Stream(gap.stream)].add(gap.first_sequence, gap.last_sequence + 1)
    return found


def _end(reader: Reader, log: Log, stream: Stream, period: Period) -> tuple[int, int, int]:
    """What StreamScore.hours is asked at the end of what is held."""
    gone = max((stop for _, stop in reader.gaps(log, stream)), default=0)
    said_ns = reader.gateway(log).last_seen_ns
    own = [one for one in reader.logs(log.gateway) if not one.derived.source_log_id]
    goes_on = own and own[-1].log_id == log.log_id  # a log that another one followed has ended
    ends_ns = period.now_ns if period.to_ns is None else min(period.now_ns, period.to_ns)
    return max(_next(reader, log, stream), gone), said_ns, ends_ns if goes_on else 0


def _next(reader: Reader, log: Log, stream: Stream) -> int:
    """One past the newest sequence that the gateway said it has; 0 if it said nothing."""
    status = wire.Status.FromString(log.status or reader.gateway(log).status)
    return max(
        (one.next_sequence for one in status.streams if one.stream == int(stream)), default=0
    )

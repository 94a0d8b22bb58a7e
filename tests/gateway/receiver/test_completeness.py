"""Completeness of a period: what the whole gives for it, from what lies in it alone."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from buffer.block import BlockEncoder, ColumnBatch
from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.completeness import Period, points, stream_hours
from gateway.receiver.contract import (
    NEWEST,
    Log,
    PointNames,
    Reader,
    StoredGateway,
    StoredRecord,
    point_names,
)
from gateway.receiver.corrections import Corrections
from gateway.receiver.samples import Unread
from gateway.receiver.spans import MARGIN_NS, span
from gateway.rules.completeness import HOUR_NS, Hour
from gateway.wire.v1 import uplink_pb2 as wire
from tests.gateway.receiver.telemetry import CATALOGUE

START_NS = 1_767_225_600_000_000_000
LOG = Log(1, "SD-1", b"L" * 16)


@dataclass
class Held:
    """A store of one log in memory, which counts what it is asked for."""

    stored: dict[Stream, list[StoredRecord]]
    gone: RangeSet = field(default_factory=RangeSet)
    told: int = 0
    read: int = 0
    looked: int = 0

    def records(
        self, log: Log, stream: Stream, first: int = 1, last: int = NEWEST
    ) -> Iterator[StoredRecord]:
        for record in self.stored.get(stream, []):
            if first <= record.sequence <= last:
                self.read += 1
                yield record

    def stamp(self, log: Log, stream: Stream, first: int) -> StoredRecord | None:
        self.looked += 1
        held = self.stored.get(stream, [])
        at = bisect.bisect_left(held, first, key=lambda record: record.sequence)
        return held[at]._replace(payload=b"") if at < len(held) else None

    def acknowledged(self, log: Log, stream: Stream) -> RangeSet:
        held = self.stored.get(stream, [])
        return RangeSet([(one.sequence, one.sequence + 1) for one in held])

    def gaps(self, log: Log, stream: Stream) -> RangeSet:
        return self.gone.copy() if stream is Stream.TELEMETRY else RangeSet()

    def gateway(self, log: Log) -> StoredGateway:
        state = wire.StreamState(stream=wire.STREAM_TELEMETRY, next_sequence=self.told)
        return StoredGateway("", "", 0, wire.Status(streams=[state]).SerializeToString())

    def logs(self, gateway: str | None = None) -> list[Log]:
        return [LOG]

    def points(self, catalogue: bytes) -> PointNames | None:
        return point_names(CATALOGUE.encoded)


def stored(sequence: int, time_ns: int, payload: bytes = b"", group: int = 0) -> StoredRecord:
    name = CATALOGUE.hash if group in {0, sequence} else b""
    return StoredRecord(
        sequence, group or sequence, False, name, time_ns, time_ns + 10**9, 1, payload,
        time_ns, b"b" * 16, True,
    )  # fmt: skip


def hours(held: Held, from_ns: int | None, to_ns: int | None) -> list[tuple[Stream, Hour]]:
    return list(stream_hours(cast(Reader, held), LOG, Period(from_ns, to_ns, 10**9, HOUR_NS)))


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([1, 1, 1, 2, 30]), st.integers(0, 3 * 3600)), max_size=60
    ),
    bounds=st.tuples(st.integers(-2, 40), st.integers(0, 30)),
    gone=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 40)), max_size=3),
    beyond=st.integers(0, 20),
)
@example(steps=[(1, 0), (30, 40 * 3600 // 20)], bounds=(1, 1), gone=[], beyond=0)
def test_a_period_is_scored_as_in_the_whole(
    steps: Sequence[tuple[int, int]],
    bounds: tuple[int, int],
    gone: Sequence[tuple[int, int]],
    beyond: int,
) -> None:
    """Each step: so many sequences and seconds after the record before."""
    sequence, time_ns = 0, START_NS
    records = []
    for further, seconds in steps:
        sequence, time_ns = sequence + further, time_ns + seconds * 10**9
        records.append(stored(sequence, time_ns))
    ranges = RangeSet([(start, start + count) for start, count in gone])
    held = Held({Stream.TELEMETRY: records}, ranges, sequence + 1 + beyond)
    from_ns = START_NS + bounds[0] * HOUR_NS
    to_ns = from_ns + bounds[1] * HOUR_NS
    whole = [one for one in hours(held, None, None) if from_ns <= one[1].start_ns < to_ns]
    assert hours(held, from_ns, to_ns) == whole


def test_a_period_of_a_long_stream_reads_what_lies_in_it() -> None:
    records = [stored(n, START_NS + n * 60 * 10**9) for n in range(1, 100_001)]  # 69 days
    held = Held({Stream.TELEMETRY: records}, told=100_001)
    from_ns = START_NS + 1000 * HOUR_NS
    found = hours(held, from_ns, from_ns + 2 * HOUR_NS)
    assert [(hour.start_ns, hour.received) for _, hour in found] == [
        (from_ns, 60), (from_ns + HOUR_NS, 60)
    ]  # fmt: skip
    assert held.read <= 2 * 60 + 2 * MARGIN_NS // (60 * 10**9) + 2
    assert held.looked <= 2 * 20 + 8


def test_hours_without_anything_are_told_and_are_no_full_score() -> None:
    """A gateway that stood still from 00:30 to 03:15, and has been silent since 04:40."""
    minute = 60 * 10**9
    minutes = [*range(31), *range(195, 281)]
    records = [stored(n, START_NS + at * minute) for n, at in enumerate(minutes, 1)]
    held = Held({Stream.TELEMETRY: records}, told=len(records) + 1)
    now_ns = START_NS + 6 * HOUR_NS + 20 * minute
    found = list(stream_hours(cast(Reader, held), LOG, Period(None, None, 10**9, HOUR_NS, now_ns)))
    rows = [(hour.received, hour.silent_ns // minute, hour.score) for _, hour in found]
    assert rows == [
        (31, 30, 1.0), (0, 60, 0.0), (0, 60, 0.0), (45, 15, 1.0), (41, 20, 1.0), (0, 60, 0.0),
        (0, 20, 0.0),
    ]  # fmt: skip
    bounds = START_NS + 2 * HOUR_NS, START_NS + 6 * HOUR_NS
    period = Period(*bounds, 10**9, HOUR_NS, now_ns)
    assert list(stream_hours(cast(Reader, held), LOG, period)) == found[2:6]


def test_a_clock_that_was_set_back_within_the_margin_leaves_nothing_out() -> None:
    back_ns = 40 * 60 * 10**9
    times = [START_NS + n * 60 * 10**9 for n in range(600)]
    times[300:] = [time_ns - back_ns for time_ns in times[300:]]
    records = [stored(n, time_ns) for n, time_ns in enumerate(times, 1)]
    reader = cast(Reader, Held({Stream.EVENT: records}))
    for hour in range(11):
        low_ns = START_NS + hour * HOUR_NS
        period = low_ns, low_ns + HOUR_NS
        found = span(reader, LOG, Stream.EVENT, Corrections(reader), period)
        inside = [one.sequence for one in records if period[0] <= one.time_ns < period[1]]
        assert found is not None
        if inside:
            assert found.first <= inside[0]
            assert found.last >= inside[-1]


def test_a_value_that_stood_still_before_the_period_is_flat_in_it() -> None:
    encoder, key = BlockEncoder(), 0
    records: list[StoredRecord] = []
    for minute in range(0, 30 * 60, 10):
        time_ns = START_NS + minute * 60 * 10**9
        if minute % 60 == 0:
            key = len(records) + 1
        still, moving = 5.0, float(minute)
        batch = ColumnBatch(
            np.array([1, 2], np.int32), np.array([still, moving]), np.zeros(2, np.uint16),
            time_ns, time_ns,
        )  # fmt: skip
        payload = encoder.encode([batch], key=minute % 60 == 0, catalogue=CATALOGUE.hash)
        records.append(stored(len(records) + 1, time_ns, payload, key))
    held = Held({Stream.TELEMETRY: records})
    from_ns = START_NS + 26 * HOUR_NS
    period = Period(from_ns, from_ns + HOUR_NS, 60 * 10**9, 24 * HOUR_NS)
    found = points(cast(Reader, held), LOG, period, Unread(), hazards=False)
    assert found["gds-1/AT-101"].kinds == {"flat": 6}
    assert found["gds-1/总量, t"].kinds == {"good": 6}
    whole = Period(None, None, 60 * 10**9, 24 * HOUR_NS)
    all_kinds = points(cast(Reader, held), LOG, whole, Unread(), hazards=True)[""].kinds
    assert all_kinds == {"flat": 36, "good": 2 * 180 - 36}

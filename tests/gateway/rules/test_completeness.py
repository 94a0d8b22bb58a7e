"""Completeness: every sequence is counted once, in one hour, as one thing."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from buffer.block import ColumnBatch
from buffer.ranges import RangeSet
from drivers.contract import Quality
from gateway.rules.completeness import (
    FLAT_NS,
    HOUR_NS,
    LATE_NS,
    PointScore,
    PointScores,
    StreamScore,
    by_hazard,
)

T0 = 500_000 * HOUR_NS
sequences = st.sets(st.integers(1, 120), min_size=1, max_size=60)
steps = st.lists(st.integers(-HOUR_NS, 3 * HOUR_NS), min_size=60, max_size=60)


@given(sequences, steps, st.sets(st.integers(1, 130)), st.integers(0, 130))
@example({1, 5}, [0] * 60, {3}, 9)
@example({1, 100}, [HOUR_NS // 2] * 60, set(), 0)
def test_every_sequence_counts_once_and_where_it_lies(
    held: set[int], moved_ns: list[int], gone: set[int], stop: int
) -> None:
    explained = RangeSet((one, one + 1) for one in sorted(gone))
    score = StreamScore(explained)
    time_ns, last = T0, 0
    received: Counter[int] = Counter()
    missing: Counter[tuple[int, bool]] = Counter()
    before_ns = None
    for sequence, step_ns in zip(sorted(held), moved_ns, strict=False):
        before_ns = time_ns + step_ns if before_ns is None else time_ns
        time_ns += step_ns
        span_ns, hole = max(0, time_ns - before_ns), sequence - last - 1
        for k in range(hole):
            at_ns = before_ns + span_ns * (k + 1) // (hole + 1)
            missing[at_ns // HOUR_NS, last + 1 + k in gone] += 1
        received[time_ns // HOUR_NS] += 1
        score.feed(sequence, time_ns, time_ns)
        last = sequence
    for sequence in range(last + 1, stop):
        missing[time_ns // HOUR_NS, sequence in gone] += 1
    hours = score.hours(stop)
    assert [hour.start_ns for hour in hours] == sorted({hour.start_ns for hour in hours})
    for hour in hours:
        number = hour.start_ns // HOUR_NS
        assert hour.received == received[number]
        assert hour.explained == missing[number, True]
        assert hour.unexplained == missing[number, False]
        assert hour.late == 0
        assert 0 <= hour.score <= 1
    assert sum(hour.expected for hour in hours) == max(last, stop - 1)


def test_lateness_is_what_passed_until_it_was_received() -> None:
    score = StreamScore(RangeSet())
    score.feed(1, T0, T0 + LATE_NS)
    score.feed(2, T0, T0 + LATE_NS + 1)
    score.feed(3, T0, T0 - 5)
    [hour] = score.hours()
    assert (hour.late, hour.late_ns) == (1, LATE_NS + 1)


def batch(time_ns: int, *rows: tuple[int, float, int, int]) -> ColumnBatch:
    """Rows of point, value, quality, how far its source lies behind."""
    points, values, quality, behind = zip(*rows, strict=True)
    return ColumnBatch(
        np.array(points, np.int32), np.array(values, np.float64), np.array(quality, np.uint16),
        time_ns - np.array(behind, np.int64), time_ns,
    )  # fmt: skip


def test_each_sample_is_of_one_kind() -> None:
    scores = PointScores()
    late, stale = LATE_NS + 1, Quality.UNCERTAIN_STALE
    scores.feed(batch(T0, (1, 5.0, 0, 0), (2, 1.0, Quality.BAD_COMM_FAILURE, 0), (3, 1.0, 0, late)))
    scores.feed(batch(T0 + FLAT_NS - 1, (1, 5.0, 0, 0), (4, 2.0, Quality.BAD_OUT_OF_SERVICE, 0)))
    scores.feed(batch(T0 + FLAT_NS, (1, 5.0, 0, 0), (4, 2.0, Quality.UNCERTAIN_CALIBRATING, 0)))
    scores.feed(batch(T0 + FLAT_NS + 1, (1, 5.1, 0, 0), (2, 1.0, stale, 0)))
    assert dict(scores.points[1].kinds) == {"good": 3, "flat": 1}
    assert dict(scores.points[2].kinds) == {"bad:comm_failure": 1, "uncertain:stale": 1}
    assert dict(scores.points[3].kinds) == {"late": 1}
    assert dict(scores.points[4].kinds) == {"planned_outage": 1, "under_test": 1}
    found = [scores.points[point].score for point in (1, 2, 3, 4)]
    assert found == [1.0, 0.0, 0.0, None]
    hazards = by_hazard(scores.points, {1: "H-1", 2: "H-1"})
    assert hazards["H-1"].score == 4 / 6
    assert hazards[""].kinds["late"] == 1


values = st.floats(allow_nan=True, allow_infinity=True)
codes = st.sampled_from([int(code) for code in Quality] + [0x80AB])
rows = st.lists(
    st.tuples(st.integers(1, 5), values, codes, st.integers(-HOUR_NS, HOUR_NS)), min_size=1
)


@given(st.lists(rows, max_size=8))
def test_no_sample_is_lost_or_counted_twice(
    batches: list[list[tuple[int, float, int, int]]],
) -> None:
    scores = PointScores()
    for number, one in enumerate(batches):
        scores.feed(batch(T0 + number * HOUR_NS, *one))
    total = sum((score.kinds for score in scores.points.values()), Counter())
    assert total.total() == sum(map(len, batches))
    assert (
        total
        == PointScore(
            sum((s.kinds for s in by_hazard(scores.points, {}).values()), Counter())
        ).kinds
    )
    for score in scores.points.values():
        assert score.score is None or 0 <= score.score <= 1

"""repeats.py: over a change of servers no sample is lost and none comes twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.contract import ValueKind
from drivers.opcua.codec import Column
from drivers.opcua.repeats import EchoFilter, RepeatFilter

Sample = tuple[int, int, float, int]
"""Point, source time, value, quality."""

POINTS = 3


def column(samples: list[Sample], kind: ValueKind = ValueKind.FLOAT) -> Column:
    values: Any = [value for _, _, value, _ in samples]
    return Column(
        kind,
        np.array([s[0] for s in samples], np.uint32),
        tuple(str(v) for v in values) if kind is ValueKind.TEXT else np.array(values, np.float64),
        np.array([s[3] for s in samples], np.uint16),
        np.array([s[1] for s in samples], np.int64),
    )


class Receiver:
    """A filter and what it has let through."""

    def __init__(self, kind: ValueKind = ValueKind.FLOAT) -> None:
        self.filter = RepeatFilter(POINTS)
        self.kind = kind
        self.lost = np.zeros(POINTS, np.bool_)
        self.seconds = 0
        self.got: list[Sample] = []

    def begin(self, *, resumed: bool) -> None:
        self.filter.begin(self.seconds * 10**9, resumed=resumed)

    def take(self, samples: list[Sample]) -> None:
        if not samples:
            return
        found = self.filter.feed(column(samples, self.kind), self.lost, self.seconds * 10**9)
        self.got += zip(
            found.handles.tolist(), found.source_time_ns.tolist(),
            [float(value) for value in found.values], found.quality.tolist(), strict=True,
        )  # fmt: skip
        self.lost[found.handles] = False


def cut(draw: st.DrawFn, samples: list[Sample]) -> list[list[Sample]]:
    """Cut into notifications."""
    parts = []
    while samples:
        size = draw(st.integers(1, len(samples)))
        parts.append(samples[:size])
        samples = samples[size:]
    return parts


@st.composite
def truths(draw: st.DrawFn) -> list[list[Sample]]:
    """What each point is in turn: times that may stand still, no sample like an earlier one."""
    truth = []
    for point in range(POINTS):
        steps = draw(
            st.lists(
                st.tuples(st.integers(0, 2), st.sampled_from([0.0, 1.0, 2.5, float("nan")]),
                          st.sampled_from([0, 0x4000, 0x8005])),
                min_size=1, max_size=12,
            )
        )  # fmt: skip
        time_ns, row, seen = 10, [], set()
        for step, value, quality in steps:
            time_ns += step
            told = (point, time_ns, value, quality)
            if repr(told) not in seen:
                seen.add(repr(told))
                row.append(told)
        truth.append(row)
    return truth


def merged(draw: st.DrawFn, rows: list[list[Sample]]) -> list[Sample]:
    """One stream; each point's samples in order."""
    rows = [list(row) for row in rows]
    stream = []
    while left := [row for row in rows if row]:
        stream.append(draw(st.sampled_from(left)).pop(0))
    return stream


@given(st.data(), truths(), st.sampled_from([ValueKind.FLOAT, ValueKind.TEXT]))
def test_no_sample_is_lost_and_none_comes_twice(
    data: st.DataObject, truth: list[list[Sample]], kind: ValueKind
) -> None:
    """Servers one after another; each begins with a state that may lie behind what came already."""

    @st.composite
    def served(draw: st.DrawFn, reached: list[int]) -> tuple[list[list[Sample]], list[int]]:
        starts = [draw(st.integers(max(0, at - 3), at)) for at in reached]
        ends = [draw(st.integers(at, len(row) - 1)) for at, row in zip(reached, truth, strict=True)]
        rows = [truth[p][starts[p] : ends[p] + 1] for p in range(POINTS)]
        return cut(draw, merged(draw, rows)), ends

    receiver = Receiver(kind)
    reached = [0] * POINTS
    for _ in range(3):
        receiver.begin(resumed=False)
        notifications, reached = data.draw(served(reached))
        for notification in notifications:
            receiver.take(notification)
        receiver.seconds += 5
    for point in range(POINTS):
        got = [repr(sample) for sample in receiver.got if sample[0] == point]
        assert got == [repr(sample) for sample in truth[point][: reached[point] + 1]]


@given(st.data(), truths())
def test_a_session_that_goes_on_drops_nothing(
    data: st.DataObject, truth: list[list[Sample]]
) -> None:
    """Sequence numbers are exact then, also where a value returns within one time-stamp."""
    receiver = Receiver()
    receiver.begin(resumed=False)
    stream = [*truth[0], *truth[0], *truth[1]]
    for notification in data.draw(st.composite(lambda draw: cut(draw, stream))()):
        receiver.take(notification)
        receiver.begin(resumed=True)
    assert [repr(s) for s in receiver.got] == [repr(s) for s in stream]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 1.0])), max_size=30))
@example([(0, 0.0), (0, 1.0), (0, 0.0)])
def test_one_server_alone_is_never_doubted(rows: list[tuple[int, float]]) -> None:
    """Equal times, times that step back, values that return: all of it is kept."""
    receiver = Receiver()
    receiver.begin(resumed=False)
    stream = [(0, 100 + time_ns, value, 0) for time_ns, value in rows]
    for sample in stream:
        receiver.take([sample])
    assert receiver.got == stream


def test_a_server_whose_clock_is_behind_loses_nothing() -> None:
    receiver = Receiver()
    receiver.begin(resumed=False)
    receiver.take([(0, 1000, 1.0, 0)])
    receiver.begin(resumed=False)
    receiver.take([(0, 600, 2.0, 0)])
    receiver.take([(0, 700, 1.0, 0)])
    assert [s[1] for s in receiver.got] == [1000, 600, 700]


def test_what_is_unchanged_for_long_is_not_sent_twice_unless_it_was_lost() -> None:
    receiver = Receiver()
    receiver.begin(resumed=False)
    receiver.take([(0, 5, 1.0, 0)])
    for time_ns in range(2000):  # pushes point 0 out of what is remembered of each sample
        receiver.take([(1, time_ns, 1.0, 0)])
    receiver.begin(resumed=False)
    receiver.take([(0, 5, 1.0, 0)])
    assert [s for s in receiver.got if s[0] == 0] == [(0, 5, 1.0, 0)]
    receiver.lost[0] = True
    receiver.begin(resumed=False)
    receiver.take([(0, 5, 1.0, 0)])
    assert [s for s in receiver.got if s[0] == 0] == [(0, 5, 1.0, 0)] * 2


def test_after_a_minute_nothing_is_doubted_any_more() -> None:
    receiver = Receiver()
    receiver.begin(resumed=False)
    receiver.take([(0, 5, 1.0, 0), (0, 5, 2.0, 0)])
    receiver.begin(resumed=False)
    receiver.seconds += 61
    receiver.take([(0, 5, 1.0, 0)])
    assert [s[2] for s in receiver.got] == [1.0, 2.0, 1.0]


SOME_SAMPLES = st.lists(
    st.tuples(
        st.integers(0, POINTS - 1), st.integers(0, 2), st.sampled_from([1.0, 2.0]),
        st.sampled_from([0, 0x8000]),
    ),
    max_size=12,
)  # fmt: skip


def echoes(parts: list[list[Sample]], *, seconds: int = 0) -> list[Sample]:
    """What a single server's filter lets through, one notification after another."""
    echo, lost, got = EchoFilter(POINTS), np.zeros(POINTS, np.bool_), []
    echo.begin(0, resumed=True)
    for part in parts:
        found = echo.feed(column(part), lost, seconds * 10**9)
        got += list(
            zip(
                found.handles.tolist(),
                found.source_time_ns.tolist(),
                [float(value) for value in found.values],
                found.quality.tolist(),
                strict=True,
            )
        )
    return got


@given(st.lists(SOME_SAMPLES, max_size=6))
@example([[(0, 1, 1.0, 0), (0, 2, 1.0, 0)], [(0, 2, 1.0, 0)], [(0, 2, 1.0, 0)]])  # a thawed server
def test_a_single_server_loses_nothing_that_differs_from_what_came_before(
    parts: list[list[Sample]],
) -> None:
    last: dict[int, Sample] = {}
    expected = []
    for part in parts:
        opened: set[int] = set()
        for sample in part:
            if sample[0] in opened or last.get(sample[0]) != sample:
                expected.append(sample)
            opened.add(sample[0])
            last[sample[0]] = sample
    assert echoes(parts) == expected


def test_an_echo_is_kept_after_the_window_and_by_a_lost_point() -> None:
    twice = [[(0, 1, 1.0, 0)], [(0, 1, 1.0, 0)]]
    assert len(echoes(twice)) == 1
    assert len(echoes(twice, seconds=11)) == 2
    echo, lost = EchoFilter(POINTS), np.ones(POINTS, np.bool_)
    echo.begin(0, resumed=False)
    assert [len(echo.feed(column(part), lost, 0).handles) for part in twice] == [1, 1]

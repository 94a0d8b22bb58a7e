"""History read back after an outage: what it raises is told late, and never touches what stands."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract import Batch
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.point import Limits, Point
from gateway.rules.condition_spec import AlarmSpec, Kind
from gateway.rules.judge import Judge
from gateway.rules.late import RUN_NS

S = 10**9
START_NS = 1_790_000_000 * S
ACTIVE, RETURNED = AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED


def judge_of(*points: Point, specs: tuple[AlarmSpec, ...] = ()) -> Judge:
    numbers: Iterator[int] = itertools.count(1)
    return Judge(points, (), new_id=lambda: next(numbers).to_bytes(16, "big"), specs=specs)


def high(number: int, on_s: float = 0.0) -> Point:
    return Point(number, f"d/{number}", limits=Limits(high=10.0, on_delay_s=on_s))


def history(number: int, *samples: tuple[float, float]) -> Batch:
    """Samples (second, value) of one point, read back long after."""
    return Batch(
        np.full(len(samples), number, np.int32),
        np.array([value for _, value in samples], np.float64),
        np.zeros(len(samples), np.uint16),
        np.array([START_NS + round(at * S) for at, _ in samples], np.int64),
        START_NS + 3_600 * S,
        0,
        is_history=True,
    )


def live(number: int, value: float, at_s: float = 3_600.0) -> Batch:
    at_ns = START_NS + round(at_s * S)
    return Batch(
        np.array([number], np.int32), np.array([value]), np.zeros(1, np.uint16), at_ns, at_ns, 0
    )


def told(changes: list[AlarmChange]) -> list[tuple[str, AlarmState, float, bool]]:
    return [
        (change.source, change.state, (change.source_time_ns - START_NS) / S, change.late)
        for change in changes
    ]


def test_an_alarm_that_lasted_over_several_pages_is_told_late_with_its_own_times() -> None:
    judge = judge_of(high(1, on_s=10.0))
    assert judge.feed(live(1, 5.0), now_ns=S) == []
    assert judge.feed(history(1, (0, 5), (4, 12), (8, 12)), now_ns=2 * S) == []
    assert judge.feed(history(1, (12, 12), (16, 12)), now_ns=2 * S + 1) == []
    changes = judge.feed(history(1, (20, 5), (24, 5)), now_ns=2 * S + 2)
    assert told(changes) == [("d/1", ACTIVE, 12.0, True), ("d/1", RETURNED, 20.0, True)]
    assert changes[0].alarm_id == changes[1].alarm_id
    assert "Late 迟到" in changes[0].text
    assert judge.standing == 0
    assert [entry.active for entry in judge.entries()] == [False], "people have to hear of it"
    assert AlarmChange.decode(changes[0].encode(b"")).late


def test_what_is_over_within_its_delay_is_no_alarm_though_pages_of_others_come_between() -> None:
    judge = judge_of(high(1, on_s=10.0), high(2))
    judge.feed(history(1, (0, 5), (95, 12), (100, 12)), now_ns=S)
    assert judge.feed(history(2, (0, 5), (500, 5)), now_ns=S) == []
    assert judge.feed(history(1, (102, 5), (600, 5)), now_ns=S) == []
    assert judge.tick(S + RUN_NS, wall_ns=START_NS) == []


def test_history_that_ends_in_alarm_leaves_none_standing() -> None:
    judge = judge_of(high(1))
    judge.feed(live(1, 5.0), now_ns=S)
    assert judge.feed(history(1, (0, 5), (10, 12)), now_ns=2 * S) == []
    assert judge.standing == 0
    due_ns = judge.next_deadline_ns()
    assert due_ns == 2 * S + RUN_NS
    assert judge.tick(due_ns - 1, wall_ns=START_NS) == []
    changes = judge.tick(due_ns, wall_ns=START_NS)
    assert told(changes) == [("d/1", ACTIVE, 10.0, True), ("d/1", RETURNED, 10.0, True)]
    assert judge.next_deadline_ns() is None
    assert judge.tick(due_ns + S, wall_ns=START_NS) == []


def test_an_alarm_that_stands_is_not_told_again_and_not_returned() -> None:
    judge = judge_of(high(1))
    assert told(judge.feed(live(1, 12.0), now_ns=S)) == [("d/1", ACTIVE, 3_600.0, False)]
    assert judge.feed(history(1, (0, 12), (10, 5), (20, 12)), now_ns=2 * S) == []
    assert judge.tick(2 * S + RUN_NS, wall_ns=START_NS) == []
    assert judge.standing == 1


def test_an_alarm_that_stood_from_before_the_outage_is_not_told_twice() -> None:
    judge = judge_of(high(1))
    judge.feed(live(1, 12.0, at_s=-60.0), now_ns=S)
    assert told(judge.feed(live(1, 5.0), now_ns=2 * S)) == [("d/1", RETURNED, 3_600.0, False)]
    assert judge.feed(history(1, (0, 12), (10, 5)), now_ns=3 * S) == []


def test_conditions_on_one_point_are_judged_late_and_those_on_several_are_not() -> None:
    trip = AlarmSpec("trip", Kind.DISCRETE, ("d/1",), values=(1.0,))
    apart = AlarmSpec("apart", Kind.DEVIATION, ("d/1",), reference="d/2", limit=5.0)
    judge = judge_of(Point(1, "d/1"), Point(2, "d/2"), specs=(trip, apart))
    judge.feed(live(2, 0.0), now_ns=S)
    judge.feed(live(1, 0.0), now_ns=S)
    changes = judge.feed(history(1, (0, 0), (10, 1), (20, 100), (30, 0)), now_ns=2 * S)
    assert told(changes) == [("d/1", ACTIVE, 10.0, True), ("d/1", RETURNED, 20.0, True)]


@given(
    st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=1, max_size=16),
    st.sampled_from([0.0, 3.0, 10.0]),
    st.lists(st.integers(1, 16), max_size=5),
)
@settings(max_examples=150, deadline=None)
def test_pages_make_no_difference(
    steps: list[tuple[int, bool]], on_s: float, cuts: list[int]
) -> None:
    """However history is cut into pages, what is told is what a scalar model says."""
    at = list(itertools.accumulate(step for step, _ in steps))
    samples = [(float(t), 12.0 if up else 5.0) for t, (_, up) in zip(at, steps, strict=True)]
    wanted: list[tuple[str, AlarmState, float, bool]] = []
    since, raised = -1.0, -1.0
    last = -1.0
    for t, value in samples:
        if since >= 0 and raised < 0 and since + on_s <= t:
            raised = last  # it ran out before this sample, with the value of the last one
        if value < 10:
            if raised >= 0:
                wanted += [("d/1", ACTIVE, raised, True), ("d/1", RETURNED, t, True)]
            since = raised = -1.0
        elif since < 0:
            since = t
            raised = t if on_s == 0 else -1.0
        last = t
    if raised >= 0:
        wanted += [("d/1", ACTIVE, raised, True), ("d/1", RETURNED, last, True)]
    judge = judge_of(high(1, on_s))
    edges = [0, *sorted({cut for cut in cuts if cut < len(samples)}), len(samples)]
    changes: list[AlarmChange] = []
    for first, stop in itertools.pairwise(edges):
        changes += judge.feed(history(1, *samples[first:stop]), now_ns=S)
    assert judge.standing == 0
    changes += judge.tick(S + RUN_NS, wall_ns=START_NS)
    assert [(source, state, late) for source, state, _, late in told(changes)] == [
        (source, state, late) for source, state, _, late in wanted
    ]
    for found, model in zip(told(changes), wanted, strict=True):
        assert found == model

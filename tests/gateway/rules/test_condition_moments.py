"""Alarms over several points see every moment of a batch, in the order of time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.contract import Batch, Quality
from gateway.config.expressions import compile_expression
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.point import Point
from gateway.rules.condition_spec import AlarmSpec, Kind
from gateway.rules.conditions import Conditions

S = 10**9
A, B, C = 1, 2, 3
POINTS = [Point(A, "d/a"), Point(B, "d/b"), Point(C, "d/c")]
RAISED, OVER = True, False
Sample = tuple[int, float, float]
"""Point, second of its own time, value."""

DEVIATION = AlarmSpec("n", Kind.DEVIATION, ("d/a",), reference="d/b", limit=10.0)
VALVE = AlarmSpec("n", Kind.VALVE, ("d/a",), reference="d/b")
DISAGREEMENT = AlarmSpec("n", Kind.DISAGREEMENT, ("d/a",), reference="d/b", limit=50.0)
EXPRESSION = AlarmSpec("n", Kind.EXPRESSION, ("d/a",), expression="a - b >= 10.0",
                       variables={"a": "d/a", "b": "d/b"})  # fmt: skip


def conditions(*specs: AlarmSpec) -> Conditions:
    numbers = itertools.count(1)
    return Conditions(specs, POINTS, new_id=lambda: next(numbers).to_bytes(16, "big"),
                      compile_expression=compile_expression)  # fmt: skip


def feed(rules: Conditions, samples: Sequence[Sample]) -> list[AlarmChange]:
    ids, at_s, values = zip(*samples, strict=True)
    quality = [int(Quality.BAD_COMM_FAILURE) if math.isnan(value) else 0 for value in values]
    times = np.array([round(at * S) for at in at_s], np.int64)
    return rules.feed(
        Batch(np.array(ids, np.int32), np.array(values), np.array(quality, np.uint16), times, 0, 0),
        now_ns=0,
    )


def said(changes: Sequence[AlarmChange]) -> list[tuple[float, bool]]:
    """When by the device's time, and whether it was raised."""
    active = AlarmState.UNACKNOWLEDGED_ACTIVE
    return [(change.source_time_ns / S, change.state is active) for change in changes]


@pytest.mark.parametrize(
    ("spec", "at_rest", "away"),
    [(DEVIATION, 0.0, 10.0), (VALVE, 0.0, 1.0), (DISAGREEMENT, 49.9, 50.0), (EXPRESSION, 0.0, 10)],
    ids=["deviation", "valve", "disagreement", "expression"],
)
def test_an_excursion_between_the_ends_of_a_batch_is_seen(
    spec: AlarmSpec, at_rest: float, away: float
) -> None:
    """The batch begins and ends at rest: its last samples alone would show nothing."""
    rules = conditions(spec)
    assert feed(rules, [(A, 0, at_rest), (B, 0, 0.0)]) == []
    changes = feed(rules, [(A, 1, at_rest), (A, 2, away), (A, 3, at_rest), (B, 3, 0.0)])
    assert said(changes) == [(2, RAISED), (3, OVER)]
    assert [change.value for change in changes] == [away, at_rest]


def test_what_moves_together_is_no_excursion_though_it_comes_apart_in_the_batch() -> None:
    """OPC UA gives all samples of one item, then all of the next."""
    rules = conditions(DEVIATION, EXPRESSION)
    ramp = [(point, at, 20.0 * at) for point in (A, B) for at in range(5)]
    assert feed(rules, ramp) == []


def test_an_excursion_of_the_reference_is_seen_and_the_points_own_value_reported() -> None:
    rules = conditions(DEVIATION)
    changes = feed(rules, [(A, 0, 5.0), (B, 0, 5.0), (B, 1, 40.0), (B, 2, 5.0)])
    assert said(changes) == [(1, RAISED), (2, OVER)]
    assert [change.value for change in changes] == [5.0, 5.0]


def test_what_is_unknown_for_a_moment_is_not_judged_then() -> None:
    rules = conditions(DEVIATION)
    changes = feed(rules, [(A, 0, 0.0), (B, 0, 0.0), (B, 1, math.nan), (A, 2, 99.0), (B, 3, 99.0)])
    assert changes == [], "while the reference was unknown nothing could be said of 99"


def test_samples_of_one_point_with_one_time_stay_in_their_order() -> None:
    rules = conditions(DEVIATION)
    changes = feed(rules, [(B, 0, 0.0), (A, 1, 0.0), (A, 1, 50.0), (A, 1, 0.0)])
    assert said(changes) == [(1, RAISED), (1, OVER)]


def test_an_expression_that_names_no_point_of_its_own_reports_no_value() -> None:
    spec = AlarmSpec("n", Kind.EXPRESSION, (), expression="a > 1.0", variables={"a": "d/a"})
    [change] = feed(conditions(spec), [(A, 0, 2.0)])
    assert math.isnan(change.value)
    assert change.text == "alarm/n: the expression is true 表达式报警."


SAMPLES = st.lists(
    st.tuples(st.sampled_from([A, B, C]), st.integers(0, 4),
              st.sampled_from([0.0, 5.0, 10.0, 20.0, math.nan])),
    min_size=1, max_size=12,
)  # fmt: skip


@example([[(B, 0, 0.0), (A, 1, 0.0), (A, 1, 50.0), (A, 1, 0.0)]])
@given(st.lists(SAMPLES, min_size=1, max_size=4))
def test_against_a_plain_walk_through_time(batches: list[list[Sample]]) -> None:
    """Deviation and expression of a and b, against one row at a time, sample after sample."""
    rules, plain = conditions(DEVIATION, EXPRESSION), [_Walk(abs), _Walk(lambda away: away)]
    for batch in batches:
        found = feed(rules, batch)
        for walk, kind in zip(plain, ("deviation.n", "expression.n"), strict=True):
            mine = [change for change in found if change.condition == kind]
            assert said(mine) == walk.feed(batch), kind


class _Walk:
    def __init__(self, of: object) -> None:
        self._of = of
        self._known: dict[int, float] = {}
        self._active = False

    def feed(self, batch: Sequence[Sample]) -> list[tuple[float, bool]]:
        turns: dict[tuple[int, float], int] = {}
        moments: dict[tuple[float, int], list[Sample]] = {}
        for sample in batch:
            point, at_s, _ = sample
            if point == C:
                continue
            turn = turns.get((point, at_s), 0)
            turns[point, at_s] = turn + 1
            moments.setdefault((at_s, turn), []).append(sample)
        changes = []
        for at_s, turn in sorted(moments):
            for point, _, value in moments[at_s, turn]:
                self._known[point] = value
            a, b = self._known.get(A, math.nan), self._known.get(B, math.nan)
            if math.isnan(a) or math.isnan(b):
                continue
            assert callable(self._of)
            if (self._of(a - b) >= 10) != self._active:
                self._active = not self._active
                changes.append((float(at_s), self._active))
        return changes

"""Alarms beyond limits: each kind one step on either side, and rows against a plain model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Batch, Quality
from gateway.config.expressions import compile_expression
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.point import Point
from gateway.rules.condition_spec import AlarmSpec, Kind
from gateway.rules.conditions import Conditions
from gateway.rules.gas import gas_specs
from gateway.rules.open_alarm import OpenAlarm

S = 10**9
WALL_NS = 1_750_000_000 * S
POINTS = [Point(i, f"d/{name}", unit="x") for i, name in enumerate("abc", 1)]
Sample = tuple[int, float, int]


def conditions(*specs: AlarmSpec, restored: Sequence[OpenAlarm] = ()) -> Conditions:
    numbers = itertools.count(1)
    return Conditions(
        specs, POINTS, new_id=lambda: next(numbers).to_bytes(16, "big"), restored=restored,
        compile_expression=compile_expression,
    )  # fmt: skip


def feed(rules: Conditions, at_s: float, *samples: Sample) -> list[AlarmChange]:
    ids, values, quality = zip(*samples, strict=True)
    now_ns = round(at_s * S)
    batch = Batch(
        np.array(ids, np.int32), np.array(values, np.float64), np.array(quality, np.uint16),
        WALL_NS + now_ns, WALL_NS + now_ns, 0,
    )  # fmt: skip
    return rules.feed(batch, now_ns=now_ns)


def raised(changes: Sequence[AlarmChange]) -> list[bool]:
    return [change.state is AlarmState.UNACKNOWLEDGED_ACTIVE for change in changes]


def steps(rules: Conditions, *values: tuple[float, float]) -> list[bool]:
    return [one for at_s, value in values for one in raised(feed(rules, at_s, (1, value, 0)))]


def test_discrete_values() -> None:
    rules = conditions(AlarmSpec("n", Kind.DISCRETE, ("d/a",), values=(1.0, 3.0)))
    assert steps(rules, (0, 0.0), (1, 1.0), (2, 3.0), (3, 2.0)) == [True, False]
    [change] = feed(rules, 4, (1, 3.0, 0))
    assert (change.source, change.condition, change.rule) == (
        "d/a",
        "discrete.n",
        "alarm.discrete/1",
    )
    assert change.text == "d/a: is in its alarm state 状态报警: 3 x."


def test_a_value_that_is_not_for_alarm_changes_nothing() -> None:
    rules = conditions(AlarmSpec("n", Kind.DISCRETE, ("d/a",), values=(1.0,)))
    for code in (Quality.BAD_COMM_FAILURE, Quality.UNCERTAIN_INHIBITED, Quality.GOOD_SIMULATED):
        assert feed(rules, 0, (1, 1.0, code)) == []
    assert feed(rules, 0, (1, math.nan, 0)) == []
    assert raised(feed(rules, 0, (1, 1.0, Quality.UNCERTAIN_OUT_OF_RANGE))) == [True]


def test_every_sample_of_a_batch_counts() -> None:
    rules = conditions(AlarmSpec("n", Kind.DISCRETE, ("d/a",), values=(1.0,)))
    assert raised(feed(rules, 0, (1, 0.0, 0), (1, 1.0, 0), (1, 0.0, 0))) == [True, False]


def test_rate_one_step_below_and_at_its_limit() -> None:
    spec = AlarmSpec("n", Kind.RATE, ("d/a",), limit=6.0, deadband=1.0, over_s=60.0)
    assert steps(conditions(spec), (0, 0.0), (60, 5.9), (120, 11.8)) == []
    rules = conditions(spec)
    assert steps(rules, (0, 0.0), (60, 6.0)) == [True]
    assert steps(rules, (120, 11.1)) == []  # 5.1 a minute: within the deadband
    assert steps(rules, (180, 16.0)) == [False]
    assert steps(conditions(spec), (0, 0.0), (10, 6.0)) == [True], "too fast for the whole window"
    assert steps(conditions(spec), (0, 0.0), (60, -6.0)) == [True]


def test_rate_has_a_direction_and_survives_a_clock_that_steps_back() -> None:
    up = AlarmSpec("n", Kind.RATE, ("d/a",), limit=6.0, direction=1)
    assert steps(conditions(up), (0, 0.0), (60, -60.0), (120, -54.0)) == [True]
    assert steps(conditions(up), (60, 0.0), (60, 100.0)) == []


def test_deviation_from_a_reference() -> None:
    spec = AlarmSpec("n", Kind.DEVIATION, ("d/a",), limit=2.0, deadband=0.5, reference="d/b")
    rules = conditions(spec)
    assert feed(rules, 0, (1, 10.0, 0)) == [], "the reference is not known yet"
    assert feed(rules, 1, (2, 8.1, 0)) == []
    assert raised(feed(rules, 2, (2, 8.0, 0))) == [True], "the reference asks too"
    assert feed(rules, 3, (1, 9.5, 0)) == []
    assert raised(feed(rules, 4, (1, 9.4, 0))) == [False]
    assert feed(rules, 5, (2, 0.0, Quality.BAD_COMM_FAILURE)) == []


def test_a_valve_has_its_travel_time() -> None:
    spec = AlarmSpec("n", Kind.VALVE, ("d/a",), reference="d/b", on_delay_s=5.0)
    rules = conditions(spec)
    assert feed(rules, 0, (1, 0.0, 0), (2, 0.0, 0)) == []
    assert feed(rules, 1, (1, 1.0, 0)) == []  # told to open
    assert rules.next_deadline_ns() == 6 * S
    assert feed(rules, 5.9, (2, 1.0, 0)) == []  # open in time
    assert rules.next_deadline_ns() is None
    assert feed(rules, 10, (1, 0.0, 0)) == []  # told to close, and does not
    assert rules.tick(15 * S - 1, WALL_NS) == []
    [stuck] = rules.tick(15 * S, WALL_NS)
    assert (stuck.condition, stuck.priority) == ("valve_discrepancy.n", 3)
    assert raised(feed(rules, 16, (2, 0.0, 0))) == [False]


@pytest.mark.parametrize(("value", "bit", "differs"), [
    (9.9, 0, False), (10.0, 1, False), (10.0, 0, True), (9.9, 1, True),
])  # fmt: skip
def test_panel_and_gateway_disagree(value: float, bit: int, differs: bool) -> None:
    spec = AlarmSpec("n", Kind.DISAGREEMENT, ("d/a",), reference="d/b", limit=10.0)
    assert bool(feed(conditions(spec), 0, (1, value, 0), (2, bit, 0))) == differs
    low = AlarmSpec("n", Kind.DISAGREEMENT, ("d/a",), reference="d/b", limit=-10.0, direction=-1)
    assert bool(feed(conditions(low), 0, (1, -value, 0), (2, bit, 0))) == differs


def test_stale_from_the_start_and_after_silence() -> None:
    rules = conditions(AlarmSpec("n", Kind.STALE, ("d/a", "d/b"), after_s=10.0))
    assert rules.next_deadline_ns() is None
    rules.begin(0)
    assert rules.next_deadline_ns() == 10 * S
    assert feed(rules, 9, (1, 1.0, 0)) == []
    [silent] = rules.tick(10 * S, WALL_NS)
    assert (silent.source, silent.quality) == ("d/b", Quality.UNCERTAIN_STALE)
    assert rules.next_deadline_ns() == 19 * S
    assert raised(feed(rules, 18.9, (2, math.nan, Quality.BAD_COMM_FAILURE))) == [False]
    assert raised(rules.tick(19 * S, WALL_NS)) == [True]


def test_frozen_value() -> None:
    rules = conditions(AlarmSpec("n", Kind.FROZEN, ("d/a",), after_s=10.0))
    assert steps(rules, (0, 5.0), (9.9, 5.0)) == []
    assert steps(rules, (10, 5.0), (11, 5.0), (12, 5.1)) == [True, False]


def test_quality() -> None:
    bad = conditions(AlarmSpec("n", Kind.QUALITY, ("d/a",), on_delay_s=3.0))
    assert feed(bad, 0, (1, math.nan, Quality.BAD_COMM_FAILURE)) == []
    assert raised(feed(bad, 3, (1, math.nan, Quality.BAD_COMM_FAILURE))) == [True]
    assert feed(bad, 4, (1, math.nan, Quality.BAD_NOT_CONNECTED)) == []
    assert raised(feed(bad, 5, (1, 1.0, Quality.UNCERTAIN))) == [False]


def test_the_states_of_a_gas_detector_are_separate_alarms() -> None:
    point = Point(1, "d/a", gas="CH4", unit="%LEL")
    rules = Conditions(gas_specs([point, POINTS[1]]), [point, POINTS[1]], new_id=lambda: b"i" * 16)
    found = []
    for at, code in enumerate((
        Quality.BAD_SENSOR_FAULT, Quality.UNCERTAIN_OUT_OF_RANGE, Quality.UNCERTAIN_INHIBITED, 0,
    )):  # fmt: skip
        found += [
            (c.condition, *raised([c])) for c in feed(rules, at, (1, 1.0, code), (2, 1.0, code))
        ]
    assert found[:1] == [("gas_fault", True)]
    assert sorted(found[1:3]) == [("gas_fault", False), ("gas_over_range", True)]
    assert found[3:4] == [("gas_inhibited", True)]  # an inhibited detector ends no over-range
    assert sorted(found[4:]) == [("gas_inhibited", False), ("gas_over_range", False)]


GAS = Point(1, "d/a", gas="CH4", unit="%LEL", range_low=0.0, range_high=100.0)
OUT = Quality.UNCERTAIN_OUT_OF_RANGE


def gas_said(*samples: tuple[float, float, int]) -> list[tuple[str, bool]]:
    """What a detector's states say of (time, value, quality)."""
    rules = Conditions(gas_specs([GAS]), [GAS], new_id=lambda: b"i" * 16)
    found: list[tuple[str, bool]] = []
    for at_s, value, quality in samples:
        changes = rules.tick(round(at_s * S), WALL_NS) + feed(rules, at_s, (1, value, quality))
        found += [(c.condition, raised([c])[0]) for c in changes]
    return found


def test_a_drifted_zero_is_no_over_range() -> None:
    """@example: -0.2 %LEL of a detector without gas raised and returned 超量程 all day long."""
    assert gas_said((0, -0.2, OUT), (60, 0.1, 0), (120, -9.9, OUT), (999, -9.9, OUT)) == []
    assert gas_said((0, 100.1, OUT), (1, -0.2, OUT)) == [
        ("gas_over_range", True), ("gas_over_range", False),
    ]  # fmt: skip


def test_a_reading_clearly_below_the_range_is_said_so() -> None:
    assert gas_said((0, -25.0, OUT), (9.9, -25.0, OUT), (10, -25.0, OUT)) == [
        ("gas_under_range", True)
    ]
    assert gas_said((0, -25.0, OUT), (9, 0.0, 0), (30, 0.0, 0)) == []


@pytest.mark.parametrize(
    "lost", [Quality.BAD_NOT_CONNECTED, Quality.BAD_SENSOR_FAULT, Quality.UNCERTAIN_CALIBRATING]
)
def test_a_quality_that_does_not_tell_ends_no_over_range(lost: int) -> None:
    """@example: a link that was cut while gas was beyond the range returned the alarm."""
    said = gas_said((0, 100.1, OUT), (1, math.nan, lost), (90, math.nan, lost))
    assert ("gas_over_range", True) in said
    assert ("gas_over_range", False) not in said
    faulty = gas_said((0, math.nan, Quality.BAD_SENSOR_FAULT), (1, math.nan, lost))
    assert (("gas_fault", False) in faulty) is (lost == Quality.UNCERTAIN_CALIBRATING)


def test_a_detector_that_is_left_in_a_test_is_told_after_an_hour() -> None:
    """@example: a detector left in simulation was good for ever, and no alarm."""
    hour = [(0, 0.0, Quality.UNCERTAIN_WARM_UP), (9, 0.0, Quality.GOOD_SIMULATED),
            (3599.9, 0.0, Quality.GOOD_SIMULATED)]  # fmt: skip
    assert gas_said(*hour) == []
    assert gas_said(*hour, (3600, 0.0, Quality.UNCERTAIN_CALIBRATING), (3700, 0.0, 0)) == [
        ("gas_left_in_test", True), ("gas_left_in_test", False),
    ]  # fmt: skip


def test_expression_over_several_points() -> None:
    spec = AlarmSpec("runaway", Kind.EXPRESSION, (), expression="t > 80.0 && p >= 1.2",
                     variables={"t": "d/a", "p": "d/b"}, priority=1)  # fmt: skip
    rules = conditions(spec)
    assert feed(rules, 0, (1, 90.0, 0)) == []
    assert feed(rules, 1, (2, 1.1, 0)) == []
    [change] = feed(rules, 2, (2, 1.2, 0))
    assert (change.source, change.condition) == ("alarm/runaway", "expression.runaway")
    assert feed(rules, 3, (1, 10.0, Quality.BAD_COMM_FAILURE)) == [], "unknown: held"
    assert raised(feed(rules, 4, (1, 80.0, 0))) == [False]


def test_restored_alarms_go_on_and_those_without_a_row_return() -> None:
    spec = AlarmSpec("n", Kind.DISCRETE, ("d/a",), values=(1.0,))
    [change] = feed(conditions(spec), 0, (1, 1.0, 0))
    after = conditions(spec, restored=[OpenAlarm.of(change)])
    assert feed(after, 1, (1, 1.0, 0)) == []
    [back] = feed(after, 2, (1, 0.0, 0))
    assert back.alarm_id == change.alarm_id
    [gone] = feed(conditions(restored=[OpenAlarm.of(change)]), 1, (3, 0.0, 0))
    assert "removed from the configuration" in gone.text


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0.0, 1.0]), st.booleans()), max_size=40),
    st.integers(0, 6), st.integers(0, 6),
)  # fmt: skip
def test_delays_against_a_plain_model(
    script: list[tuple[int, float, bool]], on_s: int, off_s: int
) -> None:
    spec = AlarmSpec("n", Kind.DISCRETE, ("d/a", "d/b"), values=(1.0,), on_delay_s=on_s,
                     off_delay_s=off_s)  # fmt: skip
    rules, now, samples, times = conditions(spec), 0, [], list[float]()
    for step, value, bad in script:
        now += step
        code = int(Quality.BAD_COMM_FAILURE) if bad else 0
        samples.append((float(now), value, code))
        changes = feed(rules, now, (1, value, code), (2, value, code))
        times += [now for change in changes if change.source == "d/a"]
        assert len(changes) % 2 == 0
    assert times == model(samples, on_s, off_s)


def model(samples: Sequence[tuple[float, float, int]], on_s: float, off_s: float) -> list[float]:
    """When one alarm changes; a delay that ran out fires before a later sample is looked at."""
    active, due, held, times = False, math.inf, False, []
    for at_s, value, quality in samples:
        if due <= at_s and not held:
            active, due = not active, math.inf
            times.append(at_s)
        held = bool(quality)
        if held:
            continue
        if (value == 1.0) == active:
            due = math.inf
            continue
        due = min(due, at_s + (off_s if active else on_s))
        if due <= at_s:
            active, due = not active, math.inf
            times.append(at_s)
    return times


@pytest.mark.parametrize(("returns_s", "raised_then"), [(104.999, []), (105.0, [True, False])])
def test_a_delay_counts_by_the_samples_own_times_within_a_batch(
    returns_s: float, raised_then: list[bool]
) -> None:
    rules = conditions(AlarmSpec("n", Kind.DISCRETE, ("d/a",), values=(1.0,), on_delay_s=5.0))
    feed(rules, 0, (1, 0.0, 0))
    times = np.array([99, 100, 101, returns_s]) * S
    batch = Batch(
        np.ones(4, np.int32), np.array([0.0, 1.0, 1.0, 0.0]), np.zeros(4, np.uint16),
        times.astype(np.int64), WALL_NS, 0,
    )  # fmt: skip
    assert raised(rules.feed(batch, now_ns=1000 * S)) == raised_then

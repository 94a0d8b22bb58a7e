"""Of a panel's bit and the gateway's limit one is the alarm, the other only disagrees."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from drivers.contract import Batch
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.point import Limits, Point
from gateway.rules.authority import DISAGREE_S, one_alarm_each
from gateway.rules.judge import Judge

S = 10**9
VALUE, BIT, LOW_BIT = 1, 2, 3


def judge(source: str) -> Judge:
    points = [
        Point(VALUE, "gds/AT-1", limits=Limits(low=5.0, high=25.0, deadband=1.0),
              alarm_source=source, unit="%LEL"),
        Point(BIT, "gds/AT-1.A1", limits=Limits(high=0.5), alarm_of="gds/AT-1:high"),
        Point(LOW_BIT, "gds/AT-1.L", limits=Limits(high=0.5), alarm_of="gds/AT-1:low"),
    ]  # fmt: skip
    judged, specs = one_alarm_each(points)
    numbers = itertools.count(1)
    return Judge(judged, (), new_id=lambda: next(numbers).to_bytes(16, "big"), specs=specs)


def feed(rules: Judge, at_s: float, value: float, bit: int, low_bit: int = 0) -> list[AlarmChange]:
    ids, zeros = np.array([VALUE, BIT, LOW_BIT], np.int32), np.zeros(3, np.uint16)
    now_ns = round(at_s * S)
    batch = Batch(ids, np.array([value, bit, low_bit], np.float64), zeros, now_ns, now_ns, 0)
    return rules.feed(batch, now_ns=now_ns)


def said(changes: Sequence[AlarmChange]) -> list[tuple[str, str, bool]]:
    active = AlarmState.UNACKNOWLEDGED_ACTIVE
    return [(c.source, c.condition, c.state is active) for c in changes]


def after_hold(rules: Judge, at_s: float) -> list[tuple[str, str, bool]]:
    before = round((at_s + DISAGREE_S) * S)
    assert rules.tick(before - 1, wall_ns=0) == []
    return said(rules.tick(before, wall_ns=0))


def test_the_panels_alarm_counts_and_the_limit_only_disagrees() -> None:
    rules = judge("panel")
    assert said(feed(rules, 0, 30.0, 0)) == [], "over the limit, but the panel's word counts"
    assert after_hold(rules, 0) == [("gds/AT-1", "disagreement.high", True)]
    [alarm, *rest] = said(feed(rules, 11, 30.0, 1))
    assert alarm == ("gds/AT-1.A1", "high", True)
    assert rest == []
    assert after_hold(rules, 11) == [("gds/AT-1", "disagreement.high", False)]


def test_the_gateways_limit_counts_and_the_bit_only_disagrees() -> None:
    rules = judge("gateway")
    assert said(feed(rules, 0, 10.0, 1)) == [], "the bit alone is no alarm"
    assert after_hold(rules, 0) == [("gds/AT-1", "disagreement.high", True)]
    assert said(feed(rules, 11, 30.0, 1)) == [("gds/AT-1", "high", True)]
    assert after_hold(rules, 11) == [("gds/AT-1", "disagreement.high", False)]


@pytest.mark.parametrize("source", ["panel", "gateway"])
def test_one_alarm_and_no_disagreement_where_both_say_the_same(source: str) -> None:
    rules = judge(source)
    assert feed(rules, 0, 10.0, 0) == []
    raised = feed(rules, 1, 30.0, 1)
    assert [change.condition for change in raised] == ["high"]
    assert rules.next_deadline_ns() is None
    back = feed(rules, 2, 10.0, 0)
    assert [change.condition for change in back] == ["high"]
    low = feed(rules, 3, 4.0, 0, 1)
    assert len(low) == 1
    assert rules.next_deadline_ns() is None


@pytest.mark.parametrize(("value", "bit", "differs"), [
    (25.0, 1, False), (25.0, 0, True), (24.9, 0, False), (24.9, 1, False),
    (24.0, 1, False), (23.9, 1, True),
])  # fmt: skip
def test_inside_the_deadband_the_bit_may_be_either(value: float, bit: int, differs: bool) -> None:
    rules = judge("panel")
    feed(rules, 0, value, bit)
    found = [name for _, name, _ in said(rules.tick(round(DISAGREE_S * S), wall_ns=0))]
    assert ("disagreement.high" in found) == differs


@pytest.mark.parametrize(("value", "bit", "differs"), [
    (5.0, 1, False), (5.0, 0, True), (6.0, 1, False), (6.1, 1, True), (5.1, 0, False),
])  # fmt: skip
def test_low_alarms_are_compared_downwards(value: float, bit: int, differs: bool) -> None:
    rules = judge("panel")
    feed(rules, 0, value, 0, bit)
    found = [name for _, name, _ in said(rules.tick(round(DISAGREE_S * S), wall_ns=0))]
    assert ("disagreement.low" in found) == differs


def test_what_no_bit_names_stays_as_it_is() -> None:
    points = (
        Point(1, "d/a", limits=Limits(high=1.0)),
        Point(2, "d/b", limits=Limits(high=0.5), alarm_of="d/a:low"),
        Point(3, "d/c", limits=Limits(high=0.5), alarm_of="d/nowhere:high"),
    )
    assert one_alarm_each(points) == (points, [])

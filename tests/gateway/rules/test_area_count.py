"""People in areas: one step on either side of each limit, two counts, holds, unknown counts."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from drivers.contract import Batch, Quality, SourceEvent
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.point import Point
from gateway.rules.area_count import AreaCounts, AreaSpec
from gateway.rules.open_alarm import OpenAlarm
from gateway.rules.rulebook import shipped

S = 10**9
WALL_NS = 1_750_000_000 * S
POINTS = [Point(1, "c1/z.headcount"), Point(2, "c2/z.headcount"), Point(3, "d/x")]
RULES = {
    kind: shipped().get(f"headcount.{kind}", on=dt.date(2026, 11, 28))
    for kind in ("high_risk", "running_maintenance")
}
BOTH = ("c1/z.headcount", "c2/z.headcount")


def areas(
    spec: AreaSpec,
    permit: Callable[[str], bool] = lambda _: True,
    restored: Sequence[OpenAlarm] = (),
) -> AreaCounts:
    numbers = itertools.count(1)
    return AreaCounts([spec], POINTS, RULES, new_id=lambda: next(numbers).to_bytes(16, "big"),
                      permit_active=permit, restored=restored)  # fmt: skip


def seen(rules: AreaCounts, at_s: float, *counts: float, quality: int = 0) -> list[AlarmChange]:
    now_ns = round(at_s * S)
    batch = Batch(
        np.arange(1, 1 + len(counts), dtype=np.int32), np.array(counts),
        np.full(len(counts), quality, np.uint16), WALL_NS, WALL_NS + now_ns, 0,
    )  # fmt: skip
    return rules.feed(batch, now_ns=now_ns)


def positioned(rules: AreaCounts, at_s: float, people: int) -> list[AlarmChange]:
    event = SourceEvent(
        "intake.position_count", "uwb", WALL_NS, "", {"area": "P", "people": people}
    )
    return rules.feed_event(event, now_ns=round(at_s * S))


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "condition"),
    [("high_risk", 9, 10, "major_hazard_candidate"), ("running_maintenance", 6, 7, "over_count")],
)
def test_the_legal_number_one_step_on_either_side(
    kind: str, right: int, wrong: int, condition: str
) -> None:
    spec = AreaSpec("a", kind, cameras=BOTH[:1], hold_s=0.0)
    rules = areas(spec)
    assert seen(rules, 0, right) == []
    [change] = seen(rules, 1, wrong)
    assert (change.condition, change.value) == (condition, wrong)
    assert change.rule == f"headcount.{kind}/1"
    assert "鲁安发〔2023〕13号" in change.clause
    assert "第7项" in change.clause
    [back] = seen(rules, 2, right)
    assert (back.alarm_id, back.state) == (change.alarm_id, AlarmState.RETURNED_UNACKNOWLEDGED)


def test_maintenance_counts_only_while_a_permit_is_active_at_the_place() -> None:
    active = {"unit-1": False}
    spec = AreaSpec("a", "running_maintenance", "unit-1", BOTH[:1], hold_s=0.0)
    rules = areas(spec, active.__getitem__)
    assert seen(rules, 0, 7) == []
    active["unit-1"] = True
    assert len(seen(rules, 1, 7)) == 1
    active["unit-1"] = False
    assert len(seen(rules, 2, 7)) == 1


def test_a_site_may_say_less_and_the_hold_must_be_unbroken() -> None:
    rules = areas(AreaSpec("a", "own", cameras=BOTH[:1], most=3, hold_s=60.0))
    assert seen(rules, 0, 3) == []
    assert seen(rules, 1, 4) == []
    assert rules.next_deadline_ns() == 61 * S
    assert seen(rules, 60, 3) == []
    assert seen(rules, 61, 4) == []
    assert rules.tick(121 * S - 1, WALL_NS) == []
    assert len(rules.tick(121 * S, WALL_NS)) == 1
    assert seen(rules, 122, 3) == []
    assert len(seen(rules, 182, 3)) == 1


def test_overlapping_cameras_are_not_counted_twice() -> None:
    most = areas(AreaSpec("a", "high_risk", cameras=BOTH, hold_s=0.0))
    assert seen(most, 0, 9, 9) == []
    assert len(seen(most, 1, 9, 10)) == 1
    apart = areas(AreaSpec("a", "high_risk", cameras=BOTH, combine="sum", hold_s=0.0))
    assert seen(apart, 0, 4, 5) == []
    assert len(seen(apart, 1, 5, 5)) == 1


def test_what_cannot_be_judged_neither_raises_nor_returns() -> None:
    rules = areas(AreaSpec("a", "high_risk", cameras=BOTH[:1], hold_s=0.0))
    assert seen(rules, 0, 20, quality=Quality.BAD_CANNOT_JUDGE) == []
    assert len(seen(rules, 1, 10)) == 1
    assert seen(rules, 2, 0, quality=Quality.BAD_CANNOT_JUDGE) == []
    apart = areas(AreaSpec("a", "high_risk", cameras=BOTH, combine="sum", hold_s=0.0))
    assert seen(apart, 0, math.nan, 9) == []
    assert seen(apart, 1, math.nan, 9, quality=Quality.BAD_CANNOT_JUDGE) == []


def test_people_who_are_surely_there_raise_though_another_view_is_lost() -> None:
    """@example: twenty people in one view were no alarm while the other camera was dead."""
    apart = areas(AreaSpec("a", "high_risk", cameras=BOTH, combine="sum", hold_s=0.0))
    [change] = seen(apart, 0, math.nan, 20)
    assert change.value == 20
    assert "cameras at least 20, positioning unknown" in change.text


def test_who_said_too_many_and_is_lost_holds_the_alarm() -> None:
    """@example: the camera that saw twelve was cut, and the one that saw three ended the alarm."""
    for combine in ("max", "sum"):
        spec = AreaSpec("a", "high_risk", cameras=BOTH, combine=combine, positioning="P",
                        hold_s=0.0)  # fmt: skip
        rules = areas(spec)
        [change] = seen(rules, 0, 12, 3)
        assert seen(rules, 1, math.nan, 3) == []
        assert positioned(rules, 2, 4) == []
        [back] = seen(rules, 3, 5, 3)
        assert back.alarm_id == change.alarm_id
        assert len(positioned(rules, 4, 12)) == 1
        assert seen(rules, 400, 5, 3) == [], "positioning is silent, and had said twelve"
        assert len(positioned(rules, 401, 4)) == 1


def test_after_a_restart_every_source_is_heard_before_an_alarm_returns() -> None:
    spec = AreaSpec("a", "high_risk", cameras=BOTH, positioning="P", hold_s=0.0)
    [change] = positioned(areas(spec), 0, 12)
    again = areas(spec, restored=[OpenAlarm.of(change)])
    assert seen(again, 1, 3) == []
    assert positioned(again, 2, 3) == []
    assert [c.alarm_id for c in seen(again, 3, 3, 3)] == [change.alarm_id]


def test_either_count_raises_both_are_said_and_disagreement_is_its_own_alarm() -> None:
    spec = AreaSpec("a", "high_risk", cameras=BOTH[:1], positioning="P", hold_s=0.0, differ=3)
    rules = areas(spec)
    assert seen(rules, 0, 7) == []
    assert positioned(rules, 1, 9) == []
    changes = positioned(rules, 2, 10)
    assert [c.condition for c in changes] == ["major_hazard_candidate", "count_disagreement"]
    assert "cameras 7, positioning 10" in changes[0].text
    assert [c.condition for c in seen(rules, 3, 8)] == ["count_disagreement"]
    assert rules.counts(spec, 302 * S) == (8, 10)
    assert math.isnan(rules.counts(spec, 303 * S)[1]), "a positioning count grows old"


def test_restored_alarms_go_on_and_those_of_areas_that_are_gone_return() -> None:
    spec = AreaSpec("a", "high_risk", cameras=BOTH[:1], hold_s=0.0)
    [change] = seen(areas(spec), 0, 10)
    again = areas(spec, restored=[OpenAlarm.of(change)])
    assert seen(again, 1, 10) == []
    assert seen(again, 2, 9)[0].alarm_id == change.alarm_id
    other = AreaSpec("b", "high_risk", cameras=BOTH[:1])
    [gone] = seen(areas(other, restored=[OpenAlarm.of(change)]), 1, 10)
    assert "removed from the configuration" in gone.text

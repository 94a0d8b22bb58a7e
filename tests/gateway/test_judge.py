"""All rules behind one face: what survives a restart, and what is said where something is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Quality, SourceEvent
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.point import Limits, Point
from gateway.rules.headcount import KINDS as HEADCOUNT_KINDS
from gateway.rules.judge import PART, Judge
from tests.gateway.flow_rig import WALL_NS, S, batch, judge, over_count

ACTIVE, RETURNED = AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED


def said(changes: Sequence[AlarmChange]) -> list[tuple[str, AlarmState]]:
    return [(change.source, change.state) for change in changes]


def standing() -> tuple[Judge, dict[str, bytes]]:
    """A judge with an alarm of each rule raised: alarm id by source."""
    first = judge()
    raised = first.feed(batch({1: 11.0}), now_ns=0)
    raised += first.feed_event(over_count(active=True), now_ns=0)
    return first, {change.source: change.alarm_id for change in raised}


def test_a_restart_neither_raises_a_standing_alarm_again_nor_forgets_it() -> None:
    first, ids = standing()
    assert first.standing == 2
    second = judge(first.states())
    assert second.complaints == []
    assert second.begin(WALL_NS, now_ns=0) == []
    assert second.standing == 2
    assert second.standing_zones("cam") == ["yard"]
    assert second.feed(batch({1: 12.0}), now_ns=0) == []
    assert second.feed_event(over_count(active=True), now_ns=0) == []
    back = second.feed(batch({1: 3.0}), now_ns=S)
    back += second.feed_event(over_count(active=False), now_ns=S)
    assert said(back) == [("gds/a", RETURNED), ("cam/yard", RETURNED)]
    assert {change.source: change.alarm_id for change in back} == ids
    assert second.standing == 0


@pytest.mark.parametrize("wrong", [b"not JSON", b"[]", b'{"version":9,"open":[]}', b"\xff\x00"])
def test_a_state_that_cannot_be_read_is_named_and_its_alarms_are_raised_again(
    wrong: bytes,
) -> None:
    first, ids = standing()
    [limit, count] = sorted(first.states(), reverse=True)
    assert "gds/a" in limit
    limits_lost = judge({**first.states(), limit: wrong})
    [complaint] = limits_lost.complaints
    assert "The alarm gds/a high is not known any more" in complaint
    assert "\n" not in complaint
    assert limits_lost.standing == 1
    [again] = limits_lost.feed(batch({1: 12.0}), now_ns=0)
    assert again.state is ACTIVE
    assert limits_lost.feed_event(over_count(active=True), now_ns=0) == []

    count_lost = judge({**first.states(), count: wrong})
    assert "cam/yard over_count" in count_lost.complaints[0]
    assert count_lost.standing_zones("cam") == []
    [returned] = count_lost.feed(batch({1: 1.0}), now_ns=0)
    assert returned.alarm_id == ids["gds/a"]
    [again] = count_lost.feed_event(over_count(active=True), now_ns=0)
    assert (again.source, again.state) == ("cam/yard", ACTIVE)


def test_a_zone_that_is_no_longer_configured_is_returned_at_start() -> None:
    first, ids = standing()
    second = judge(first.states(), zones=("cam/gate",))
    [returned] = second.begin(WALL_NS, now_ns=0)
    assert (returned.source, returned.state) == ("cam/yard", RETURNED)
    assert returned.alarm_id == ids["cam/yard"]
    assert returned.quality == Quality.UNCERTAIN_STALE
    assert "removed from the configuration" in returned.text
    assert second.begin(WALL_NS, now_ns=0) == []


@pytest.mark.parametrize("kind", sorted(HEADCOUNT_KINDS))
def test_what_a_camera_saw_before_a_restart_is_over_when_it_says_so(kind: str) -> None:
    """@example: an alarm of a flame, a helmet or a post that was left stood for ever after one."""
    condition, _ = HEADCOUNT_KINDS[kind]
    name = "yard" if condition == "over_count" else f"yard/{condition}"

    def seen(*, active: bool) -> SourceEvent:
        about: dict[str, str | int | bool] = {"zone": "yard", "people": 1, "limit": 0}
        return SourceEvent(kind, "cam", WALL_NS, "", {**about, "active": active})

    first = judge(zones=(f"cam/{name}",))
    [raised] = first.feed_event(seen(active=True), now_ns=0)
    second = judge(first.states(), zones=(f"cam/{name}",))
    assert second.begin(WALL_NS, now_ns=0) == []
    assert second.standing_zones("cam") == [name]
    [over] = second.feed_event(seen(active=False), now_ns=S)
    assert (over.state, over.alarm_id) == (RETURNED, raised.alarm_id)
    third = judge(first.states(), zones=())
    assert [c.state for c in third.begin(WALL_NS, now_ns=0)] == [RETURNED]


@pytest.mark.parametrize(
    "now", [[], [Point(1, "gds/a")], [Point(1, "gds/a", limits=Limits(low=1.0))]]
)
def test_a_limit_that_is_no_longer_configured_is_returned_by_the_first_batch(
    now: list[Point],
) -> None:
    first, ids = standing()
    second = judge(first.states(), judged=now)
    [returned] = second.feed(batch({1: 12.0}), now_ns=0)
    assert (returned.source, returned.state) == ("gds/a", RETURNED)
    assert returned.alarm_id == ids["gds/a"]


def test_a_malformed_over_count_is_a_value_error_and_other_kinds_are_nothing() -> None:
    rules = judge()
    with pytest.raises(ValueError, match=r"cam: vision\.over_count needs zone, people"):
        rules.feed_event(SourceEvent("vision.over_count", "cam", WALL_NS, ""), now_ns=0)
    assert rules.feed_event(SourceEvent("link.up", "cam", WALL_NS, ""), now_ns=0) == []


def test_a_delay_that_ran_at_the_stop_begins_anew() -> None:
    first = judge()
    assert first.feed(batch({2: 12.0}), now_ns=0) == []
    assert first.next_deadline_ns() == 5 * S
    second = judge(first.states())
    assert second.next_deadline_ns() is None
    second.feed(batch({2: 12.0}), now_ns=7 * S)
    assert second.next_deadline_ns() == 12 * S
    assert said(second.tick(12 * S, wall_ns=WALL_NS)) == [("gds/b", ACTIVE)]


ITEMS = st.one_of(
    st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([-1.0, 5.0, 12.0])),
    st.tuples(st.just("zone"), st.booleans()),
)


@given(st.lists(st.tuples(ITEMS, st.booleans(), st.integers(0, 3)), max_size=30))
def test_restarts_at_any_moment_keep_raise_and_return_in_turn(
    steps: list[tuple[tuple[int | str, float], bool, int]],
) -> None:
    """Each alarm goes raise, return, raise, return; a return has the id of its raise."""
    rules, now_ns, open_ids = judge(), 0, dict[tuple[str, str], bytes]()
    for (target, value), restart, seconds in steps:
        now_ns += seconds * S
        changes = rules.tick(now_ns, wall_ns=WALL_NS)
        if isinstance(target, int):
            changes += rules.feed(batch({target: value}), now_ns=now_ns)
        else:
            changes += rules.feed_event(over_count(active=bool(value)), now_ns=now_ns)
        for change in changes:
            key = (change.source, change.condition)
            if change.state is ACTIVE:
                assert key not in open_ids
                open_ids[key] = change.alarm_id
            else:
                assert open_ids.pop(key) == change.alarm_id
        assert rules.standing == len(open_ids)
        if restart:
            rules = judge(rules.states())
            assert rules.complaints == []
            assert rules.standing == len(open_ids)


MANY = 3 * PART + 7


def many_points() -> list[Point]:
    return [Point(i, f"gds/p{i}", limits=Limits(high=10.0)) for i in range(1, MANY + 1)]


def test_a_flood_goes_through_the_desk_in_parts_and_each_alarm_once() -> None:
    rules = judge(judged=many_points())
    everything = batch(dict.fromkeys(range(1, MANY + 1), 11.0))
    parts = [rules.feed(everything, now_ns=0)]
    while rules.waiting:
        assert rules.next_deadline_ns() == 0, "who sleeps must not let the rest wait"
        parts.append(rules.more(0))
    assert [len(part) for part in parts] == [PART, PART, PART, 7]
    assert {c.source for part in parts for c in part} == {p.name for p in many_points()}


def test_what_happens_to_an_alarm_that_waits_keeps_its_order() -> None:
    rules = judge(judged=many_points())
    raised = rules.feed(batch(dict.fromkeys(range(1, MANY + 1), 11.0)), now_ns=0)
    back = rules.feed(batch({MANY: 1.0}), now_ns=1)
    assert len(raised) + len(back) == MANY + 1, "all that waited comes before it"
    assert said(back)[-2:] == [(f"gds/p{MANY}", ACTIVE), (f"gds/p{MANY}", RETURNED)]
    assert not rules.waiting


def test_a_changed_configuration_takes_over_what_waits() -> None:
    rules, after = judge(judged=many_points()), judge(judged=many_points())
    raised = rules.feed(batch(dict.fromkeys(range(1, MANY + 1), 11.0)), now_ns=0)
    raised += after.take_over(rules, WALL_NS)
    assert len({change.source for change in raised}) == len(raised) == MANY
    assert after.standing == len(after.entries()) == MANY
    assert not rules.waiting


def test_delays_of_a_whole_plant_that_run_out_together_go_in_parts_too() -> None:
    delayed = [Point(i, f"gds/p{i}", limits=Limits(high=10.0, on_delay_s=1.0))
               for i in range(1, MANY + 1)]  # fmt: skip
    rules = judge(judged=delayed)
    assert rules.feed(batch(dict.fromkeys(range(1, MANY + 1), 11.0)), now_ns=0) == []
    found = rules.tick(S, wall_ns=WALL_NS)
    assert len(found) == PART
    while rules.waiting:
        found += rules.tick(S, wall_ns=WALL_NS)
    assert len({change.source for change in found}) == len(found) == MANY


def test_every_alarm_of_a_point_says_what_people_call_it() -> None:
    """@example: an officer saw a tag without its name; over a restart and a removed limit too."""
    [raised] = judge().feed(batch({1: 11.0}), now_ns=0)
    assert raised.description == "泵房入口可燃气"
    assert AlarmChange.decode(raised.encode(b"")) == raised
    first, _ = standing()
    [returned] = judge(first.states(), judged=[Point(1, "gds/a")]).feed(batch({1: 11.0}), now_ns=0)
    assert returned.description == "泵房入口可燃气"
    lost = judge()
    assert lost.feed(batch({1: float("nan")}, Quality.BAD_NOT_CONNECTED), now_ns=0) == []
    assert [c.description for c in lost.tick(60 * S, wall_ns=WALL_NS)] == ["泵房入口可燃气"]

"""An alarm that nobody could judge is an alarm itself: one a device, or one a point."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Batch, Quality
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.point import Limits, Point
from gateway.rules.not_judged import AFTER_NS, CAMERA_AFTER_NS, CONDITION, NotJudged, carrying
from gateway.rules.open_alarm import OpenAlarm

S = 10**9
WALL_NS = 1_750_000_000 * S
BIT = Limits(high=1.0)
POINTS = [
    Point(1, "panel/AT-1", alarm_source="panel", gas="CH4", limits=Limits(high=25.0)),
    Point(2, "panel/AT-1.alarm_1", limits=BIT, priority=2),
    Point(3, "panel/AT-2.alarm_1", limits=BIT, priority=1, place="tanks"),
    Point(4, "panel/AT-3.alarm_1", limits=BIT),
    Point(5, "dcs/TI-1", limits=Limits(high=80.0)),
    Point(6, "dcs/TI-2"),
    Point(7, "dcs/switch"),
    Point(8, "spot/AT-9", limits=BIT, gas="CO"),
]
LOST = Quality.BAD_COMM_FAILURE


def rules(
    points: Sequence[Point] = POINTS, restored: Sequence[OpenAlarm] = (), also: str = ""
) -> NotJudged:
    numbers = itertools.count(1)
    return NotJudged(
        carrying(points, {also}),
        new_id=lambda: next(numbers).to_bytes(16, "big"),
        restored=restored,
    )


def feed(rule: NotJudged, at_s: float, quality: Mapping[int, int]) -> list[AlarmChange]:
    now_ns = round(at_s * S)
    codes = np.array(list(quality.values()), np.uint16)
    values = np.where(codes >= 0x8000, np.nan, 0.0)
    ids = np.array(list(quality), np.int32)
    batch = Batch(ids, values, codes, WALL_NS + now_ns, WALL_NS + now_ns, 0)
    return rule.feed(batch, now_ns=now_ns)


def tick(rule: NotJudged, at_s: float) -> list[AlarmChange]:
    return rule.tick(round(at_s * S), WALL_NS + round(at_s * S))


def said(changes: Sequence[AlarmChange]) -> list[tuple[str, bool]]:
    return [(c.source, c.state is AlarmState.UNACKNOWLEDGED_ACTIVE) for c in changes]


def test_a_lost_panel_is_one_alarm_and_returns_with_its_first_bit() -> None:
    rule = rules()
    assert feed(rule, 0, {1: 0, 2: 0, 3: 0, 4: 0}) == []
    assert rule.next_deadline_ns() is None
    assert feed(rule, 1, {1: LOST, 2: LOST, 3: LOST, 4: LOST}) == []
    assert rule.next_deadline_ns() == S + AFTER_NS
    assert tick(rule, 10.9) == []
    assert feed(rule, 10.95, {1: LOST, 2: LOST, 3: LOST, 4: LOST}) == []
    [alarm] = tick(rule, 11)
    assert (alarm.source, alarm.condition, alarm.quality) == ("panel", CONDITION, LOST)
    assert (alarm.priority, alarm.state) == (1, AlarmState.UNACKNOWLEDGED_ACTIVE)
    assert alarm.text == (
        "panel: nobody can judge its 3 alarm points, they are bad:comm_failure 报警无法判断:"
        " AT-1.alarm_1, AT-2.alarm_1, AT-3.alarm_1."
    )
    assert rule.next_deadline_ns() is None
    assert tick(rule, 100) == []
    assert said(feed(rule, 101, {2: 0})) == [("panel", False)]
    # The two that are still lost are told one by one.
    assert said(tick(rule, 111)) == [("panel/AT-3.alarm_1", True), ("panel/AT-2.alarm_1", True)]
    assert said(feed(rule, 112, {2: 0, 3: 0, 4: 0})) == [
        ("panel/AT-2.alarm_1", False), ("panel/AT-3.alarm_1", False),
    ]  # fmt: skip
    assert rule.open_count == 0


def test_one_lost_loop_is_told_at_its_point_and_does_not_hide_the_next() -> None:
    rule = rules()
    feed(rule, 0, {2: Quality.BAD_ILLEGAL_ADDRESS, 3: 0, 4: 0})
    [alarm] = tick(rule, 10)
    assert (alarm.source, alarm.quality) == ("panel/AT-1.alarm_1", Quality.BAD_ILLEGAL_ADDRESS)
    assert "nobody can judge this alarm, the value is bad:illegal_address" in alarm.text
    feed(rule, 20, {3: LOST})
    [second] = tick(rule, 30)
    assert (second.source, second.place) == ("panel/AT-2.alarm_1", "tanks")
    feed(rule, 40, {4: LOST})  # now all of the device
    assert said(tick(rule, 50)) == [("panel", True)]
    assert rule.open_count == 3


def test_a_short_loss_is_not_told() -> None:
    rule = rules()
    feed(rule, 0, {2: LOST, 5: LOST})
    assert feed(rule, 9, {2: 0, 5: 0}) == []
    assert rule.next_deadline_ns() is None
    assert tick(rule, 60) == []


@pytest.mark.parametrize(
    ("point", "quality", "told"),
    [
        (5, Quality.BAD_NOT_CONNECTED, True), (5, Quality.UNCERTAIN_STALE, True),
        (5, Quality.BAD_SENSOR_FAULT, True), (5, 0x80AB, True),
        (5, Quality.BAD_OUT_OF_SERVICE, False), (5, Quality.UNCERTAIN, False),
        (5, Quality.UNCERTAIN_CALIBRATING, False), (5, Quality.GOOD_SIMULATED, False),
        (6, LOST, False),  # carries no alarm
        (1, LOST, False),  # the panel's own bit judges
        (7, LOST, True),  # an alarm on its state
        (8, LOST, True), (8, Quality.BAD_SENSOR_FAULT, False),  # gas_fault tells it
        (8, Quality.BAD_OUT_OF_RANGE, False),
    ],
)  # fmt: skip
def test_what_counts_as_not_judged(point: int, quality: int, *, told: bool) -> None:
    rule = rules(also="dcs/switch")
    feed(rule, 0, {point: quality})
    assert len(tick(rule, 10)) == told
    assert rule.example("dcs/TI-2", CONDITION) is None
    assert rule.example("dcs/TI-1", "high") is None
    known = rule.example("dcs/TI-1", CONDITION)
    assert known is not None
    assert known.state is AlarmState.NORMAL


def test_a_restart_keeps_what_stands_and_returns_what_is_gone() -> None:
    first = rules()
    feed(first, 0, {2: LOST, 3: LOST, 4: LOST, 5: LOST})
    raised = tick(first, 10)
    assert said(raised) == [("panel", True), ("dcs/TI-1", True)]
    again = rules(POINTS[:4], [OpenAlarm.of(change) for change in raised])
    assert again.open_count == 1
    [gone] = feed(again, 0, {2: LOST, 3: LOST, 4: LOST})
    assert (gone.source, gone.alarm_id) == ("dcs/TI-1", raised[1].alarm_id)
    assert tick(again, 60) == []
    [back] = feed(again, 61, {3: 0})
    assert (back.source, back.alarm_id) == ("panel", raised[0].alarm_id)


def test_a_reload_goes_on_waiting_for_a_source_that_tells_its_loss_once() -> None:
    first = rules()
    feed(first, 0, {2: LOST, 3: LOST, 4: LOST})
    second = rules([*POINTS, Point(9, "new/x", limits=BIT)])
    second.take_over(first)
    assert second.next_deadline_ns() == AFTER_NS
    assert said(tick(second, 10)) == [("panel", True)]
    assert said(feed(second, 11, {2: 0, 3: 0, 4: 0})) == [("panel", False)]


QUALITIES = st.sampled_from([0, int(LOST), int(Quality.UNCERTAIN_STALE)])
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 5.0, 10.0, 30.0]),
              st.dictionaries(st.sampled_from([2, 3, 4, 5]), QUALITIES)),
    max_size=30,
)  # fmt: skip


@given(STEPS)
def test_whatever_happens_what_lasts_is_told_and_what_is_over_returns(
    steps: list[tuple[float, dict[int, int]]],
) -> None:
    rule, now, since = rules(), 0.0, dict[int, float]()
    standing: set[str] = set()
    names = {point.id: point.name for point in POINTS}
    for wait_s, quality in steps:
        now += wait_s
        changes = [*tick(rule, now), *feed(rule, now, quality)]
        for number, code in quality.items():
            if code == 0:
                since.pop(number, None)
            else:
                since.setdefault(number, now)
        changes += tick(rule, now)
        for change in changes:
            raised = change.state is AlarmState.UNACKNOWLEDGED_ACTIVE
            assert (change.source in standing) is not raised  # never twice, never out of nothing
            (standing.add if raised else standing.discard)(change.source)
        whole = all(number in since for number in (2, 3, 4))
        assert "panel" not in standing or whole
        for number in (2, 3, 4, 5):
            assert names[number] not in standing or number in since
            if number == 5 and 5 in since and now >= since[5] + 10:
                assert names[5] in standing
        if whole and now >= max(since[number] for number in (2, 3, 4)) + 10:
            assert "panel" in standing
    # After a while without news every lost point is told, by itself or by its device.
    for change in tick(rule, now + 10):
        standing.add(change.source)
    lost = {names[number] for number in since}
    assert lost <= standing | ({names[2], names[3], names[4]} if "panel" in standing else set())
    assert standing <= lost | {"panel"}
    assert tick(rule, now + 20) == []
    assert rule.next_deadline_ns() is None


def test_a_broken_line_is_told_and_a_drifted_zero_is_not() -> None:
    """@example: 0 mA was uncertain, below every high limit, and told to nobody."""
    guarded = Point(1, "dcs/PT-1", limits=Limits(high=80.0), range_low=0.0, range_high=100.0)
    gas = Point(2, "gds/AT-1", limits=Limits(high=25.0), gas="CH4", range_low=0.0, range_high=100.0)

    def read(rule: NotJudged, at_s: float, value: float, code: int) -> list[AlarmChange]:
        values, codes = np.array([value, value]), np.array([code, code], np.uint16)
        now_ns = round(at_s * S)
        batch = Batch(np.array([1, 2], np.int32), values, codes, WALL_NS, WALL_NS, 0)
        return rule.feed(batch, now_ns=now_ns) + rule.tick(now_ns, WALL_NS)

    rule = rules([guarded, gas])
    out = Quality.UNCERTAIN_OUT_OF_RANGE
    for value in (-2.4, 150.0, -2.4):
        assert read(rule, 0, value, out) == []
    assert read(rule, 60, -25.0, out) == []
    assert said(read(rule, 70, -25.0, out)) == [("dcs/PT-1", True)]  # gas tells its own
    assert said(read(rule, 71, 5.0, Quality.GOOD)) == [("dcs/PT-1", False)]


def test_a_camera_whose_zone_raises_alarms_is_told_after_its_own_patience() -> None:
    """Nobody was told of a guardian's post that no camera saw for a night."""
    numbers = itertools.count(1)
    points = [
        Point(20, "cam/post.headcount"),
        Point(21, "cam/yard.headcount"),
        Point(22, "cam/fps"),
    ]
    eyes = {"cam/post.headcount", "cam/yard.headcount"}
    rule = NotJudged(
        carrying(points, eyes),
        new_id=lambda: next(numbers).to_bytes(16, "big"),
        after_ns=dict.fromkeys(eyes, CAMERA_AFTER_NS),
    )
    lost = dict.fromkeys((20, 21), Quality.BAD_NOT_CONNECTED)
    feed(rule, 0, lost)
    assert tick(rule, CAMERA_AFTER_NS / S - 0.001) == []
    assert said(tick(rule, CAMERA_AFTER_NS / S)) == [("cam", True)]
    assert said(feed(rule, 90, {20: Quality.GOOD, 21: Quality.BAD_NOT_CONNECTED})) == [
        ("cam", False)
    ]
    assert tick(rule, 149.9) == []
    assert said(tick(rule, 150)) == [("cam/yard.headcount", True)]


def test_a_post_in_a_view_that_was_moved_is_not_judged() -> None:
    """Its zone lies elsewhere by now, so that it was left is not told: this is."""
    numbers = itertools.count(1)
    points = [Point(20, "cam/post.headcount"), Point(5, "dcs/TI-1", limits=Limits(high=80.0))]
    rule = NotJudged(
        carrying(points, {"cam/post.headcount"}),
        new_id=lambda: next(numbers).to_bytes(16, "big"),
        after_ns={"cam/post.headcount": CAMERA_AFTER_NS},
    )
    feed(rule, 0, dict.fromkeys((20, 5), 0x4000))
    assert said(tick(rule, 60)) == [("cam/post.headcount", True)]
    assert said(feed(rule, 61, {20: Quality.GOOD})) == [("cam/post.headcount", False)]

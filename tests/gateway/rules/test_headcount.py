"""Headcount alarms: one alarm per zone, with its identity kept over a restart."""

from __future__ import annotations

import itertools

import pytest

from drivers.contract import SourceEvent
from gateway.model.alarm import AlarmState
from gateway.rules.headcount import HeadcountAlarms
from gateway.rules.open_alarm import decode_open


def made(restored: bytes = b"", start: int = 1) -> HeadcountAlarms:
    numbers = itertools.count(start)
    return HeadcountAlarms(new_id=lambda: next(numbers).to_bytes(16, "big"), restored=restored)


def over(people: int, *, active: bool, zone: str = "hot-work-1", time_ns: int = 5) -> SourceEvent:
    return SourceEvent(
        "vision.over_count", "unit1-east", time_ns, "…",
        {"zone": zone, "people": people, "limit": 6, "active": active},
    )  # fmt: skip


def test_an_over_count_is_raised_once_and_returned_once_under_one_id() -> None:
    alarms = made()
    assert alarms.feed(over(6, active=False), now_ns=0) == []
    (raised,) = alarms.feed(over(7, active=True), now_ns=0)
    assert alarms.feed(over(9, active=True), now_ns=0) == []
    (returned,) = alarms.feed(over(5, active=False, time_ns=9), now_ns=0)
    assert alarms.feed(over(5, active=False), now_ns=0) == []
    assert raised.alarm_id == returned.alarm_id
    assert (raised.state, returned.state) == (
        AlarmState.UNACKNOWLEDGED_ACTIVE,
        AlarmState.RETURNED_UNACKNOWLEDGED,
    )
    assert (raised.source, raised.condition, raised.value, raised.limit, raised.rule) == (
        "unit1-east/hot-work-1", "over_count", 7.0, 6.0, "headcount.over_count/1",
    )  # fmt: skip
    assert raised.text == (
        "unit1-east/hot-work-1 has too many people: 7 people, at most 6 people allowed."
    )
    assert returned.gateway_time_ns == 9


def test_zones_are_independent() -> None:
    alarms = made()
    (first,) = alarms.feed(over(7, active=True), now_ns=0)
    (second,) = alarms.feed(over(7, active=True, zone="gate"), now_ns=0)
    assert first.alarm_id != second.alarm_id
    assert alarms.open_count == 2


def test_a_restart_keeps_the_identity() -> None:
    before = made()
    (raised,) = before.feed(over(7, active=True), now_ns=0)
    after = made(before.open_alarms(), start=50)
    assert after.feed(over(8, active=True), now_ns=0) == []
    (returned,) = after.feed(over(1, active=False), now_ns=0)
    assert returned.alarm_id == raised.alarm_id
    assert decode_open(after.open_alarms()) == ()


def test_an_alarm_of_a_removed_zone_is_closed() -> None:
    before = made()
    before.feed(over(7, active=True), now_ns=0)
    (other,) = before.feed(over(7, active=True, zone="gate"), now_ns=0)
    after = made(before.open_alarms(), start=50)
    (closed,) = after.close_removed({"unit1-east/hot-work-1"}, 77)
    assert (closed.alarm_id, closed.gateway_time_ns) == (other.alarm_id, 77)
    assert "removed from the configuration" in closed.text
    assert after.open_count == 1


def test_other_events_are_none_of_its_business() -> None:
    assert made().feed(SourceEvent("link.up", "gds-1", 1, "up"), now_ns=0) == []


@pytest.mark.parametrize("attribute", ["zone", "people", "limit", "active"])
def test_a_malformed_event_is_refused(attribute: str) -> None:
    event = over(7, active=True)
    attributes = {key: value for key, value in event.attributes.items() if key != attribute}
    with pytest.raises(ValueError, match="needs zone"):
        made().feed(SourceEvent(event.kind, event.source, 1, "", attributes), now_ns=0)


def test_a_place_that_was_left_is_an_alarm_of_its_own() -> None:
    alarms = made()
    said: dict[str, str | float | bool] = {"zone": "post", "people": 0, "limit": 1, "active": True}
    [raised] = alarms.feed(SourceEvent("vision.empty", "cam", 5, "", said), now_ns=0)
    assert (raised.source, raised.condition, raised.rule) == (
        "cam/post", "empty", "headcount.empty/1",
    )  # fmt: skip
    assert raised.text == "cam/post has too few people: 0 people, at least 1 people must be there."
    assert alarms.sources == ("cam/post/empty",)
    gone = {**said, "people": 1, "active": False}
    [returned] = alarms.feed(SourceEvent("vision.empty", "cam", 9, "", gone), now_ns=0)
    assert returned.alarm_id == raised.alarm_id
    assert returned.text.startswith("cam/post no longer has too few people")


def test_running_and_gathering_are_alarms_of_their_own() -> None:
    alarms = made()
    said: dict[str, str | float | bool] = {"zone": "yard", "people": 2, "limit": 0, "active": True}
    [runs] = alarms.feed(SourceEvent("vision.running", "cam", 5, "", said), now_ns=0)
    assert (runs.condition, runs.rule, runs.text) == (
        "running", "motion.running/1", "cam/yard: somebody runs.",
    )  # fmt: skip
    said |= {"people": 6, "limit": 5}
    [gather] = alarms.feed(SourceEvent("vision.gathering", "cam", 5, "", said), now_ns=0)
    assert (gather.condition, gather.rule) == ("gathering", "headcount.gathering/1")
    assert "6 people in one place, 5 people or more" in gather.text
    assert set(alarms.sources) == {"cam/yard/running", "cam/yard/gathering"}
    said |= {"active": False}
    [over] = alarms.feed(SourceEvent("vision.running", "cam", 9, "", said), now_ns=0)
    assert (over.alarm_id, over.text) == (runs.alarm_id, "cam/yard: nobody runs any more.")

"""Gathering from positions: one step on either side of radius, duration and number of people."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import SourceEvent
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.gathering import EARTH_M, Gatherings, GatheringSpec, _Card, circles
from gateway.rules.open_alarm import OpenAlarm
from gateway.rules.rulebook import shipped

S = 10**9
WALL_NS = 1_790_000_000 * S
TODAY = dt.date(2026, 11, 28)
RADIUS = shipped().get("gathering.radius", on=TODAY)
DURATION = shipped().get("gathering.duration", on=TODAY)
LONGITUDE, LATITUDE = 116.58, 35.41
SPEC = GatheringSpec("yard", 3, except_areas=("canteen",))
Place = tuple[float, float]
AROUND: list[Place] = [(0.0, 1.0), (math.sqrt(3) / 2, -0.5), (-math.sqrt(3) / 2, -0.5)]
"""Three corners of a triangle that only its circumscribed circle covers."""


def gatherings(*specs: GatheringSpec, restored: Sequence[OpenAlarm] = ()) -> Gatherings:
    numbers = itertools.count(1)
    return Gatherings(specs or (SPEC,), (RADIUS, DURATION), restored=restored,
                      new_id=lambda: next(numbers).to_bytes(16, "big"))  # fmt: skip


def seen(
    rules: Gatherings, at_s: float, places: Sequence[Place], *, area: str = "tank farm",
    floor: str = "", first: int = 0,
) -> list[AlarmChange]:  # fmt: skip
    """Every card reports once; then time for a look."""
    changes = []
    for number, (x, y) in enumerate(places, first):
        fields: dict[str, str | int | float | bool] = {
            "card": f"c{number}", "area": area, "floor": floor,
            "longitude": LONGITUDE + math.degrees(x / EARTH_M / math.cos(math.radians(LATITUDE))),
            "latitude": LATITUDE + math.degrees(y / EARTH_M),
        }  # fmt: skip
        event = SourceEvent("intake.position", "uwb", WALL_NS + round(at_s * S), "", fields)
        changes += rules.feed_event(event, now_ns=round(at_s * S))
    return changes


def stay(
    rules: Gatherings, places: Sequence[Place], until_s: float, *, area: str = "tank farm",
    since_s: float = 0.0,
) -> list[AlarmChange]:  # fmt: skip
    """Report every 5 s (positioning.fix_interval), and look at `until_s` exactly."""
    changes, at_s = [], since_s
    while at_s < until_s:
        changes += seen(rules, at_s, places, area=area)
        changes += rules.tick(round((at_s + 1) * S), WALL_NS)
        at_s += 5.0
    return changes + rules.tick(round(until_s * S), WALL_NS)


def said(changes: Sequence[AlarmChange]) -> list[tuple[str, bool]]:
    return [(c.source, c.state is AlarmState.UNACKNOWLEDGED_ACTIVE) for c in changes]


def triangle(radius_m: float) -> list[Place]:
    return [(x * radius_m, y * radius_m) for x, y in AROUND]


@pytest.mark.parametrize(("radius_m", "gather"), [(14.9, True), (15.0, True), (15.1, False)])
def test_radius(radius_m: float, gather: bool) -> None:
    assert RADIUS.holds(radius_m) == gather
    found = stay(gatherings(), triangle(radius_m), 70)
    assert said(found) == ([("area/tank farm", True)] if gather else [])


@pytest.mark.parametrize(("seconds", "lasting"), [(60, False), (61, True)])
def test_duration(seconds: int, lasting: bool) -> None:
    assert DURATION.holds(seconds / 60) != lasting
    rules = gatherings()
    start = seen(rules, 0, triangle(5))
    assert start + rules.tick(S, WALL_NS) == []  # the look that finds them
    found = stay(rules, triangle(5), 1 + seconds, since_s=1.0)
    assert said(found) == ([("area/tank farm", True)] if lasting else [])
    for change in found:
        assert change.rule == DURATION.name
        assert "人员聚集" in change.clause
        assert (change.value, change.limit, change.unit) == (3, 3, "people")
        assert "within 15 m around 116.5800" in change.text


@pytest.mark.parametrize(("people", "gather"), [(2, False), (3, True)])
def test_people(people: int, gather: bool) -> None:
    assert bool(stay(gatherings(), [(0.0, 0.0)] * people, 70)) == gather


def test_it_returns_when_they_part_and_keeps_its_id() -> None:
    rules = gatherings()
    [raised] = stay(rules, triangle(5), 70)
    apart = seen(rules, 71, triangle(40)) + rules.tick(73 * S, WALL_NS)
    assert said(apart) == [("area/tank farm", False)]
    assert apart[0].alarm_id == raised.alarm_id
    assert rules.open_count == 0


def test_people_who_part_and_gather_elsewhere_begin_anew() -> None:
    rules = gatherings()
    assert stay(rules, triangle(5), 45) == []
    elsewhere = [(x + 100, y) for x, y in triangle(5)]
    assert stay(rules, elsewhere, 90, since_s=45.0) == []
    assert said(stay(rules, elsewhere, 115, since_s=90.0)) == [("area/tank farm", True)]


def test_a_group_that_walks_slowly_is_one_gathering() -> None:
    rules = gatherings()
    found = []
    for step in range(15):
        found += seen(rules, 5 * step, [(x + 4 * step, y) for x, y in triangle(5)])
        found += rules.tick((5 * step + 1) * S, WALL_NS)
    assert said(found) == [("area/tank farm", True)]


def test_floors_and_areas_where_it_is_normal_do_not_count_together() -> None:
    rules = gatherings()
    for at in range(0, 70, 5):
        assert seen(rules, at, triangle(5)[:2], floor="1") == []
        assert seen(rules, at, triangle(5)[2:], floor="2", first=2) == []
    assert stay(gatherings(), triangle(5), 90, area="canteen") == []


def test_a_circle_across_the_border_of_two_areas_is_found() -> None:
    rules, found = gatherings(), []
    for at in range(0, 70, 5):
        found += seen(rules, at, triangle(5)[:2], area="A")
        found += seen(rules, at, triangle(5)[2:], area="B", first=2)
        found += rules.tick((at + 1) * S, WALL_NS)
    assert said(found) == [("area/A", True)]


def test_positions_that_stop_coming_neither_raise_nor_return() -> None:
    rules = gatherings()
    assert seen(rules, 0, triangle(5)) == []
    for at in range(1, 200):
        assert rules.tick(at * S, WALL_NS) == [], "30 s of positions are no minute"
    rules = gatherings()
    [raised] = stay(rules, triangle(5), 70)
    for at in range(71, 200):
        assert rules.tick(at * S, WALL_NS) == []
    back = seen(rules, 200, triangle(40)) + rules.tick(202 * S, WALL_NS)
    assert [change.alarm_id for change in back] == [raised.alarm_id]


def test_positioning_whose_clock_was_set_back_is_heard_again() -> None:
    """@example: positions 8 h ahead for a moment hid every gathering of the next 8 h."""
    rules = gatherings()
    for number in range(3):
        ahead: dict[str, str | int | float | bool] = {
            "card": f"c{number}", "area": "gate", "longitude": LONGITUDE, "latitude": LATITUDE + 1,
        }  # fmt: skip
        event = SourceEvent("intake.position", "uwb", WALL_NS + 8 * 3600 * S, "", ahead)
        rules.feed_event(event, now_ns=0)
    assert len(stay(rules, triangle(5), 80, since_s=1)) == 1


def test_cards_that_went_home_hold_up_nothing() -> None:
    rules = gatherings()
    [raised] = stay(rules, triangle(5), 70)
    found = []
    for at in range(75, 500, 5):  # one stays and reports, the others are switched off
        found += seen(rules, at, triangle(5)[:1]) + rules.tick((at + 1) * S, WALL_NS)
    assert [(change.alarm_id, *said([change])[0][1:]) for change in found] == [
        (raised.alarm_id, False)
    ]


def test_a_restart_neither_forgets_nor_raises_again() -> None:
    [raised] = stay(gatherings(), triangle(5), 70)
    after = gatherings(restored=[OpenAlarm.of(raised)])
    assert stay(after, triangle(5), 90) == []
    back = seen(after, 91, triangle(40)) + after.tick(93 * S, WALL_NS)
    assert [change.alarm_id for change in back] == [raised.alarm_id]
    empty = gatherings(restored=[OpenAlarm.of(raised)])
    assert stay(empty, triangle(40), 25) == [], "not all cards have reported since the restart"
    assert said(stay(empty, triangle(40), 40, since_s=25.0)) == [("area/tank farm", False)]
    other = gatherings(GatheringSpec("gate", 3), restored=[OpenAlarm.of(raised)])
    [gone] = other.tick(0, WALL_NS)
    assert "removed from the configuration" in gone.text


def test_a_crowd_at_a_muster_point_is_found_without_trying_every_circle() -> None:
    crowd = [(n % 30 * 0.5, n // 30 * 0.5) for n in range(900)]
    found = stay(gatherings(GatheringSpec("all", 10)), crowd, 70)
    assert said(found) == [("area/tank farm", True)]
    assert found[0].value >= 500


PLACES = st.lists(
    st.tuples(st.integers(-40, 40), st.integers(-40, 40)), min_size=1, max_size=9
)  # fmt: skip


@given(PLACES, st.integers(2, 5))
def test_a_circle_is_found_if_and_only_if_there_is_one(
    places: list[tuple[int, int]], least: int
) -> None:
    """Against all circles through two cards or around one."""
    cards = [_Card(float(x), float(y), "", "", 0, 0) for x, y in places]
    found = list(circles(cards, 15.0, least))
    for centre, members in found:
        assert len(members) >= least
        assert all(math.dist((one.x, one.y), centre) <= 15.01 for one in members)
    most, most_with_doubt = (max(len(inside(cards, centre, reach)) for centre in centres(cards))
                             for reach in (14.99, 15.01))  # fmt: skip
    if most >= least:
        assert found
    if most_with_doubt < least:
        assert not found


def centres(cards: Sequence[_Card]) -> list[Place]:
    given = [(card.x, card.y) for card in cards]
    for one, other in itertools.combinations(given, 2):
        away = math.dist(one, other)
        if 0 < away <= 30:
            height = math.sqrt(225 - away * away / 4)
            nx, ny = (other[1] - one[1]) / away, (one[0] - other[0]) / away
            mx, my = (one[0] + other[0]) / 2, (one[1] + other[1]) / 2
            given += [(mx + nx * height, my + ny * height), (mx - nx * height, my - ny * height)]
    return given


def inside(cards: Sequence[_Card], centre: Place, reach: float) -> list[_Card]:
    return [card for card in cards if math.dist((card.x, card.y), centre) <= reach]

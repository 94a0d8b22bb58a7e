"""Gathering of people 人员聚集 from positions: too many within one place for too long.

Guarantees:

- A gathering is `people` cards or more on one floor within a circle of the radius of rule
  gathering.radius (15 m), wherever the borders of areas lie, for longer than rule
  gathering.duration (1 min). How many people make one was not found in any text: a site says it.
- Whether there is such a circle is decided exactly: around any card or through any card, not on a
  grid; each card counts once, however many areas overlap there.
- One place: a gathering goes on while enough cards are within the radius of its centre, else where
  another circle has its centre that near. A group that disperses and another that forms elsewhere
  are not one gathering.
- A position older than `fresh_s` is unknown. While a gathering would stand only with such cards,
  nothing is said: it is neither raised nor returned.
- One alarm a rule and area (that of most of its cards, by the name positioning gives); the text has
  centre and count. `except_areas`: where gathering is normal (canteen, control room).

Bounded: MOST_CARDS newest cards; looked at once in LOOK_NS at most. Pure; `now_ns` is monotonic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from drivers.contract import Quality, SourceEvent
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.open_alarm import OpenAlarm, checked_id
from gateway.rules.rulebook import Rule

POSITION = "intake.position"
MOST_CARDS = 5000
S = 10**9
LOOK_NS = S
FORGET_NS = 300 * S
HEARD_NS = 30 * S
LATE_NS = 10 * S
EARTH_M = 6_371_008.8  # mean radius, IUGG; within 0.5 % of CGCS2000 over 30 m
_NEAR_M = 0.001  # rounding of coordinates
MANY = 4  # times the people asked for: no better circle is looked for

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class GatheringSpec:
    """people: how many make a gathering.  areas: of positioning, all if empty."""

    name: str
    people: int
    areas: tuple[str, ...] = ()
    except_areas: tuple[str, ...] = ()
    fresh_s: float = 30.0
    priority: int = 2

    def takes(self, area: str) -> bool:
        """Tell whether people of an area count."""
        return area not in self.except_areas and (not self.areas or area in self.areas)


@dataclass(frozen=True, slots=True)
class _Card:
    x: float
    y: float
    floor: str
    area: str
    seen_ns: int
    time_ns: int


@dataclass(slots=True)
class _Group:
    """People together at one place, followed from look to look."""

    centre: Place
    floor: str
    area: str
    since_ns: int
    people: int
    sure: bool = True  # by positions that are fresh


class Gatherings:
    """State of all gatherings.  rules: radius and duration."""

    def __init__(
        self,
        specs: Sequence[GatheringSpec],
        rules: tuple[Rule, Rule] | None,
        *,
        new_id: Callable[[], bytes],
        restored: Sequence[OpenAlarm] = (),
    ) -> None:
        self._specs = tuple(specs) if rules is not None else ()
        self._rules = rules
        self._new_id = new_id
        self._cards: dict[str, _Card] = {}
        self._origin: Place | None = None
        self._groups: dict[str, list[_Group]] = {spec.name: [] for spec in self._specs}
        self._look_ns: int | None = None
        self._looked_ns = -LOOK_NS
        self._open: dict[tuple[str, str], OpenAlarm] = {}
        self._removed: list[OpenAlarm] = []
        names = {_condition(spec.name) for spec in self._specs}
        for alarm in restored:
            if alarm.condition in names:
                self._open[alarm.condition, alarm.source] = alarm
            else:
                self._removed.append(alarm)
        self._unheard = set(self._open)  # since the restart
        self._heard_ns: int | None = None
        if self._open or self._removed:
            self._look_ns = 0

    def feed_event(self, event: SourceEvent, *, now_ns: int) -> list[AlarmChange]:
        """Take a position; other events are nothing."""
        if event.kind != POSITION or not self._specs:
            return []
        card, said = event.attributes.get("card"), event.attributes
        where = said.get("longitude"), said.get("latitude")
        if not isinstance(card, str) or any(isinstance(n, str | bool | None) for n in where):
            return []
        before = self._cards.pop(card, None)  # the newest stand last
        if (
            before is not None
            and before.time_ns > event.time_ns
            and (now_ns - before.seen_ns < LATE_NS)
        ):  # else the clock of positioning was set back
            self._cards[card] = before
            return []
        x, y = self._metres(float(where[0] or 0), float(where[1] or 0))
        floor, area = str(said.get("floor", "")), str(said.get("area", ""))
        self._cards[card] = _Card(x, y, floor, area, now_ns, event.time_ns)
        if len(self._cards) > MOST_CARDS:
            del self._cards[next(iter(self._cards))]
        if self._look_ns is None:
            self._look_ns = max(now_ns, self._looked_ns + LOOK_NS)
        return self.tick(now_ns, event.time_ns)

    def next_deadline_ns(self) -> int | None:
        """When to look again, or None."""
        return self._look_ns

    def tick(self, now_ns: int, wall_ns: int) -> list[AlarmChange]:
        """Look, if it is time."""
        if self._look_ns is None or now_ns < self._look_ns:
            return []
        changes = [alarm.removed(wall_ns) for alarm in self._removed]
        self._removed = []
        self._looked_ns, self._look_ns = now_ns, None
        self._forget(now_ns)
        for spec in self._specs:
            changes += self._look(spec, now_ns, wall_ns)
        if self._open or any(self._groups.values()):
            self._look_ns = now_ns + LOOK_NS
        return changes

    @property
    def open_count(self) -> int:
        """Count of alarms that stand."""
        return len(self._open)

    def _forget(self, now_ns: int) -> None:
        """Forget cards that are silent while others report: switched off, or gone home.

        Where every card is silent, positioning is: nothing is forgotten then. After a restart
        nothing is known of those who gathered until the cards have had time to report.
        """
        newest_ns = max((card.seen_ns for card in self._cards.values()), default=now_ns)
        oldest_ns = newest_ns - FORGET_NS
        for name in [name for name, card in self._cards.items() if card.seen_ns < oldest_ns]:
            del self._cards[name]
        if self._unheard and self._cards:
            self._heard_ns = now_ns if self._heard_ns is None else self._heard_ns
            if now_ns - self._heard_ns >= HEARD_NS:
                self._unheard.clear()

    # -- one look --------------------------------------------------------------------------

    def _look(self, spec: GatheringSpec, now_ns: int, wall_ns: int) -> list[AlarmChange]:
        oldest_ns = now_ns - round(spec.fresh_s * S)
        known = [card for card in self._cards.values() if spec.takes(card.area)]
        fresh = [card for card in known if card.seen_ns >= oldest_ns]
        radius_m = self._radius_m
        former, groups, left = self._groups[spec.name], list[_Group](), fresh
        for group in list(former):
            members = _within(left, group.centre, group.floor, radius_m)
            if len(members) >= spec.people:
                former.remove(group)
                groups.append(replace(group, people=len(members)))
                left = _without(left, members)
        for centre, members in circles(left, radius_m, spec.people):
            floor = members[0].floor
            old = next((g for g in former if _goes_on(g, centre, floor, radius_m)), None)
            area, since_ns = _most(members), now_ns
            if old is not None:
                former.remove(old)
                area, since_ns = old.area, old.since_ns
            groups.append(_Group(centre, floor, area, since_ns, len(members)))
        # What would stand with positions that are too old is kept as it is, and not raised.
        groups += [
            replace(group, sure=False)
            for group in former
            if len(_within(known, group.centre, group.floor, radius_m)) >= spec.people
        ]
        self._groups[spec.name] = groups
        return self._decide(spec, groups, now_ns, wall_ns)

    def _decide(
        self, spec: GatheringSpec, groups: Sequence[_Group], now_ns: int, wall_ns: int
    ) -> list[AlarmChange]:
        condition = _condition(spec.name)
        lasting: dict[str, _Group] = {}
        for group in sorted(groups, key=lambda one: one.people):
            source = f"area/{group.area or spec.name}"
            stands = (condition, source) in self._open
            long = not self._duration.holds((now_ns - group.since_ns) / 60e9)
            if stands or (long and group.sure):
                lasting[source] = group
                self._unheard.discard((condition, source))
        changes = []
        for source, group in lasting.items():
            if (condition, source) not in self._open:
                change = self._change(spec, source, group, None, wall_ns)
                self._open[condition, source] = OpenAlarm.of(change)
                changes.append(change)
        for key in [key for key in self._open if key[0] == condition]:
            if key[1] not in lasting and key not in self._unheard:
                over = self._open.pop(key)
                changes.append(self._change(spec, key[1], None, over, wall_ns))
        return changes

    def _change(
        self, spec: GatheringSpec, source: str, group: _Group | None, over: OpenAlarm | None,
        wall_ns: int,
    ) -> AlarmChange:  # fmt: skip
        active, returned = AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED
        area, radius = source.removeprefix("area/"), self._radius_m
        if group is not None:
            longitude, latitude = self._degrees(*group.centre)
            text = (
                f"{area}: {group.people} people gather 人员聚集 within {radius:g} m around"
                f" {longitude:.6f} E {latitude:.6f} N"
                + (f", floor {group.floor}" if group.floor else "") + "."
            )  # fmt: skip
        else:
            text = f"{area}: people no longer gather 聚集解除."
        return AlarmChange(
            alarm_id=over.alarm_id if over else checked_id(self._new_id()),
            source=source,
            condition=_condition(spec.name),
            state=returned if over else active,
            previous_state=active if over else AlarmState.NORMAL,
            priority=spec.priority,
            value=float(group.people) if group else math.nan,
            quality=int(Quality.GOOD if group else Quality.UNCERTAIN),
            limit=float(spec.people),
            unit="people",
            source_time_ns=wall_ns,
            gateway_time_ns=wall_ns,
            rule=self._duration.name,
            text=text,
            clause=self._duration.citation,
        )

    @property
    def _radius_m(self) -> float:
        return self._rules[0].value if self._rules is not None else math.nan

    @property
    def _duration(self) -> Rule:
        assert self._rules is not None  # noqa: S101 - without rules there are no specs
        return self._rules[1]

    # -- where -----------------------------------------------------------------------------

    def _metres(self, longitude: float, latitude: float) -> Place:
        """Degrees as metres east and north of the first position seen."""
        if self._origin is None:
            self._origin = longitude, latitude
        east, north = (math.radians(longitude - self._origin[0]),
                       math.radians(latitude - self._origin[1]))  # fmt: skip
        return east * math.cos(math.radians(self._origin[1])) * EARTH_M, north * EARTH_M

    def _degrees(self, x: float, y: float) -> Place:
        longitude, latitude = self._origin or (0.0, 0.0)
        east = x / (EARTH_M * math.cos(math.radians(latitude)))
        return longitude + math.degrees(east), latitude + math.degrees(y / EARTH_M)


def circles(
    cards: Sequence[_Card], radius_m: float, least: int
) -> Iterator[tuple[Place, list[_Card]]]:
    """Circles that hold `least` cards or more; each card is in one only."""
    left = cards
    while len(left) >= least:
        found = _circle(left, radius_m, least)
        if found is None:
            return
        yield found
        left = _without(left, found[1])


def _circle(
    cards: Sequence[_Card], radius_m: float, least: int
) -> tuple[Place, list[_Card]] | None:
    """The fullest circle around a card; where none holds enough, the fullest through one.

    Where no circle around a card holds enough, few cards are near any of them, so that trying all
    circles through each stays cheap, however large the crowd.
    """
    around = _around(cards, radius_m, least)
    best: tuple[int, Place, str] = (0, (0.0, 0.0), "")
    for card, near in around:
        count = sum(1 for o in near if _away(o, card) <= radius_m + _NEAR_M)
        if count > best[0]:
            best = count, (card.x, card.y), card.floor
        if count >= MANY * least:
            break  # a crowd: any of its circles will do
    if best[0] >= least:
        return best[1], _within(cards, best[1], best[2], radius_m)
    fullest = [_fullest(card, near, radius_m) for card, near in around]
    centre, members = max(fullest, key=lambda one: len(one[1]), default=((0.0, 0.0), []))
    return (centre, members) if len(members) >= least else None


def _around(cards: Sequence[_Card], radius_m: float, least: int) -> list[tuple[_Card, list[_Card]]]:
    """Each card with those of the 3 x 3 cells about it; where these are too few, not at all."""
    side = 2 * radius_m + 2 * _NEAR_M
    cells: dict[tuple[str, int, int], list[_Card]] = {}
    for card in cards:
        cell = card.floor, math.floor(card.x / side), math.floor(card.y / side)
        cells.setdefault(cell, []).append(card)
    found = []
    for (floor, column, row), inside in cells.items():
        near = [
            one
            for dx in (-1, 0, 1)
            for dy in (-1, 0, 1)
            for one in cells.get((floor, column + dx, row + dy), ())
        ]
        if len(near) >= least:
            found += [(card, near) for card in inside]
    return found


def _away(one: _Card, other: _Card) -> float:
    return math.hypot(one.x - other.x, one.y - other.y)


def _within(cards: Iterable[_Card], centre: Place, floor: str, radius_m: float) -> list[_Card]:
    reach = radius_m + 2 * _NEAR_M
    return [c for c in cards if c.floor == floor and math.dist((c.x, c.y), centre) <= reach]


def _without(cards: Sequence[_Card], gone: Sequence[_Card]) -> list[_Card]:
    ids = {id(card) for card in gone}
    return [card for card in cards if id(card) not in ids]


def _most(members: Sequence[_Card]) -> str:
    return Counter(card.area for card in members).most_common(1)[0][0]


def _fullest(card: _Card, near: Sequence[_Card], radius_m: float) -> tuple[Place, list[_Card]]:
    """The fullest circle with a card on its edge: a sweep of its angle."""
    reach = radius_m + _NEAR_M
    group = [o for o in near if _away(o, card) <= 2 * reach]
    turns: list[tuple[float, int]] = []
    count = 0
    for other in group:
        dx, dy = other.x - card.x, other.y - card.y
        away = math.hypot(dx, dy)
        if away == 0.0:
            count += 1
            continue
        towards = math.atan2(dy, dx)
        half = math.acos(min(1.0, away / (2 * reach)))
        for begin, end in _unwrapped(towards - half, towards + half):
            turns += [(begin, -1), (end, 1)]
    best, at = count, 0.0
    for angle, step in sorted(turns):
        count -= step
        if count > best:
            best, at = count, angle
    centre = card.x + reach * math.cos(at), card.y + reach * math.sin(at)
    return centre, _within(group, centre, card.floor, radius_m)


def _unwrapped(begin: float, end: float) -> list[tuple[float, float]]:
    """An arc as one or two within -pi to pi."""
    full = 2 * math.pi
    if begin < -math.pi:
        return [(begin + full, math.pi), (-math.pi, end)]
    if end > math.pi:
        return [(begin, math.pi), (-math.pi, end - full)]
    return [(begin, end)]


def _goes_on(group: _Group, centre: Place, floor: str, radius_m: float) -> bool:
    return group.floor == floor and math.dist(group.centre, centre) <= radius_m + _NEAR_M


def _condition(name: str) -> str:
    return f"gathering.{name}"

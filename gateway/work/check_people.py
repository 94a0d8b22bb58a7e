"""Checks of people: guardian, headcount, protective equipment. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.rules.rulebook import Rule
from gateway.work.facts import ITEM_ZH
from gateway.work.permit import Kind, Permit
from gateway.work.site import Area, WorkSite
from gateway.work.situation import FAR_NS, S_NS, Finding, Situation, unknown
from gateway.work.words import number

MAINTENANCE = frozenset({Kind.UNPLANNED_MAINTENANCE, Kind.PLUGGING, Kind.TANK_CLEANING,
                         Kind.HOT_WORK, Kind.CONFINED_SPACE, Kind.BLIND_PLATE,
                         Kind.LIFTING, Kind.HEIGHT})  # fmt: skip
"""Kinds that are maintenance 检维修 where they are done on a running unit; the site says so by
`running_unit` of the area."""
CARD_SILENT_S = 300.0
"""Ours, from no document: a card that lies still may report every few minutes only."""


def maintenance_at(site: WorkSite, permits: Iterable[Permit], place: str) -> bool:
    """Tell whether people are at maintenance 检维修 under a permit at a place, or in an area.

    An area of kind running_maintenance says by its kind that the unit runs.
    """
    for permit in permits:
        if not permit.state.working or permit.kind not in MAINTENANCE:
            continue
        area = site.area(permit.text("area"), permit.text("place"))
        names = {permit.text("place"), permit.text("area")}
        if place in (names | {area.place, area.name} if area is not None else names) - {""}:
            return True
    return False


def guardian(situation: Situation) -> Iterator[Finding]:
    """The guardian 监护人 may not leave (4.10): by positioning tag, by its alarm, or by count."""
    if not situation.permit.state.working:
        return
    for since_ns, en, zh in _absences(situation):
        yield Finding(
            "guardian_absent",
            situation.rule("work.guardian"),
            f"the guardian is not there: {en}",
            f"监护人离岗:{zh}",
            begun=True,
            left_ns=situation.left(max(since_ns, situation.watched_since_ns),
                                   situation.holds.guardian_s),
            stop=True,
        )  # fmt: skip
        return
    if not _seen(situation):
        yield unknown("guardian_absent", situation.rule("work.guardian"))


def _seen(situation: Situation) -> bool:
    """Tell whether the guardian is known to be there; where nothing tells, nobody is missed."""
    permit, area = situation.permit, situation.area
    card, zone = permit.text("guardian_card"), area.guardian if area is not None else ""
    fix = situation.facts.fixes.get(card) if card else None
    if fix is not None and situation.mono_ns - fix.mono_ns <= CARD_SILENT_S * S_NS:
        return True
    reading = situation.reading(zone) if zone else None
    return reading.usable if reading is not None else not (card or zone)


def _absences(situation: Situation) -> Iterator[tuple[int, str, str]]:
    """Reasons to think that the guardian is away, and since when (monotonic)."""
    permit, area, facts = situation.permit, situation.area, situation.facts
    card = permit.text("guardian_card")
    for name in (card, area.name if area else "", *(area.names if area else ())):
        if name and name in facts.left:
            yield facts.left[name], f"positioning reports it ({name})", f"定位系统报警({name})"
    fix = facts.fixes.get(card) if card else None
    if fix is not None and area is not None and fix.area and not area.called(fix.area):
        yield fix.mono_ns, f"card {card} is in {fix.area}", f"定位卡{card}位于{fix.area}"
    elif fix is not None and _silent_alone(situation, card):
        yield fix.mono_ns, f"card {card} is silent while others report", f"定位卡{card}无信号"
    if card and fix is None and facts.fixes:
        yield situation.watched_since_ns, f"card {card} is seen nowhere", f"未见定位卡{card}"
    if area is not None and area.guardian:
        reading = situation.reading(area.guardian)
        began = facts.since(area.guardian, lambda people: people < 1)
        if reading is not None and began is not None:
            yield began, f"nobody is in {area.guardian}", f"监护区{area.guardian}无人"


def _silent_alone(situation: Situation, card: str) -> bool:
    """Tell whether a card has been silent for CARD_SILENT_S while positioning itself goes on."""
    fixes = situation.facts.fixes
    newest_ns = max(fix.mono_ns for fix in fixes.values())
    if situation.mono_ns - newest_ns > situation.holds.silent_s * S_NS:
        return False
    return newest_ns - fixes[card].mono_ns > CARD_SILENT_S * S_NS


def people(situation: Situation) -> Iterator[Finding]:
    """More people than the area allows, by camera or by positioning; both counts are told."""
    area, permit = situation.area, situation.permit
    if area is None or not permit.state.working:
        return
    limit = _limit(situation, area)
    if limit is None:
        return
    most, rule = limit
    counts: dict[str, int] = {}
    over: list[int] = []
    for name, count in _counts(situation, area):
        counts[name] = count
        since_ns = situation.facts.since(name, lambda number: number > most)
        if since_ns is not None:
            over.append(since_ns)
    if over:
        highest = max(counts.values())
        told = ", ".join(f"{name.replace('#', 'positioning ')} {n}" for name, n in counts.items())
        yield Finding(
            "too_many_people",
            rule,
            f"{highest} people in the work area, at most {number(most)} ({told})",
            f"作业区域{highest}人,不得超过{number(most)}人",
            value=highest,
            limit=most,
            unit="people",
            begun=True,
            left_ns=situation.left(min(over), situation.holds.people_s),
            stop=True,
        )
    elif any(_may_be_over(situation, name, most) for name in _counted(situation, area) - {*counts}):
        yield unknown("too_many_people", rule)


def _counts(situation: Situation, area: Area) -> Iterator[tuple[str, int]]:
    """Counts that are known and fresh: of each camera zone, and of positioning (#area)."""
    for point in area.counts:
        reading = situation.reading(point)
        if reading is not None and reading.usable:
            yield point, round(reading.value)
    for name in (area.name, *area.names):
        found = situation.facts.people.get(name)
        if found is not None and situation.left(found[1], situation.holds.silent_s) >= 0:
            yield f"#{name}", found[0]


def _counted(situation: Situation, area: Area) -> set[str]:
    """Everything that counts people here, whether it says anything now or not."""
    known = situation.facts.people
    return {*area.counts, *(f"#{name}" for name in (area.name, *area.names) if name in known)}


def _may_be_over(situation: Situation, name: str, most: float) -> bool:
    """Tell whether what is not heard now had said too many, or nothing yet since the start."""
    last = situation.facts.last(name)
    return last is None or last > most


def _limit(situation: Situation, area: Area) -> tuple[float, Rule] | None:
    """The tightest limit of people, and its rule."""
    found: list[tuple[float, Rule]] = []
    if area.running_unit and situation.kind in MAINTENANCE:
        rule = situation.rule("headcount.running_maintenance")
        found.append((rule.value, rule))
    if area.max_people is not None:
        found.append((area.max_people, situation.rule("work.people")))
    return min(found, key=lambda one: one[0], default=None)


def equipment(situation: Situation) -> Iterator[Finding]:
    """Protective equipment that a camera of the area sees missing; not in another area's zone."""
    if not situation.permit.state.working:
        return
    for (camera, item, zone), seen in situation.facts.missing.items():
        if camera not in situation.cameras or f"{camera}/{zone}.headcount" in situation.elsewhere:
            continue
        left_ns = FAR_NS
        if not seen.active:
            left_ns = situation.left(seen.mono_ns, situation.holds.ppe_s)
        if left_ns <= 0:
            continue
        yield Finding(
            "ppe_missing",
            situation.rule("work.ppe"),
            f"{camera} sees a person without {item}",
            f"{camera}发现未佩戴{ITEM_ZH[item]}人员",
            subject=f"{camera}/{item}",
            ends_ns=left_ns,
        )

"""Checks of crossing work 交叉作业: other permits at work nearby. Pure.

Where both permits have coordinates their distance decides (30, 15 or 10 m, GB 30871-2022 5.2.9 and
7); elsewhere the same area counts as near.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from gateway.work.permit import Kind, Permit
from gateway.work.situation import Finding, Situation
from gateway.work.words import number

EARTH_RADIUS_M = 6_371_000.0
NEAR_HOT_WORK = {
    Kind.BLIND_PLATE: "blind_plate.hot_work_distance",
    Kind.PLUGGING: "hot_work.distance.flammable_gas",
    Kind.WATER_DRAINING: "hot_work.distance.flammable_liquid",
    Kind.TANK_CLEANING: "hot_work.distance.cleaning",
}
"""What may not go on near hot work. Draining 切水 lets flammable liquid out, leak stopping 堵漏 is
done where gas escapes, tank cleaning 清罐 uses and frees flammables: our reading of 5.2.9."""


def crossing(situation: Situation) -> Iterator[Finding]:
    """Other work that is too near, or in the same area and so to be coordinated."""
    if not situation.permit.state.working:
        return
    for other in situation.others:
        apart_m = distance_m(situation.permit, other)
        same = _same_place(situation, other)
        rule_id = _forbidden(situation.kind, other.kind)
        if rule_id is not None:
            rule = situation.rule(rule_id)
            near = not rule.holds(apart_m) if not math.isnan(apart_m) else same
            if near:
                told = (
                    f"{number(apart_m)} m away" if not math.isnan(apart_m) else "in the same area"
                )
                yield Finding(
                    "work_too_near", rule,
                    f"permit {other.ticket} ({other.kind.value}) is at work {told}, at least"
                    f" {number(rule.value)} m are needed",
                    f"{other.kind.zh}作业{other.ticket}距离不足{number(rule.value)}米",
                    value=apart_m, limit=rule.value, unit="m", subject=other.ticket, stop=True,
                )  # fmt: skip
        elif (
            same and situation.permit.ticket < other.ticket and not linked(situation.permit, other)
        ):
            yield Finding(
                "work_crossing", situation.rule("work.crossing"),
                f"permit {other.ticket} ({other.kind.value}) is at work in the same area, and"
                " neither permit names the other",
                f"与{other.kind.zh}作业{other.ticket}交叉,作业票未相互关联",
                subject=other.ticket, priority=3,
            )  # fmt: skip


def distance_m(one: Permit, other: Permit) -> float:
    """Distance of two permits by their coordinates, NaN where one has none.

    A flat earth serves at 30 m; the coordinates are CGCS2000 as the permits carry them.
    """
    here = (one.number("longitude"), one.number("latitude"))
    there = (other.number("longitude"), other.number("latitude"))
    if None in here or None in there:
        return math.nan
    east = math.radians(_as_float(there[0]) - _as_float(here[0]))
    north = math.radians(_as_float(there[1]) - _as_float(here[1]))
    east *= math.cos(math.radians(_as_float(here[1])))
    return EARTH_RADIUS_M * math.hypot(east, north)


def _as_float(value: float | None) -> float:
    return math.nan if value is None else value


def _forbidden(one: Kind, other: Kind) -> str | None:
    if one is Kind.HOT_WORK:
        return NEAR_HOT_WORK.get(other)
    return None  # told once, on the permit of the hot work


def _same_place(situation: Situation, other: Permit) -> bool:
    area = situation.area
    names = (other.text("area"), other.text("place"))
    if area is not None:
        return any(area.called(name) for name in names)
    own = {situation.permit.text("area"), situation.permit.text("place")} - {""}
    return bool(own & set(names))


def linked(one: Permit, other: Permit) -> bool:
    """Tell whether one of two permits names the other."""
    return other.ticket in one.codes("related_tickets") or one.ticket in other.codes(
        "related_tickets"
    )

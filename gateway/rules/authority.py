"""Whose alarm counts 报警来源: of a panel's bit and the gateway's limit one is the alarm.

Guarantees:

- A bit says which alarm it is (`alarm_of = "tag:high"`). The point's `alarm_source` names the one
  that counts: "panel": the bit raises, the limit does not; "gateway": the limit raises, and the
  bit's own limits do not. So nothing is raised twice.
- The other one raises only `disagreement.<limit>`: the value has reached the limit and the bit is
  off, or the value is clearly inside (beyond the deadband) and the bit is on, for DISAGREE_S.
- A point whose limit no bit names stays as it is, and so does a bit that names no limit.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.model.point import Limits, Point
from gateway.rules.condition_spec import AlarmSpec, Kind

DISAGREE_S = 10.0
"""Ours, from no document: a panel filters its reading, and bit and value are read one after the
other; longer than both, far shorter than anybody's patrol."""
PRIORITY = 2
LIMITS = ("low_low", "low", "high", "high_high")
_DIRECTION = {"low_low": -1, "low": -1, "high": 1, "high_high": 1}


def one_alarm_each(points: Sequence[Point]) -> tuple[tuple[Point, ...], list[AlarmSpec]]:
    """Give the points as they are judged, and the disagreements between bits and limits."""
    by_name = {point.name: point for point in points}
    specs: list[AlarmSpec] = []
    muted: set[str] = set()
    for bit, value, limit in pairs(points, by_name):
        bound = getattr(value.limits, limit)
        if bound is None:
            continue
        specs.append(_spec(bit, value, limit, bound))
        if value.alarm_source == "gateway":
            muted.add(bit.name)
    if not specs:
        return tuple(points), []
    judged = (replace(p, limits=Limits()) if p.name in muted else p for p in points)
    return tuple(judged), specs


def pairs(points: Iterable[Point], by_name: dict[str, Point]) -> list[tuple[Point, Point, str]]:
    """Bit, value and limit of every `alarm_of` that names a point there is."""
    found = []
    for bit in points:
        if bit.alarm_of:
            name, _, limit = bit.alarm_of.rpartition(":")
            if name in by_name and limit in LIMITS:
                found.append((bit, by_name[name], limit))
    return found


def _spec(bit: Point, value: Point, limit: str, bound: float) -> AlarmSpec:
    counts = "the panel's" if value.alarm_source == "panel" else "the gateway's"
    return AlarmSpec(
        name=limit,
        kind=Kind.DISAGREEMENT,
        points=(value.name,),
        reference=bit.name,
        limit=bound,
        deadband=value.limits.deadband,
        direction=_DIRECTION[limit],
        on_delay_s=DISAGREE_S,
        off_delay_s=DISAGREE_S,
        priority=PRIORITY,
        text=f"the panel's bit {bit.name} and the limit {limit.replace('_', ' ')} do not agree,"
        f" {counts} alarm counts 报警不一致",
    )

"""Headcount of areas 区域人数: cameras and positioning against the limit of the area's kind.

Guarantees:

- The limit is a rule: headcount.high_risk (10 or more is wrong; its alarm is a *candidate* for a
  major accident hazard, 参照重大事故隐患, never a verdict), headcount.running_maintenance (more
  than 6, only while such a permit is active at the place), or the site's own number (more than
  it).
- Cameras and positioning are two counts and stay two: the larger one decides, both are said, and
  when they differ by `differ` or more for the hold, that is an alarm of its own.
- Overlapping cameras are not counted twice: `combine = "max"` takes the largest of their counts;
  "sum" is for views declared not to overlap. With "sum" the camera count is unknown while one of
  them cannot judge; what the others see is still there, and enough of it raises.
- A condition must hold for `hold_s` without a break, and be gone as long, to change anything.
- An unknown count neither raises nor returns: a source that cannot be judged any more counts, for
  the return, as it was last known; after a restart every source must have been heard for it. A
  positioning count is unknown after `fresh_s`.

Pure; `now_ns` is monotonic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drivers.contract import SEVERITY_MASK, Batch, Quality, SourceEvent
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.point import Point
from gateway.rules.open_alarm import OpenAlarm, checked_id
from gateway.rules.rulebook import Bound, Rule

POSITION_KIND = "intake.position_count"
HIGH_RISK, MAINTENANCE, OWN = "high_risk", "running_maintenance", "own"
CANDIDATE, OVER, DISAGREEMENT = "major_hazard_candidate", "over_count", "count_disagreement"
S = 10**9


@dataclass(frozen=True, slots=True)
class AreaSpec:
    """One area. cameras: names of headcount points.  positioning: its name there, or empty.

    most: the site's own number, or None.  differ: people by which counts may not differ, 0: any.
    """

    name: str
    kind: str
    place: str = ""
    cameras: tuple[str, ...] = ()
    combine: str = "max"
    positioning: str = ""
    most: int | None = None
    hold_s: float = 60.0
    differ: int = 0
    fresh_s: float = 300.0
    priority: int = 1


@dataclass(frozen=True, slots=True)
class AreaNow:
    """How an area stands. cameras, positioning: people, NaN if unknown.

    most: greatest count that is right, NaN if none limits.  judged: whether the limit holds now.
    """

    area: AreaSpec
    cameras: float
    positioning: float
    most: float
    judged: bool
    over: bool


@dataclass(slots=True)
class _Watch:
    """One condition of one area: what it asks for, and since when. restored: stood at the start."""

    standing: OpenAlarm | None = None
    since_ns: int | None = None
    restored: bool = False


class AreaCounts:
    """State of all areas."""

    def __init__(
        self,
        areas: Sequence[AreaSpec],
        points: Sequence[Point],
        rules: Mapping[str, Rule],
        *,
        new_id: Callable[[], bytes],
        permit_active: Callable[[str], bool] = lambda _place: False,
        restored: Sequence[OpenAlarm] = (),
    ) -> None:
        """rules: by area kind.  permit_active: whether maintenance goes on at a place now."""
        self._areas = tuple(areas)
        self._rules = rules
        self._new_id = new_id
        self._permit_active = permit_active
        ids = {point.name: point.id for point in points}
        self._camera_ids = {ids[name] for area in areas for name in area.cameras}
        self._of_name = {name: ids[name] for area in areas for name in area.cameras}
        self._seen: dict[int, float] = {}  # NaN: cannot judge
        self._last: dict[int, float] = {}  # newest that was known
        self._positioned: dict[str, tuple[float, int]] = {}
        self._watches = {
            (area.name, condition): _Watch()
            for area in areas
            for condition in (_condition(area), DISAGREEMENT)
        }
        self._removed: list[OpenAlarm] = []
        for alarm in restored:
            watch = self._watches.get((alarm.source.removeprefix("area/"), alarm.condition))
            if watch is None:
                self._removed.append(alarm)
            else:
                watch.standing, watch.restored = alarm, True

    def feed(self, batch: Batch, *, now_ns: int) -> list[AlarmChange]:
        """Take the counts of cameras."""
        if not self._camera_ids or isinstance(batch.values, tuple):
            return self._close_removed(batch.gateway_time_ns)
        touched = False
        for place in np.flatnonzero(np.isin(batch.points, list(self._camera_ids))).tolist():
            good = int(batch.quality[place]) & SEVERITY_MASK == 0
            number = int(batch.points[place])
            count = self._seen[number] = float(batch.values[place]) if good else math.nan
            if not math.isnan(count):
                self._last[number] = count
            touched = True
        changes = self._close_removed(batch.gateway_time_ns)
        return changes + (self.tick(now_ns, batch.gateway_time_ns) if touched else [])

    def feed_event(self, event: SourceEvent, *, now_ns: int) -> list[AlarmChange]:
        """Take a count of the positioning system."""
        area, people = event.attributes.get("area"), event.attributes.get("people")
        if event.kind != POSITION_KIND or not isinstance(area, str) or isinstance(people, str):
            return []
        if people is None:
            return []
        self._positioned[area] = float(people), now_ns
        return self.tick(now_ns, event.time_ns)

    def tick(self, now_ns: int, wall_ns: int) -> list[AlarmChange]:
        """Look at every area."""
        changes = []
        for area in self._areas:
            counts = self.counts(area, now_ns)
            for condition, asks in self._asks(area, counts):
                change = self._step(area, condition, asks, counts, (now_ns, wall_ns))
                changes += [change] if change is not None else []
        return changes

    def next_deadline_ns(self) -> int | None:
        """When a hold that runs will be over, or None."""
        hold = {area.name: round(area.hold_s * S) for area in self._areas}
        ends = [watch.since_ns + hold[name] for (name, _), watch in self._watches.items()
                if watch.since_ns is not None]  # fmt: skip
        return min(ends, default=None)

    def counts(self, area: AreaSpec, now_ns: int) -> tuple[float, float]:
        """Count by cameras and count by positioning; NaN where it is not known."""
        seen = [self._seen.get(self._of_name[name], math.nan) for name in area.cameras]
        if area.combine == "sum":
            cameras = sum(seen) if seen else math.nan
        else:
            cameras = max((count for count in seen if not math.isnan(count)), default=math.nan)
        people, at_ns = self._positioned.get(area.positioning, (math.nan, now_ns))
        fresh = now_ns - at_ns <= area.fresh_s * S
        return cameras, people if fresh else math.nan

    def _least(self, area: AreaSpec, counts: tuple[float, float]) -> float:
        """People who are surely there; NaN where nothing is known."""
        cameras, people = counts
        if math.isnan(cameras):
            seen = [self._seen.get(self._of_name[name], math.nan) for name in area.cameras]
            known = [count for count in seen if not math.isnan(count)]
            cameras = sum(known) if known else math.nan
        return max((c for c in (cameras, people) if not math.isnan(c)), default=math.nan)

    def _most_there(self, area: AreaSpec, *, heard: bool) -> float:
        """People who may be there, by what each source last knew.

        heard: what has said nothing yet is taken for nobody; else for a crowd.
        """
        nothing = 0.0 if heard else math.inf
        cameras = [self._last.get(self._of_name[name], nothing) for name in area.cameras]
        people, _ = self._positioned.get(area.positioning, (nothing, 0))
        by_cameras = sum(cameras) if area.combine == "sum" else max(cameras, default=0.0)
        return max(by_cameras, people if area.positioning else 0.0)

    def listed(self, now_ns: int) -> list[AreaNow]:
        """How every area stands, for people."""
        return [
            AreaNow(
                area,
                *self.counts(area, now_ns),
                most=self._most(area),
                judged=area.kind != MAINTENANCE or self._permit_active(area.place),
                over=self._watches[area.name, _condition(area)].standing is not None,
            )
            for area in self._areas
        ]

    def _most(self, area: AreaSpec) -> float:
        """Greatest count that is still right; NaN where nothing limits the area."""
        rule = self._rules.get(area.kind)
        limits = [] if rule is None else [rule.value - (rule.bound is Bound.BELOW)]
        limits += [] if area.most is None else [float(area.most)]
        return min(limits, default=math.nan)

    @property
    def open_count(self) -> int:
        """Count of alarms that stand."""
        return sum(watch.standing is not None for watch in self._watches.values())

    def _asks(self, area: AreaSpec, counts: tuple[float, float]) -> list[tuple[str, bool | None]]:
        """What each condition asks for: True, False, or None where it cannot be judged."""
        known = [count for count in counts if not math.isnan(count)]
        least, watch = self._least(area, counts), self._watches[area.name, _condition(area)]
        over: bool | None = None
        if not math.isnan(least) and not self._holds(area, least):
            over = True
        elif known and self._holds(area, self._most_there(area, heard=not watch.restored)):
            over = False
        if area.kind == MAINTENANCE and not self._permit_active(area.place):
            over = False
        differs: bool | None = None
        if area.differ and len(known) == 2:
            differs = abs(known[0] - known[1]) >= area.differ
        return [(_condition(area), over), (DISAGREEMENT, differs if area.differ else False)]

    def _holds(self, area: AreaSpec, people: float) -> bool:
        rule = self._rules.get(area.kind)
        kept = rule is None or rule.holds(people)
        return kept and (area.most is None or people <= area.most)

    def _step(
        self, area: AreaSpec, condition: str, asks: bool | None, counts: tuple[float, float],
        times: tuple[int, int],
    ) -> AlarmChange | None:  # fmt: skip
        watch = self._watches[area.name, condition]
        if asks is None or asks == (watch.standing is not None):
            watch.since_ns = None
            return None
        now_ns, wall_ns = times
        watch.since_ns = now_ns if watch.since_ns is None else watch.since_ns
        if now_ns - watch.since_ns < round(area.hold_s * S):
            return None
        watch.since_ns = None
        change = self._change(area, condition, watch.standing, counts, wall_ns)
        watch.standing = None if watch.standing is not None else OpenAlarm.of(change)
        watch.restored = False
        return change

    def _change(
        self, area: AreaSpec, condition: str, standing: OpenAlarm | None,
        counts: tuple[float, float], wall_ns: int,
    ) -> AlarmChange:  # fmt: skip
        rule = self._rules.get(area.kind)
        raised = standing is None
        active, returned = AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED
        least = self._least(area, counts)
        cameras, positioning = ("unknown" if math.isnan(c) else f"{c:.0f}" for c in counts)
        if math.isnan(counts[0]) and least > max(0.0, counts[1]):
            cameras = f"at least {least:.0f}"
        limit = float(area.most) if area.most is not None else rule.value if rule else math.nan
        if condition == DISAGREEMENT:
            limit = float(area.differ)
        return AlarmChange(
            alarm_id=standing.alarm_id if standing else checked_id(self._new_id()),
            source=f"area/{area.name}",
            condition=condition,
            state=active if raised else returned,
            previous_state=AlarmState.NORMAL if raised else active,
            priority=area.priority if condition != DISAGREEMENT else 3,
            value=least,
            quality=int(Quality.GOOD),
            limit=limit,
            unit="people",
            source_time_ns=wall_ns,
            gateway_time_ns=wall_ns,
            rule=rule.name
            if rule and condition != DISAGREEMENT
            else f"headcount.area.{condition}/1",
            text=f"{area.name}: {_WORDS[condition]}{'' if raised else ' no longer 已恢复'};"
            f" cameras {cameras}, positioning {positioning}.",
            place=area.place,
            clause=rule.citation if rule and condition != DISAGREEMENT else "",
        )

    def _close_removed(self, wall_ns: int) -> list[AlarmChange]:
        removed, self._removed = self._removed, []
        return [alarm.removed(wall_ns) for alarm in removed]


_WORDS = {
    CANDIDATE: "too many people in a high-risk workplace, to be checked as a major hazard"
    " 高危场所超员（参照重大事故隐患，待核实）",
    OVER: "too many people 超员",
    DISAGREEMENT: "cameras and positioning disagree 视频与定位人数不一致",
}


def _condition(area: AreaSpec) -> str:
    return CANDIDATE if area.kind == HIGH_RISK else OVER

"""Alarms beyond the four limits: rate, deviation, discrete, stale, quality, expressions.

Guarantees:

- Every condition is a row of a group (condition_groups.py); a batch is judged by columns, and only
  what changes becomes an object. Which sample touches which row is planned once per points array.
- Delays as in limits.py: a condition must ask for the change at every judged sample until its delay
  is over; then `tick` fires it. Not judged: bad quality and quality that is not for alarm (but for
  alarms of quality itself), and NaN; the state is held. A stale value returns nothing.
- A batch that names a point several times is judged in the order of its samples; rows over several
  points in the order of time (condition_moments.py).
- `restored` alarms keep their ids; those that no row stands for any more are returned by the first
  `feed`.

The expression language is handed in as `compile_expression`, so that nothing here imports it. Pure;
not thread-safe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from drivers.contract import Batch, Quality
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.plan_cache import PlanCache
from gateway.model.point import Point
from gateway.rules.condition_groups import (
    Evaluate,
    ExpressionGroup,
    FrozenGroup,
    Group,
    MatchGroup,
    PairGroup,
    QualityGroup,
    RateGroup,
    Rows,
    Samples,
    StaleGroup,
)
from gateway.rules.condition_moments import MemberPlan, moments, plan_members
from gateway.rules.condition_spec import MATCHES, PAIRS, AlarmSpec, Kind, said
from gateway.rules.open_alarm import OpenAlarm, checked_id, describe
from gateway.rules.sample_times import taken_ns

_NEVER = np.iinfo(np.int64).max
_NOWHERE = Point(0, "")


@dataclass(frozen=True, slots=True)
class _Touched:
    """Samples of a batch and the rows of one group they touch, each row once."""

    samples: Rows
    rows: Rows


@dataclass(slots=True)
class _Last:
    """What a tick will report of the rows: value, quality, times of the latest sample."""

    values: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint16]
    source_ns: npt.NDArray[np.int64]
    gateway_ns: npt.NDArray[np.int64]


class Conditions:
    """State of all such alarms of one gateway."""

    def __init__(
        self,
        specs: Sequence[AlarmSpec],
        points: Sequence[Point],
        *,
        new_id: Callable[[], bytes],
        restored: Sequence[OpenAlarm] = (),
        compile_expression: Callable[[str], Evaluate] | None = None,
        ticks: bool = True,
    ) -> None:
        """Plan. Every point that a spec names must be among `points` (KeyError otherwise).

        ticks: whether `feed` fires delays of points that it has no sample of.
        """
        self._new_id = new_id
        self._ticks = ticks
        named = named_in(specs)
        self._point = {point.name: point for point in points if point.name in named}
        by_kind = _rows_by_kind(specs)
        self._specs = [spec for rows in by_kind.values() for spec in rows]
        self._bounds: list[tuple[int, int]] = []  # rows of each group
        self._groups: list[Group] = []
        self._stale: list[tuple[int, StaleGroup]] = []
        self._touches: list[list[list[tuple[int, int]]]] = []  # by group, point id: (row, slot)
        first = 0
        for kind, rows in by_kind.items():
            self._groups.append(self._group(kind, rows, compile_expression))
            self._bounds.append((first, first + len(rows)))
            self._touches.append(self._touched_by(rows))
            first += len(rows)
        count = len(self._specs)
        self._active = np.zeros(count, np.bool_)
        self._deadline = np.full(count, _NEVER, np.int64)
        self._held = np.zeros(count, np.bool_)
        self._pending = 0
        self._begun = False
        self._on_ns = np.array([round(spec.on_delay_s * 1e9) for spec in self._specs], np.int64)
        self._off_ns = np.array([round(spec.off_delay_s * 1e9) for spec in self._specs], np.int64)
        self._last = _Last(np.full(count, math.nan), np.zeros(count, np.uint16),
                           np.zeros(count, np.int64), np.zeros(count, np.int64))  # fmt: skip
        self._seen_ns = np.full(count, np.iinfo(np.int64).min, np.int64)  # last batch of a row
        self._open: dict[int, OpenAlarm] = {}
        self._removed = self._restore(restored)
        self._plans = PlanCache(self._plan, point_count=len(points))

    # -- in and out ------------------------------------------------------------------------

    def feed(self, batch: Batch, *, now_ns: int) -> list[AlarmChange]:
        """Judge a batch of engineering values; `now_ns` is monotonic and never goes back."""
        if not self._specs and not self._removed:
            return []
        self.begin(now_ns)
        ticking = self._ticks and (self._pending or self._stale)
        changes = self.tick(now_ns, batch.gateway_time_ns) if ticking else []
        if self._removed:
            changes += [alarm.removed(batch.gateway_time_ns) for alarm in self._removed]
            self._removed = ()
        touched = self._plans.of(batch.points)
        if not touched or isinstance(batch.values, tuple):
            return changes
        values = batch.values.astype(np.float64, copy=False)
        times = batch.source_time_ns
        stamps = np.full(len(values), times, np.int64) if isinstance(times, int) else times
        taken = np.broadcast_to(np.asarray(taken_ns(times, now_ns), np.int64), (len(values),))
        come = Samples(np.empty(0, np.intp), values, batch.quality, stamps, taken, now_ns)
        for number, one in touched:
            if isinstance(one, MemberPlan):
                changes += self._judge_moments(number, one, come, batch)
                continue
            samples = come.of(one.rows, one.samples)
            changes += self._judge(number, samples, batch.gateway_time_ns)
        for number, one in touched:
            self._seen_ns[one.rows + self._bounds[number][0]] = now_ns
        ticking = self._ticks and self._pending
        return changes + self.tick(now_ns, batch.gateway_time_ns) if ticking else changes

    def _judge_moments(
        self, number: int, plan: MemberPlan, come: Samples, batch: Batch
    ) -> list[AlarmChange]:
        """Judge rows over several points at each of their moments in the batch, oldest first."""
        group = self._groups[number]
        assert isinstance(group, PairGroup | ExpressionGroup)  # noqa: S101 - as it was planned
        changes: list[AlarmChange] = []
        for moment in moments(plan, batch.source_time_ns):
            at = moment.samples
            group.newest.take(moment.rows, moment.slots, come.values[at], come.quality[at])
            samples = come.of(moment.asked, moment.deciding)
            own = replace(samples, values=group.newest.own(moment.asked))
            changes += self._judge(number, own, batch.gateway_time_ns)
        return changes

    def begin(self, now_ns: int) -> None:
        """Count silence from now on, where nothing has come yet; the first `feed` does so too."""
        if not self._begun:
            self._begun = True
            for _, group in self._stale:
                group.begin(now_ns)

    def tick(self, now_ns: int, wall_ns: int) -> list[AlarmChange]:
        """Fire delays that ran out, and points that have been silent too long."""
        changes: list[AlarmChange] = []
        for first, group in self._stale:
            active = self._active[first : first + len(group)]
            for row in (group.due(now_ns, active) + first).tolist():
                self._last.gateway_ns[row] = self._last.source_ns[row] = wall_ns
                self._last.quality[row] = Quality.UNCERTAIN_STALE
                changes.append(self._change(row))
        if self._pending:
            due = np.flatnonzero((self._deadline <= now_ns) & ~self._held)
            changes += [self._change(row) for row in due.tolist()]
            self._settle(due)
        return changes

    def next_deadline_ns(self) -> int | None:
        """Monotonic time at which `tick` has something to do, or None."""
        found = [
            group.next_ns(self._active[first : first + len(group)]) for first, group in self._stale
        ]
        if self._pending:
            running = self._deadline[~self._held]
            found.append(int(running.min()) if len(running) and running.min() < _NEVER else None)
        return min((at for at in found if at is not None), default=None)

    def example(self, source: str, condition: str) -> AlarmChange | None:
        """Give the normal alarm of that name, or None where nothing can raise it."""
        for row, spec in enumerate(self._specs):
            if _source(spec) == source and spec.word == condition:
                return self._made(row, AlarmState.NORMAL, AlarmState.NORMAL, b"")
        return None

    @property
    def open_count(self) -> int:
        """Count of alarms that are raised and have not returned."""
        return len(self._open)

    # -- planning --------------------------------------------------------------------------

    def _group(
        self, kind: Kind, rows: Sequence[AlarmSpec],
        compile_expression: Callable[[str], Evaluate] | None,
    ) -> Group:  # fmt: skip
        if kind in MATCHES:
            return MatchGroup(rows)
        if kind in PAIRS:
            return PairGroup(rows)
        if kind is Kind.EXPRESSION:
            if compile_expression is None:
                raise ValueError("alarms by expression need a compiler of expressions")
            compiled = [compile_expression(spec.expression) for spec in rows]
            return ExpressionGroup(rows, compiled)
        if kind is Kind.STALE:
            group = StaleGroup(rows)
            self._stale.append((sum(b - a for a, b in self._bounds), group))
            return group
        if kind is Kind.RATE:
            return RateGroup(rows)
        return FrozenGroup(rows) if kind is Kind.FROZEN else QualityGroup(rows)

    def _touched_by(self, rows: Sequence[AlarmSpec]) -> list[list[tuple[int, int]]]:
        by_id: dict[int, list[tuple[int, int]]] = {}
        for row, spec in enumerate(rows):
            for slot, name in enumerate(_needs(spec) or spec.points):
                by_id.setdefault(self._point[name].id, []).append((row, slot))
        table: list[list[tuple[int, int]]] = [[] for _ in range(1 + max(by_id, default=0))]
        for number, places in by_id.items():
            table[number] = places
        return table

    def _plan(self, ids: npt.NDArray[np.int32]) -> tuple[tuple[int, _Touched | MemberPlan], ...]:
        found: list[tuple[int, _Touched | MemberPlan]] = []
        for number, table in enumerate(self._touches):
            if isinstance(self._groups[number], PairGroup | ExpressionGroup):
                several = plan_members(table, ids)
                found += [(number, several)] if several is not None else []
            else:
                found += [(number, one) for one in _touches(table, ids)]
        return tuple(found)

    # -- judging ---------------------------------------------------------------------------

    def _judge(self, number: int, samples: Samples, gateway_ns: int) -> list[AlarmChange]:
        first = self._bounds[number][0]
        rows = samples.rows + first
        taken = np.maximum(samples.taken_ns, self._seen_ns[rows])
        changes = self._fire(rows[self._deadline[rows] <= taken]) if self._pending else []
        active = self._active[rows]
        asks, usable = self._groups[number].ask(samples, active)
        usable &= ~(active & ~asks & (samples.quality == Quality.UNCERTAIN_STALE))
        differs = (asks != active) & usable
        if not self._pending and not np.count_nonzero(differs):
            return changes
        self._held[rows] = ~usable
        running = self._deadline[rows]
        stop = usable & ~differs & (running != _NEVER)
        self._deadline[rows[stop]] = _NEVER
        chosen = np.flatnonzero(differs)
        picked = rows[chosen]
        self._last.values[picked] = samples.values[chosen]
        self._last.quality[picked] = samples.quality[chosen]
        self._last.source_ns[picked] = samples.source_ns[chosen]
        self._last.gateway_ns[picked] = gateway_ns
        delay = np.where(self._active[picked], self._off_ns[picked], self._on_ns[picked])
        began = np.where(running[chosen] == _NEVER, taken[chosen] + delay, running[chosen])
        self._deadline[picked] = began
        fire = picked[began <= taken[chosen]]
        changes += [self._change(row) for row in fire.tolist()]
        self._settle(fire)
        return changes

    def _fire(self, ran_out: Rows) -> list[AlarmChange]:
        """Fire delays of rows that ran out, with their latest values, unless they are held."""
        due = ran_out[~self._held[ran_out]]
        changes = [self._change(row) for row in due.tolist()]
        self._settle(due)
        return changes

    def _settle(self, fired: Rows) -> None:
        self._deadline[fired] = _NEVER
        self._pending = int(np.count_nonzero(self._deadline != _NEVER))

    # -- changes ---------------------------------------------------------------------------

    def _change(self, row: int) -> AlarmChange:
        standing = self._open.pop(row, None)
        self._active[row] = standing is None
        active, returned = AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED
        if standing is not None:
            return self._made(row, returned, active, standing.alarm_id)
        change = self._made(row, active, AlarmState.NORMAL, checked_id(self._new_id()))
        self._open[row] = OpenAlarm.of(change)
        return change

    def _made(
        self, row: int, state: AlarmState, previous: AlarmState, alarm_id: bytes
    ) -> AlarmChange:
        spec = self._specs[row]
        source = _source(spec)
        point = self._point.get(source, _NOWHERE)
        value = float(self._last.values[row])
        raised = state is AlarmState.UNACKNOWLEDGED_ACTIVE
        words = spec.text or said(spec.kind)
        shown = "" if math.isnan(value) else f": {describe(value, point.unit)}"
        return AlarmChange(
            alarm_id=alarm_id,
            source=source,
            condition=spec.word,
            state=state,
            previous_state=previous,
            priority=spec.priority or point.priority,
            value=value,
            quality=int(self._last.quality[row]),
            limit=spec.limit if spec.limit else math.nan,
            unit=point.unit,
            source_time_ns=int(self._last.source_ns[row]),
            gateway_time_ns=int(self._last.gateway_ns[row]),
            rule=spec.rule_name,
            text=f"{source}: {words}{shown}." if raised else f"{source}: over, {words}{shown}.",
            hazard=point.hazard,
            place=point.place,
            equipment=point.equipment,
            description=point.description,
        )

    def _restore(self, restored: Sequence[OpenAlarm]) -> tuple[OpenAlarm, ...]:
        rows = {(_source(spec), spec.word): row for row, spec in enumerate(self._specs)}
        removed = []
        for alarm in restored:
            row = rows.get((alarm.source, alarm.condition))
            if row is None:
                removed.append(alarm)
                continue
            self._open[row] = alarm
            self._active[row] = True
        return tuple(removed)


def _touches(table: list[list[tuple[int, int]]], ids: npt.NDArray[np.int32]) -> list[_Touched]:
    """Samples and rows; each row at most once in each part, in order of samples."""
    turns: list[tuple[list[int], list[int]]] = []
    seen: dict[int, int] = {}
    for sample, number in enumerate(ids.tolist()):
        for row, _ in table[number] if 0 <= number < len(table) else ():
            turn = seen.get(row, 0)
            seen[row] = turn + 1
            if turn == len(turns):
                turns.append(([], []))
            turns[turn][0].append(sample)
            turns[turn][1].append(row)
    return [
        _Touched(np.array(samples, np.intp), np.array(rows, np.intp)) for samples, rows in turns
    ]


def _rows_by_kind(specs: Sequence[AlarmSpec]) -> dict[Kind, list[AlarmSpec]]:
    """One row a point; an expression is one row."""
    found: dict[Kind, list[AlarmSpec]] = {}
    for spec in specs:
        rows = found.setdefault(spec.kind, [])
        if spec.kind is Kind.EXPRESSION:
            rows.append(spec)
        else:
            rows += [replace(spec, points=(name,)) for name in spec.points]
    return {kind: rows for kind, rows in found.items() if rows}


def named_in(specs: Sequence[AlarmSpec]) -> set[str]:
    """Names of all points that the specs speak of."""
    return {name for spec in specs for name in (*spec.points, *_needs(spec))}


def _needs(spec: AlarmSpec) -> list[str]:
    """Points whose latest value a row needs."""
    if spec.kind in PAIRS:
        return [spec.points[0], spec.reference]
    return list(spec.variables.values()) if spec.kind is Kind.EXPRESSION else []


def _source(spec: AlarmSpec) -> str:
    return spec.points[0] if spec.points else f"alarm/{spec.name}"

"""Limit alarms 限值报警: high_high, high, low, low_low of every point, each its own alarm.

Guarantees:

- Inequalities, deadband: see the table in limit_table.py. Values are compared as float64.
- States (ISA-18.2): a raise goes NORMAL -> UNACKNOWLEDGED_ACTIVE under a new alarm id, a return
  goes UNACKNOWLEDGED_ACTIVE -> RETURNED_UNACKNOWLEDGED under the same id. Nobody can acknowledge
  yet, so there is no way back to NORMAL and the next raise begins a new alarm.
- Delays: the value must ask for the change at every judged sample from the first one until
  on_delay_s (raise) or off_delay_s (return) has passed in monotonic time; then `tick` fires it
  without a new sample, with the latest value. A delay of 0 fires in the same `feed`. A restart
  starts a running delay anew. Samples of one batch are as far apart as their own times say
  (sample_times.py), but none is older than the batch before that had the same point.
- Not judged, and therefore neither raised nor returned: bad quality; uncertain:inhibited, warm_up,
  calibrating, under_test; good:simulated (all "not for alarm"); NaN. The state is held, and a
  running delay is held with it: it cannot fire on an unknown value, and when a judged value comes
  and still asks for the change, the time since the first one counts.
- A stale value (uncertain:stale, the last one that was usable), and one so far outside its range
  that the transmitter has failed (limit_table.py), may raise and returns nothing: an off-delay
  begins anew with the next one that can be believed.
- A batch that names a point several times is evaluated in the order of its samples.
- Points with alarm_source "panel" get no alarm here: the panel's own bit is the alarm.
- `restored` alarms keep their ids; those whose limit is gone from the configuration are returned
  by the first `feed`, with a text that says so.

How it stays cheap: each row keeps the closed interval of values that change nothing in its present
state (LimitTable.quiet). A batch costs two comparisons of columns with these intervals; only the
samples outside go further, as arrays, and only changes become objects. Pure; not thread-safe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drivers.contract import SEVERITY_MASK, Batch, Quality
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.plan_cache import PlanCache
from gateway.model.point import Point
from gateway.rules.limit_table import CONDITIONS, RULES, LimitTable
from gateway.rules.open_alarm import (
    OpenAlarm,
    checked_id,
    decode_open,
    describe,
    encode_open,
)
from gateway.rules.sample_times import taken_ns

_Rows = npt.NDArray[np.intp]
_Flags = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]

_NEVER = np.iinfo(np.int64).max
_NOT_FOR_ALARM = (
    Quality.GOOD_SIMULATED,
    Quality.UNCERTAIN_INHIBITED,
    Quality.UNCERTAIN_WARM_UP,
    Quality.UNCERTAIN_CALIBRATING,
    Quality.UNCERTAIN_UNDER_TEST,
)
_BAD = 0x8000  # severity bits of bad; 0xC000 is reserved by OPC UA and treated as bad


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the samples with limits are in a batch, and their rows. Slices cost no copy."""

    samples: slice | _Rows
    rows: slice | _Rows


@dataclass(frozen=True, slots=True)
class _Samples:
    """Samples of unique rows, as columns."""

    rows: _Rows
    values: _Floats
    quality: npt.NDArray[np.uint16]
    source_time_ns: npt.NDArray[np.int64]
    taken_ns: npt.NDArray[np.int64]  # monotonic
    gateway_time_ns: int

    def at(self, chosen: _Flags | _Rows) -> _Samples:
        return _Samples(
            self.rows[chosen],
            self.values[chosen],
            self.quality[chosen],
            self.source_time_ns[chosen],
            self.taken_ns[chosen],
            self.gateway_time_ns,
        )


@dataclass(frozen=True, slots=True)
class _Delayed:
    """A row with a running delay, as `LimitAlarms.hand_over` gives it."""

    point: Point
    deadline: npt.NDArray[np.int64]  # of each condition
    held: bool
    value: float
    quality: int
    source_ns: int
    gateway_ns: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What a LimitAlarms of a changed configuration goes on from."""

    open: tuple[OpenAlarm, ...]
    delayed: tuple[_Delayed, ...]


class LimitAlarms:
    """State of all limit alarms of one gateway."""

    def __init__(
        self,
        points: Sequence[Point],
        *,
        new_id: Callable[[], bytes],
        restored: bytes = b"",
        ticks: bool = True,
    ) -> None:
        """Judge `points`; `new_id` makes 16 random bytes, `restored` is an earlier open_alarms().

        ticks: whether `feed` fires delays of points that it has no sample of.
        Raises ValueError that names every point whose limits cannot be judged, and StateError
        (a ValueError) where `restored` cannot be read.
        """
        self._table = LimitTable(points)
        self._ticks = ticks
        self._new_id = new_id
        count = len(self._table.points)
        shape = (len(CONDITIONS), count)
        self._active = np.zeros(shape, np.bool_)
        self._deadline = np.full(shape, _NEVER, np.int64)  # of a running delay, monotonic ns
        self._delayed = np.zeros(count, np.bool_)  # rows with a running delay
        self._delayed_count = 0
        self._held = np.zeros(count, np.bool_)  # delayed rows whose latest value is not judged
        self._last_value = np.zeros(count)  # of delayed rows only: what a tick will report
        self._last_quality = np.zeros(count, np.uint16)
        self._last_source_ns = np.zeros(count, np.int64)
        self._last_gateway_ns = np.zeros(count, np.int64)
        self._seen_ns = np.full(count, np.iinfo(np.int64).min, np.int64)  # last batch of a row
        self._delays = bool(self._table.on_delay_ns.any() or self._table.off_delay_ns.any())
        self._open: dict[tuple[int, int], OpenAlarm] = {}
        self._removed = self._restore(decode_open(restored))
        self._quiet_low, self._quiet_high = self._table.quiet(np.arange(count), self._active)
        self._plans = PlanCache(self._plan, point_count=len(points))

    def feed(self, batch: Batch, *, now_ns: int) -> list[AlarmChange]:
        """Judge a batch of engineering values; `now_ns` is monotonic and never goes back.

        Delays that ran out by `now_ns` fire first, for they ran out before this batch came.
        """
        changes = self.tick(now_ns) if self._delayed_count and self._ticks else []
        if self._removed:
            changes += self._close_removed(batch.gateway_time_ns)
        plan = self._plans.of(batch.points)
        if plan is None or isinstance(batch.values, tuple):
            return changes
        values = batch.values[plan.samples]
        rows = plan.rows
        outside = (values < self._quiet_low[rows]) | (values > self._quiet_high[rows])
        if self._delayed_count:
            outside |= self._delayed[rows]
        if np.count_nonzero(outside):  # the cheapest way to ask any()
            changes += self._judge(batch, plan, outside, now_ns)
        if self._delays:
            self._seen_ns[rows] = now_ns
        return changes

    def tick(self, now_ns: int) -> list[AlarmChange]:
        """Fire the delays that ran out by `now_ns` (monotonic)."""
        due_at = self.next_deadline_ns()
        if due_at is None or due_at > now_ns:
            return []
        due = (self._deadline <= now_ns) & ~self._held
        return self._fire(np.flatnonzero(due.any(axis=0)), now_ns)

    def _fire(self, rows: _Rows, until_ns: int | npt.NDArray[np.int64]) -> list[AlarmChange]:
        """Fire the delays of some rows that ran out by then, with their latest values."""
        due = (self._deadline[:, rows] <= until_ns) & ~self._held[rows]
        if not np.count_nonzero(due):
            return []
        changes = []
        for place, number in np.argwhere(due.T).tolist():
            row = int(rows[place])
            changes.append(
                self._change(
                    number,
                    row,
                    float(self._last_value[row]),
                    int(self._last_quality[row]),
                    int(self._last_source_ns[row]),
                    int(self._last_gateway_ns[row]),
                )
            )
        self._active[:, rows] ^= due
        self._deadline[:, rows] = np.where(due, _NEVER, self._deadline[:, rows])
        self._settle(rows)
        return changes

    def next_deadline_ns(self) -> int | None:
        """Monotonic time at which `tick` has something to do, or None."""
        if not self._delayed_count:
            return None
        rows = np.flatnonzero(self._delayed & ~self._held)
        if not len(rows):
            return None
        return int(self._deadline[:, rows].min())

    def open_alarms(self) -> bytes:
        """Encode the raised alarms, for `restored` after a restart."""
        waiting = self._removed  # not returned yet, so still open
        return encode_open([*waiting, *self._open.values()])

    def hand_over(self) -> Standing:
        """Give what stands and what runs, for `take_over` of the next."""
        rows = np.flatnonzero(self._delayed).tolist()
        return Standing(
            (*self._removed, *self._open.values()),
            tuple(
                _Delayed(
                    self._table.points[row],
                    self._deadline[:, row].copy(),
                    bool(self._held[row]),
                    float(self._last_value[row]),
                    int(self._last_quality[row]),
                    int(self._last_source_ns[row]),
                    int(self._last_gateway_ns[row]),
                )
                for row in rows
            ),
        )

    def take_over(self, standing: Standing, gateway_time_ns: int) -> list[AlarmChange]:
        """Go on where another stopped, in the same process; before the first `feed`, once.

        Alarms that nothing judges any more are returned at once. A running delay goes on if its
        point is the same in everything; for any other it starts anew with the next value.
        """
        self._removed = self._restore(standing.open)
        ids = np.array([was.point.id for was in standing.delayed], np.int32)
        for was, row in zip(standing.delayed, self._table.rows(ids).tolist(), strict=True):
            if row < 0 or self._table.points[row] != was.point:
                continue
            self._deadline[:, row] = was.deadline
            self._held[row] = was.held
            self._last_value[row], self._last_quality[row] = was.value, was.quality
            self._last_source_ns[row], self._last_gateway_ns[row] = was.source_ns, was.gateway_ns
        self._settle(np.arange(len(self._table.points)))
        return self._close_removed(gateway_time_ns)

    def example(self, source: str, condition: str) -> AlarmChange | None:
        """Give the normal alarm of a point and condition, or None where nothing can raise it."""
        row = next((i for i, p in enumerate(self._table.points) if p.name == source), None)
        if row is None or condition not in CONDITIONS:
            return None
        number = CONDITIONS.index(condition)
        limit = float(self._table.limit[number, row])
        if math.isnan(limit):
            return None
        point = self._table.points[row]
        return AlarmChange(
            b"", source, condition, AlarmState.NORMAL, AlarmState.NORMAL, point.priority, math.nan,
            int(Quality.UNCERTAIN_STALE), limit, point.unit, 0, 0, RULES[number], "",
            point.hazard, point.place, point.equipment, description=point.description,
        )  # fmt: skip

    @property
    def points(self) -> Sequence[Point]:
        """Points that have limits here."""
        return self._table.points

    @property
    def open_count(self) -> int:
        """Count of alarms that are raised and have not returned."""
        return len(self._open)

    # -- one batch -------------------------------------------------------------------------

    def _plan(self, ids: npt.NDArray[np.int32]) -> _Places | None:
        rows = self._table.rows(ids)
        samples = np.flatnonzero(rows >= 0)
        if not len(samples):
            return None
        return _Places(_as_slice(samples), _as_slice(rows[samples]))

    def _judge(
        self, batch: Batch, plan: _Places, outside: _Flags, now_ns: int
    ) -> list[AlarmChange]:
        """Take the rows that have a sample outside; their samples go round by round, in order."""
        columns = self._columns(batch, plan, now_ns)
        touched = np.zeros(len(self._delayed), np.bool_)
        touched[columns.rows[outside]] = True
        columns = columns.at(touched[columns.rows])
        changes: list[AlarmChange] = []
        for chosen in _rounds(columns.rows):
            changes += self._round(columns.at(chosen))
        return changes + self.tick(now_ns) if self._delayed_count and self._ticks else changes

    def _columns(self, batch: Batch, plan: _Places, now_ns: int) -> _Samples:
        count = len(batch.points)
        rows = np.arange(len(self._delayed))[plan.rows]
        times = batch.source_time_ns
        stamps = np.full(count, times, np.int64) if isinstance(times, int) else times
        taken = np.broadcast_to(np.asarray(taken_ns(times, now_ns), np.int64), (count,))
        return _Samples(
            rows,
            np.asarray(batch.values)[plan.samples].astype(np.float64),
            batch.quality[plan.samples],
            stamps[plan.samples],
            np.maximum(taken[plan.samples], self._seen_ns[rows]),
            batch.gateway_time_ns,
        )

    def _round(self, samples: _Samples) -> list[AlarmChange]:
        """Judge samples of unique rows: update delays, fire what has none or is over."""
        changes = self._fire(samples.rows, samples.taken_ns) if self._delayed_count else []
        judged = _is_judged(samples)
        self._held[samples.rows] = ~judged
        samples = samples.at(judged)
        rows = samples.rows
        if not len(rows):
            return changes
        active = self._active[:, rows]
        wanted = self._table.wanted(rows, samples.values, active)
        wanted &= ~(active & self._doubted(samples))
        delay = np.where(active, self._table.off_delay_ns[rows], self._table.on_delay_ns[rows])
        running = self._deadline[:, rows]
        deadline = np.where(running == _NEVER, samples.taken_ns + delay, running)
        fire = wanted & (deadline <= samples.taken_ns)
        self._deadline[:, rows] = np.where(wanted & ~fire, deadline, _NEVER)
        changes += [
            self._change(
                number,
                int(rows[place]),
                float(samples.values[place]),
                int(samples.quality[place]),
                int(samples.source_time_ns[place]),
                samples.gateway_time_ns,
            )
            for place, number in np.argwhere(fire.T).tolist()
        ]
        self._active[:, rows] = active ^ fire
        self._last_value[rows] = samples.values
        self._last_quality[rows] = samples.quality
        self._last_source_ns[rows] = samples.source_time_ns
        self._last_gateway_ns[rows] = samples.gateway_time_ns
        self._settle(rows)
        return changes

    def _doubted(self, samples: _Samples) -> _Flags:
        """Samples that say nothing against an alarm: the last usable one, a failed transmitter."""
        doubted: _Flags = samples.quality == Quality.UNCERTAIN_STALE
        doubted |= samples.values < self._table.believed_low[samples.rows]
        doubted |= samples.values > self._table.believed_high[samples.rows]
        return doubted

    def _settle(self, rows: _Rows) -> None:
        """Bring what is derived from `_active` and `_deadline` up to date for some rows."""
        quiet = self._table.quiet(rows, self._active[:, rows])
        self._quiet_low[rows], self._quiet_high[rows] = quiet
        self._delayed[rows] = (self._deadline[:, rows] != _NEVER).any(axis=0)
        self._delayed_count = int(np.count_nonzero(self._delayed))

    # -- changes ---------------------------------------------------------------------------

    def _change(
        self,
        number: int,
        row: int,
        value: float,
        quality: int,
        source_time_ns: int,
        gateway_time_ns: int,
    ) -> AlarmChange:
        """Make the change of one condition and keep the table of open alarms."""
        point = self._table.points[row]
        key = (number, row)
        raised = key not in self._open
        limit = float(self._table.limit[number, row])
        change = AlarmChange(
            alarm_id=checked_id(self._new_id()) if raised else self._open[key].alarm_id,
            source=point.name,
            condition=CONDITIONS[number],
            state=AlarmState.UNACKNOWLEDGED_ACTIVE
            if raised
            else AlarmState.RETURNED_UNACKNOWLEDGED,
            previous_state=AlarmState.NORMAL if raised else AlarmState.UNACKNOWLEDGED_ACTIVE,
            priority=point.priority,
            value=value,
            quality=quality,
            limit=limit,
            unit=point.unit,
            source_time_ns=source_time_ns,
            gateway_time_ns=gateway_time_ns,
            rule=RULES[number],
            text=_text(point, CONDITIONS[number], value, limit, raised=raised),
            hazard=point.hazard,
            place=point.place,
            equipment=point.equipment,
            description=point.description,
        )
        if raised:
            self._open[key] = OpenAlarm.of(change)
        else:
            del self._open[key]
        return change

    def _restore(self, restored: Sequence[OpenAlarm]) -> list[OpenAlarm]:
        """Take back standing alarms; return those that nothing judges any more."""
        if not restored:
            return []
        row_of = {point.name: row for row, point in enumerate(self._table.points)}
        removed = []
        for alarm in restored:
            row = row_of.get(alarm.source, -1)
            number = CONDITIONS.index(alarm.condition) if alarm.condition in CONDITIONS else -1
            judged = row >= 0 and number >= 0 and not np.isnan(self._table.limit[number, row])
            if not judged or (number, row) in self._open:
                removed.append(alarm)
                continue
            self._open[number, row] = alarm
            self._active[number, row] = True
        return removed

    def _close_removed(self, gateway_time_ns: int) -> list[AlarmChange]:
        removed, self._removed = self._removed, []
        return [alarm.removed(gateway_time_ns) for alarm in removed]


def _as_slice(places: _Rows) -> slice | _Rows:
    """Consecutive ascending places as a slice, which selects without a copy."""
    first, count = int(places[0]), len(places)
    if int(places[-1]) - first == count - 1 and bool((np.diff(places) == 1).all()):
        return slice(first, first + count)
    return places


def _is_judged(samples: _Samples) -> _Flags:
    judged = ((samples.quality & SEVERITY_MASK) < _BAD) & ~np.isnan(samples.values)
    for code in _NOT_FOR_ALARM:
        judged &= samples.quality != code
    return judged


def _rounds(rows: _Rows) -> list[_Rows]:
    """Split samples into rounds of unique rows: round k holds the k-th sample of each row."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    if len(starts) == len(rows):
        return [np.arange(len(rows))]
    lengths = np.diff(starts, append=len(rows))
    turn = np.empty(len(rows), np.intp)
    turn[order] = np.arange(len(rows)) - np.repeat(starts, lengths)
    return [np.flatnonzero(turn == k) for k in range(int(lengths.max()))]


def _text(point: Point, condition: str, value: float, limit: float, *, raised: bool) -> str:
    words = condition.replace("_", " ")
    now, bound = describe(value, point.unit), describe(limit, point.unit)
    if raised:
        return f"{point.name} is {words}: {now} has reached the limit {bound}."
    return f"{point.name} is no longer {words}: {now}, limit {bound}."

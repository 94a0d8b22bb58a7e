"""Alarm 报警无法判断: a point that carries an alarm cannot be read, so nobody would see the alarm.

Guarantees:

- Every point with a limit of the gateway's (a panel's own alarm bit has one too) or an alarm on its
  state is watched (`carrying`), and the headcount of every zone of a camera of which an alarm is
  raised. While its quality is bad or stale for AFTER_NS (CAMERA_AFTER_NS), alarm `not_judged`
  stands: at the device where none of its several points can be judged, else at each point, so that
  a lost panel is one alarm and not one a loop, and a second lost loop is never hidden behind the
  first.
- A value so far below its range that the transmitter has failed (limit_table.py: a broken line) is
  none that can be judged; above it there is a limit, or nothing to protect.
- It returns with the first value that can be judged. Going from some to all of a device's points
  adds the device's alarm; those of the points stay as they are.
- Not here: what has an alarm of its own (gas.py: fault and range of gas detectors), what the device
  itself took out of service, and states that are not for alarm (warm-up, calibration): those are
  known to whoever works at the detector.
- Cost: without a bad value in the batch and without one before, two comparisons a batch.

Pure; not thread-safe.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from drivers.contract import SEVERITY_MASK, Batch, Quality, quality_word
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.plan_cache import PlanCache
from gateway.model.point import Point
from gateway.rules.limit_table import believed_between
from gateway.rules.open_alarm import OpenAlarm, checked_id

CONDITION = "not_judged"
RULE = "fault.not_judged/1"
CAMERA_AFTER_NS = 60 * 1_000_000_000
"""Ours, from no document: a camera that is switched off and on is back within it."""
AFTER_NS = 10 * 1_000_000_000
"""Ours, from no document: longer than a retry or a reconnection, far shorter than a patrol."""

_BAD = 0x8000
_NEVER = np.iinfo(np.int64).max
_HAVE_THEIR_OWN = (Quality.BAD_SENSOR_FAULT, Quality.BAD_OUT_OF_RANGE)
_SHOWN = 5

Rows = npt.NDArray[np.intp]


def carrying(points: Sequence[Point], also: Collection[str] = ()) -> list[Point]:
    """Give the points that carry an alarm. also: names of those that an alarm on a state judges."""
    return [
        point
        for point in points
        if (point.limits.any() and point.alarm_source == "gateway") or point.name in also
    ]


class NotJudged:
    """State of these alarms of one gateway.

    watched: what `carrying` gives.  restored: alarms that stood.  after_ns: patience with counts of
    cameras, by name; in doubt such cannot be judged either: of a camera that was moved nobody's
    absence is told.
    """

    def __init__(
        self,
        watched: Sequence[Point],
        *,
        new_id: Callable[[], bytes],
        restored: Sequence[OpenAlarm] = (),
        after_ns: Mapping[str, int] | None = None,
    ) -> None:
        self._points = watched
        self._new_id = new_id
        self._eyes = np.array([p.name in (after_ns or {}) for p in watched], np.bool_)
        self._gas = np.array([bool(p.gas) for p in watched], np.bool_)
        least = [-math.inf if p.gas else believed_between(p)[0] for p in watched]
        self._least = np.array(least)  # below it the transmitter has failed
        self._ranged = bool(np.isfinite(self._least).any())
        counts = Counter(p.device for p in watched)
        self._devices = [device for device, count in counts.items() if count > 1]
        number = {device: at for at, device in enumerate(self._devices)}
        self._members = [
            np.array([r for r, p in enumerate(watched) if p.device == d], np.intp)
            for d in self._devices
        ]
        patience = [(after_ns or {}).get(p.name, AFTER_NS) for p in watched]
        patience += [max(patience[row] for row in rows) for rows in self._members]
        self._after_ns = np.array(patience, np.int64)
        self._device_of = np.array([number.get(p.device, -1) for p in watched], np.intp)
        rows = len(watched)
        self._lost = np.zeros(rows, np.bool_)
        self._codes = np.zeros(rows, np.uint16)
        # Alarms: one a point, then one a device.
        self._due = np.full(rows + len(self._devices), _NEVER, np.int64)
        self._open: dict[int, OpenAlarm] = {}
        self._wall_ns = 0
        self._removed = self._restore(restored)
        self._row_of = np.full(1 + max((p.id for p in watched), default=0), -1, np.intp)
        self._row_of[[p.id for p in watched]] = range(rows)
        self._plans = PlanCache(self._plan, point_count=rows)

    def take_over(self, other: NotJudged) -> None:
        """Go on from what `other` knows of points and devices that are the same; at a reload.

        Its alarms come by `restored`.
        """
        known = other.known()
        for source, row in self._rows_by_source().items():
            if source not in known:
                continue
            due_ns, lost, code = known[source]
            if row not in self._open:
                self._due[row] = due_ns
            if row < len(self._points):
                self._lost[row], self._codes[row] = lost, code

    def known(self) -> dict[str, tuple[int, bool, int]]:
        """Give when each point and device is due, whether it is lost and its quality."""
        count = len(self._points)
        return {
            source: (
                int(self._due[row]),
                self._stands(row),
                int(self._codes[row]) if row < count else 0,
            )
            for source, row in self._rows_by_source().items()
        }

    @property
    def open_count(self) -> int:
        """Count of alarms that are raised and have not returned."""
        return len(self._open)

    def feed(self, batch: Batch, *, now_ns: int) -> list[AlarmChange]:
        """Look at the qualities of a batch; `now_ns` is monotonic."""
        changes = [alarm.removed(batch.gateway_time_ns) for alarm in self._removed]
        self._removed = ()
        if not self._points:
            return changes
        self._wall_ns = batch.gateway_time_ns
        samples, rows = self._plans.of(batch.points)
        if not len(rows) or (not batch.quality.any() and not self._lost.any()):
            return changes
        quality = batch.quality[samples]
        lost = ((quality & SEVERITY_MASK) >= _BAD) | (quality == Quality.UNCERTAIN_STALE)
        lost |= self._eyes[rows] & ((quality & SEVERITY_MASK) != 0)  # a view in doubt
        lost &= quality != Quality.BAD_OUT_OF_SERVICE
        for code in _HAVE_THEIR_OWN:
            lost &= ~(self._gas[rows] & (quality == code))
        if self._ranged and not isinstance(batch.values, tuple):
            out = quality == Quality.UNCERTAIN_OUT_OF_RANGE
            lost |= out & (batch.values[samples] < self._least[rows])
        if (lost == self._lost[rows]).all():
            return changes
        self._lost[rows] = lost
        self._codes[rows] = quality
        touched = np.unique(rows)
        self._follow(touched, self._lost[touched], now_ns)
        devices = np.unique(self._device_of[touched])
        for device in devices[devices >= 0].tolist():
            whole = np.array([self._lost[self._members[device]].all()])
            self._follow(np.array([len(self._points) + device], np.intp), whole, now_ns)
        return changes + [
            self._change(row, raised=False) for row in sorted(self._open) if not self._stands(row)
        ]

    def tick(self, now_ns: int, wall_ns: int) -> list[AlarmChange]:
        """Raise what has lasted long enough."""
        due = np.flatnonzero(self._due <= now_ns).tolist()
        if not due:
            return []
        self._wall_ns = wall_ns
        changes = []
        for row in reversed(due):  # devices first: they speak for their points
            device = -1 if row >= len(self._points) else int(self._device_of[row])
            if device >= 0 and self._stands(len(self._points) + device):
                self._due[row] = _NEVER  # looked at again when the device's alarm returns
                continue
            self._due[row] = _NEVER
            changes.append(self._change(row, raised=True))
        return changes

    def next_deadline_ns(self) -> int | None:
        """Monotonic time at which `tick` has something to do, or None."""
        first = int(self._due.min()) if len(self._due) else _NEVER
        return None if first == _NEVER else first

    def example(self, source: str, condition: str) -> AlarmChange | None:
        """Give the normal alarm of that name, or None where nothing can raise it."""
        row = self._rows_by_source().get(source) if condition == CONDITION else None
        return None if row is None else self._made(row, AlarmState.NORMAL, AlarmState.NORMAL, b"")

    def _plan(self, ids: npt.NDArray[np.int32]) -> tuple[Rows, Rows]:
        """Samples of watched points, and their rows."""
        inside = (ids >= 0) & (ids < len(self._row_of))
        rows = np.where(inside, self._row_of[np.where(inside, ids, 0)], -1)
        samples = np.flatnonzero(rows >= 0)
        return samples, rows[samples]

    def _follow(self, rows: Rows, lost: npt.NDArray[np.bool_], now_ns: int) -> None:
        """Begin to wait for what is lost and not said, stop waiting for what is not lost."""
        said = np.array([row in self._open for row in rows.tolist()], np.bool_)
        begin = lost & ~said & (self._due[rows] == _NEVER)
        self._due[rows[begin]] = now_ns + self._after_ns[rows[begin]]
        self._due[rows[~lost]] = _NEVER
        if rows[0] >= len(self._points) and not lost[0]:
            self._ask_members(int(rows[0]) - len(self._points), now_ns)

    def _ask_members(self, device: int, now_ns: int) -> None:
        """Let the points that are still lost wait for alarms of their own."""
        members = self._members[device]
        open_rows = np.array([row in self._open for row in members.tolist()], np.bool_)
        waiting = self._lost[members] & ~open_rows & (self._due[members] == _NEVER)
        self._due[members[waiting]] = now_ns + self._after_ns[members[waiting]]

    def _stands(self, row: int) -> bool:
        """Tell whether the reason of an alarm is there."""
        if row < len(self._points):
            return bool(self._lost[row])
        return bool(self._lost[self._members[row - len(self._points)]].all())

    def _change(self, row: int, *, raised: bool) -> AlarmChange:
        active, returned = AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED
        if not raised:
            standing = self._open.pop(row)
            return self._made(row, returned, active, standing.alarm_id)
        change = self._made(row, active, AlarmState.NORMAL, checked_id(self._new_id()))
        self._open[row] = OpenAlarm.of(change)
        return change

    def _made(
        self, row: int, state: AlarmState, previous: AlarmState, alarm_id: bytes
    ) -> AlarmChange:
        members = self._affected(row)
        first = self._points[int(members[0])]
        raised = state is AlarmState.UNACKNOWLEDGED_ACTIVE
        return AlarmChange(
            alarm_id=alarm_id,
            source=self._source(row),
            condition=CONDITION,
            state=state,
            previous_state=previous,
            priority=min(self._points[member].priority for member in members.tolist()),
            value=math.nan,
            quality=int(self._codes[members].max()),
            limit=math.nan,
            unit="",
            source_time_ns=self._wall_ns,
            gateway_time_ns=self._wall_ns,
            rule=RULE,
            text=self._text(row, members, raised=raised),
            hazard=first.hazard,
            place=first.place,
            equipment=first.equipment,
            description=first.description if len(members) == 1 else "",
        )

    def _text(self, row: int, members: Rows, *, raised: bool) -> str:
        source = self._source(row)
        if not raised:
            return f"{source}: over, alarms can be judged again 恢复判断."
        worst = quality_word(int(self._codes[members].max()))
        if len(members) == 1:
            return f"{source}: nobody can judge this alarm, the value is {worst} 报警无法判断."
        tags = [self._points[member].name.partition("/")[2] for member in members.tolist()]
        more = f" and {len(tags) - _SHOWN} more" if len(tags) > _SHOWN else ""
        return (
            f"{source}: nobody can judge its {len(tags)} alarm points, they are {worst}"
            f" 报警无法判断: {', '.join(tags[:_SHOWN])}{more}."
        )

    def _affected(self, row: int) -> Rows:
        count = len(self._points)
        return np.array([row], np.intp) if row < count else self._members[row - count]

    def _source(self, row: int) -> str:
        count = len(self._points)
        return self._points[row].name if row < count else self._devices[row - count]

    def _rows_by_source(self) -> dict[str, int]:
        return {self._source(row): row for row in range(len(self._due))}

    def _restore(self, restored: Sequence[OpenAlarm]) -> tuple[OpenAlarm, ...]:
        rows = self._rows_by_source() if restored else {}
        removed = []
        for alarm in restored:
            row = rows.get(alarm.source)
            if row is None:
                removed.append(alarm)
                continue
            self._open[row] = alarm
            members = self._affected(row)
            self._lost[members] = True  # until a value says otherwise
            self._codes[members] = Quality.UNCERTAIN_STALE
        return tuple(removed)


__all__ = ["AFTER_NS", "CONDITION", "RULE", "NotJudged", "carrying"]

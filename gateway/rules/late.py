"""Alarms that history tells of: what a server kept while it could not be heard. Pure.

Live values go first after an outage, and history follows. Judged like the rest it would raise
alarms that are over, and might leave one standing; left unjudged it would hide what happened.

Guarantees:

- History never touches what stands: it is judged by rules of its own, which count delays by the
  samples' own times, from batch to batch, and know nothing but history.
- An alarm that history raises is told once it is over there, raised and returned in one, marked
  late, with the times of its samples. One that reaches the end of history had ended by the time
  that live values went on, unless it stands, or stood until then: then it was told.
- Judged are limits, and conditions on one point but silence; those that compare several points are
  not, because history comes point by point.
- A run of history is over when none has come for RUN_NS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from drivers.contract import Batch
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.condition_spec import PAIRS, AlarmSpec, Kind
from gateway.rules.conditions import Conditions
from gateway.rules.desk import Entry
from gateway.rules.limits import LimitAlarms

RUN_NS = 60 * 10**9
"""A page of history may take as long as the time-out of a request, and be asked for again."""
_NOT_JUDGED = PAIRS | {Kind.STALE, Kind.EXPRESSION}
Make = Callable[[], tuple[LimitAlarms, Conditions]]
_Key = tuple[str, str]


def judged_late(specs: Sequence[AlarmSpec]) -> list[AlarmSpec]:
    """Conditions that history is judged by."""
    return [spec for spec in specs if spec.kind not in _NOT_JUDGED]


class LateAlarms:
    """What history tells of.

    make: the rules, with nothing standing and without `ticks`.  entry: what is known of an alarm.
    """

    def __init__(self, make: Make, entry: Callable[[str, str], Entry | None]) -> None:
        self._make = make
        self._entry = entry
        self._rules: tuple[LimitAlarms, Conditions] | None = None
        self._raised: dict[_Key, AlarmChange] = {}
        self._over_ns = 0
        self._newest_ns = 0

    def feed(self, batch: Batch, *, now_ns: int) -> list[AlarmChange]:
        """Judge a batch of history; `now_ns` is monotonic."""
        if self._rules is None:
            self._rules = self._make()
        self._over_ns = now_ns + RUN_NS
        times = batch.source_time_ns
        # The rules' clock is that of the samples; it goes back where the history of another point
        # begins, which is why none of their delays is fired without a sample of its own (ticks).
        newest_ns = times if isinstance(times, int) else int(times.max(initial=0))
        self._newest_ns = max(self._newest_ns, newest_ns)
        limits, conditions = self._rules
        found = limits.feed(batch, now_ns=newest_ns)
        found += conditions.feed(batch, now_ns=newest_ns)
        told: list[AlarmChange] = []
        for change in found:
            key = change.source, change.condition
            if change.state is AlarmState.UNACKNOWLEDGED_ACTIVE:
                self._raised[key] = change
            elif raised := self._raised.pop(key, None):
                told += self._told(raised, change)
        return told

    def next_deadline_ns(self) -> int | None:
        """When the run is over if nothing more comes; None where there is none."""
        return None if self._rules is None else self._over_ns

    def tick(self, now_ns: int) -> list[AlarmChange]:
        """End a run that is over: what history leaves raised had ended when it ends."""
        if self._rules is None or now_ns < self._over_ns:
            return []
        told: list[AlarmChange] = []
        for raised in self._raised.values():
            over = replace(
                raised,
                state=AlarmState.RETURNED_UNACKNOWLEDGED,
                previous_state=AlarmState.UNACKNOWLEDGED_ACTIVE,
                source_time_ns=max(self._newest_ns, raised.source_time_ns),
                text=f"{raised.source}: over when live values went on.",
            )
            told += self._told(raised, over)
        self._rules, self._newest_ns = None, 0
        self._raised.clear()
        return told

    def _told(self, raised: AlarmChange, over: AlarmChange) -> list[AlarmChange]:
        entry = self._entry(raised.source, raised.condition)
        if entry is not None and (entry.active or entry.last.source_time_ns >= over.source_time_ns):
            return []  # it stands, or stood until live values said otherwise
        return [
            replace(one, late=True, text=f"Late 迟到, from history: {one.text}")
            for one in (raised, over)
        ]

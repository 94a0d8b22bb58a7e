"""Follows alarms on their way to the disk, on the event loop; tells those that do not get there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from buffer.contract import Clock, VolatileListener, VolatileRecord
from buffer.outcome import Outcome
from buffer.volatile import VolatileAlarms


class AlarmWatch:
    """The timer and the listeners around VolatileAlarms. `stop` before the loop ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alarms = VolatileAlarms()
        self._listeners: list[VolatileListener] = []
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def stop(self) -> None:
        """Tell nothing more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def told(self) -> Sequence[VolatileRecord]:
        """Alarms that were told and are not durable yet, oldest first."""
        return self._alarms.told()

    def add_listener(self, listener: VolatileListener) -> Callable[[], None]:
        """Call `listener` on the loop; returns how to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def follow(self, receipt: asyncio.Future[int], payload: bytes, *, failing: bool) -> None:
        """Take an alarm that was queued; failing: the disk is known to take nothing now."""
        now_ns, time_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        found = self._alarms.given(
            receipt, payload, time_ns=time_ns, now_ns=now_ns, failing=failing
        )
        self._tell(found)
        if self._timer is None:
            self._arm()

    def settle(self, outcome: Outcome) -> None:
        """Take in what a commit did."""
        for receipt, _ in outcome.done:
            if told := self._alarms.durable(receipt):
                self._tell([told], volatile=False)
        for failed in outcome.failed:
            self._tell(self._alarms.failed(failed))
        for lost in outcome.given_up:
            self._alarms.forget(lost)

    def _arm(self) -> None:
        """Look again when the oldest alarm that is not durable will have waited too long."""
        due_ns = self._alarms.next_deadline_ns()
        self._timer = None
        if due_ns is not None and not self._stopped:
            delay_s = max(0.0, due_ns - self._clock.monotonic_ns()) / 1e9
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._overdue)

    def _overdue(self) -> None:
        self._tell(self._alarms.tick(self._clock.monotonic_ns()))
        self._arm()

    def _tell(self, records: Sequence[VolatileRecord], *, volatile: bool = True) -> None:
        if records:
            for listener in tuple(self._listeners):
                listener(records, volatile)

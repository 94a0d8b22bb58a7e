"""Judge: all rules of one gateway behind one face, and what must survive a restart.

Guarantees: `states()` belongs to the changes returned last and is to be stored with them, in one
transaction; `Judge` restored from it neither raises a standing alarm again nor forgets one. A state
that cannot be read is left out and named in `complaints`; judging starts afresh, and an alarm that
still stands is raised again. Alarms of points, limits or zones that are gone are returned. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from drivers.contract import Batch, SourceEvent
from gateway.model.alarm import AlarmChange
from gateway.model.point import Point
from gateway.rules.headcount import HeadcountAlarms
from gateway.rules.limits import LimitAlarms, Standing
from gateway.rules.open_alarm import StateError

LIMITS_STATE = "alarms.limits"
HEADCOUNT_STATE = "alarms.headcount"


class Judge:
    """Feeds batches and events to the rules.

    points: of the catalogue.  zones: camera/zone of every camera zone that is configured.
    new_id: makes 16 random bytes.  state: an earlier value of `states()`, by name.
    """

    def __init__(
        self,
        points: Sequence[Point],
        zones: Collection[str],
        *,
        new_id: Callable[[], bytes],
        state: Callable[[str], bytes] = lambda _name: b"",
    ) -> None:
        self._zones = frozenset(zones)
        self._new_id = new_id
        self.complaints: list[str] = []

        def limits(restored: bytes) -> LimitAlarms:
            return LimitAlarms(points, new_id=new_id, restored=restored)

        def headcount(restored: bytes) -> HeadcountAlarms:
            return HeadcountAlarms(new_id=new_id, restored=restored)

        try:
            self._limits = limits(state(LIMITS_STATE))
        except StateError as error:
            self.complaints.append(f"Standing limit alarms are not known any more: {error}")
            self._limits = limits(b"")
        try:
            self._headcount = headcount(state(HEADCOUNT_STATE))
        except StateError as error:
            self.complaints.append(f"Standing headcount alarms are not known any more: {error}")
            self._headcount = headcount(b"")

    def begin(self, gateway_time_ns: int) -> list[AlarmChange]:
        """Return the alarms of zones that are no longer configured; once, at start."""
        return self._headcount.close_removed(self._zones, gateway_time_ns)

    def take_over(self, other: Judge, gateway_time_ns: int) -> list[AlarmChange]:
        """Go on where `other` stopped; before the first `feed`, instead of `state` and `begin`.

        Standing alarms keep their ids, running delays of points that are the same run on. Returns
        the alarms of points, limits and zones that are gone; `other` is not to be fed any more.
        """
        limits, headcount = other.hand_over()
        self._headcount = HeadcountAlarms(new_id=self._new_id, restored=headcount)
        return [
            *self._limits.take_over(limits, gateway_time_ns),
            *self._headcount.close_removed(self._zones, gateway_time_ns),
        ]

    def hand_over(self) -> tuple[Standing, bytes]:
        """Give what stands, for `take_over`."""
        return self._limits.hand_over(), self._headcount.open_alarms()

    def feed(self, batch: Batch, *, now_ns: int) -> list[AlarmChange]:
        """Judge a batch of engineering values; `now_ns` is monotonic."""
        return self._limits.feed(batch, now_ns=now_ns)

    def feed_event(self, event: SourceEvent, *, now_ns: int) -> list[AlarmChange]:
        """Judge an event of a source. Raises ValueError if an over-count event is malformed."""
        return self._headcount.feed(event, now_ns=now_ns)

    def next_deadline_ns(self) -> int | None:
        """Monotonic time at which `tick` has something to do, or None."""
        return self._limits.next_deadline_ns()

    def tick(self, now_ns: int) -> list[AlarmChange]:
        """Fire the delays that ran out by `now_ns` (monotonic)."""
        return self._limits.tick(now_ns)

    def states(self) -> Mapping[str, bytes]:
        """Encode what must survive a restart, by name."""
        return {
            LIMITS_STATE: self._limits.open_alarms(),
            HEADCOUNT_STATE: self._headcount.open_alarms(),
        }

    @property
    def standing(self) -> int:
        """Count of alarms that are raised and have not returned."""
        return self._limits.open_count + self._headcount.open_count

    def standing_zones(self, camera: str) -> list[str]:
        """Zones of a camera whose over-count alarm stands."""
        prefix = f"{camera}/"
        return [s.removeprefix(prefix) for s in self._headcount.sources if s.startswith(prefix)]

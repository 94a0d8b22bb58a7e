"""Headcount alarms 人数超限: over-count events of the cameras become alarms with an identity.

Guarantees: one open alarm per camera zone; a repeated "active" raises nothing new, a repeated
"not active" returns nothing; `restored` alarms keep their ids over a restart. How many people are
too many is judged in vision, with the zone's limit; this only gives the judgement its identity.

An event is of kind vision.over_count with attributes zone (str), people and limit (numbers) and
active (bool). The alarm's source is camera/zone, its unit 人 is written as "people". States as in
limits.py. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from drivers.contract import Quality, SourceEvent
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.open_alarm import OpenAlarm, checked_id, decode_open, describe, encode_open

KIND = "vision.over_count"
CONDITION = "over_count"
RULE = "headcount.over_count/1"
UNIT = "people"


class HeadcountAlarms:
    """State of the over-count alarms of all camera zones."""

    def __init__(
        self,
        *,
        new_id: Callable[[], bytes],
        restored: bytes = b"",
        priority: int = 2,
    ) -> None:
        """`new_id` makes 16 random bytes, `restored` is an earlier open_alarms().

        `priority` is 1 to 4. Raises StateError (a ValueError) where `restored` cannot be read.
        """
        self._new_id = new_id
        self._priority = priority
        self._open = {alarm.source: alarm for alarm in decode_open(restored)}

    def feed(self, event: SourceEvent, *, now_ns: int) -> list[AlarmChange]:
        """Translate an event; other kinds give nothing. Raises ValueError if it is malformed.

        `now_ns` is monotonic, as for every rule; no headcount rule has a delay of its own yet.
        """
        del now_ns
        if event.kind != KIND:
            return []
        zone, people, limit, active = _read(event)
        source = f"{event.source}/{zone}"
        standing = self._open.get(source)
        if active == (standing is not None):
            return []
        change = AlarmChange(
            alarm_id=standing.alarm_id if standing else checked_id(self._new_id()),
            source=source,
            condition=CONDITION,
            state=AlarmState.RETURNED_UNACKNOWLEDGED
            if standing
            else AlarmState.UNACKNOWLEDGED_ACTIVE,
            previous_state=AlarmState.UNACKNOWLEDGED_ACTIVE if standing else AlarmState.NORMAL,
            priority=self._priority,
            value=people,
            quality=int(Quality.GOOD),
            limit=limit,
            unit=UNIT,
            source_time_ns=event.time_ns,
            gateway_time_ns=event.time_ns,
            rule=RULE,
            text=_text(source, people, limit, active=active),
        )
        if standing:
            del self._open[source]
        else:
            self._open[source] = OpenAlarm.of(change)
        return [change]

    def close_removed(self, zones: Collection[str], gateway_time_ns: int) -> list[AlarmChange]:
        """Return the restored alarms of zones (camera/zone) that are no longer configured."""
        gone = [self._open.pop(source) for source in list(self._open) if source not in zones]
        return [alarm.removed(gateway_time_ns) for alarm in gone]

    def open_alarms(self) -> bytes:
        """Encode the raised alarms, for `restored` after a restart."""
        return encode_open(self._open.values())

    @property
    def sources(self) -> tuple[str, ...]:
        """Zones (camera/zone) whose alarm stands."""
        return tuple(self._open)

    @property
    def open_count(self) -> int:
        """Count of alarms that are raised and have not returned."""
        return len(self._open)


def _read(event: SourceEvent) -> tuple[str, float, float, bool]:
    attributes: Mapping[str, str | int | float | bool] = event.attributes
    zone, active = attributes.get("zone"), attributes.get("active")
    people, limit = attributes.get("people"), attributes.get("limit")
    if (
        not (isinstance(zone, str) and zone and isinstance(active, bool))
        or isinstance(people, str | bool | None)
        or isinstance(limit, str | bool | None)
    ):
        raise ValueError(
            f"{event.source}: {KIND} needs zone, people, limit and active, got {dict(attributes)}"
        )
    return zone, float(people), float(limit), active


def _text(source: str, people: float, limit: float, *, active: bool) -> str:
    seen, most = describe(people, UNIT), describe(limit, UNIT)
    if active:
        return f"{source} has too many people: {seen}, at most {most} allowed."
    return f"{source} no longer has too many people: {seen}, at most {most} allowed."

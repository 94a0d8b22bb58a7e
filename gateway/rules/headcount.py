"""Alarms of camera zones 人数超限, 离岗, 奔跑, 聚集, 未戴安全帽, 未穿工作服, 明火: identities.

Guarantees: one open alarm per camera zone and kind; a repeated "active" raises nothing new, a
repeated "not active" returns nothing; `restored` alarms keep their ids over a restart. How many
people are too many is judged in vision, with the zone's limit; this only gives the judgement its
identity.

An event is of a kind of KINDS with attributes zone (str), people and limit (numbers) and active
(bool); for missing equipment people are those who lack it and the limit is 0, for running those who
run. The alarm's source is camera/zone, its unit 人 is written as "people". States as in limits.py.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from drivers.contract import Quality, SourceEvent
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.open_alarm import OpenAlarm, checked_id, decode_open, describe, encode_open

SIGHTS = ("flame", "smoke", "smoking", "phone")
"""What a site's own detectors see; people are then how many were seen at once."""
KINDS = {
    "vision.over_count": ("over_count", "headcount.over_count/1"),
    "vision.empty": ("empty", "headcount.empty/1"),
    "vision.running": ("running", "motion.running/1"),
    "vision.gathering": ("gathering", "headcount.gathering/1"),
    "vision.no_helmet": ("no_helmet", "ppe.no_helmet/1"),
    "vision.no_workwear": ("no_workwear", "ppe.no_workwear/1"),
    **{f"vision.{name}": (name, f"sight.{name}/1") for name in SIGHTS},
}
"""Condition and rule of each kind of event."""

OVER_COUNT, EMPTY = "over_count", "empty"
RUNNING, GATHERING = "running", "gathering"
_ITEMS = {"no_helmet": "helmet", "no_workwear": "work wear"}
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
        self._open = {(one.source, one.condition): one for one in decode_open(restored)}

    def feed(self, event: SourceEvent, *, now_ns: int) -> list[AlarmChange]:
        """Translate an event; other kinds give nothing. Raises ValueError if it is malformed.

        `now_ns` is monotonic, as for every rule; no headcount rule has a delay of its own yet.
        """
        del now_ns
        if event.kind not in KINDS:
            return []
        condition, rule = KINDS[event.kind]
        zone, people, limit, active = _read(event)
        source = f"{event.source}/{zone}"
        standing = self._open.get((source, condition))
        if active == (standing is not None):
            return []
        change = AlarmChange(
            alarm_id=standing.alarm_id if standing else checked_id(self._new_id()),
            source=source,
            condition=condition,
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
            rule=rule,
            text=_text(condition, source, people, limit, active=active),
        )
        if standing:
            del self._open[source, condition]
        else:
            self._open[source, condition] = OpenAlarm.of(change)
        return [change]

    def close_removed(self, zones: Collection[str], gateway_time_ns: int) -> list[AlarmChange]:
        """Return the restored alarms of zones that are no longer configured.

        zones: camera/zone, and camera/zone/no_helmet or the like for equipment that one requires.
        """
        gone = [self._open.pop(key) for key in list(self._open) if _named(key) not in zones]
        return [alarm.removed(gateway_time_ns) for alarm in gone]

    def open_alarms(self) -> bytes:
        """Encode the raised alarms, for `restored` after a restart."""
        return encode_open(self._open.values())

    @property
    def sources(self) -> tuple[str, ...]:
        """Zones whose alarm stands: camera/zone for over-count, camera/zone/no_helmet and so on."""
        return tuple(_named(key) for key in self._open)

    @property
    def open_count(self) -> int:
        """Count of alarms that are raised and have not returned."""
        return len(self._open)


def _named(key: tuple[str, str]) -> str:
    source, condition = key
    return source if condition == OVER_COUNT else f"{source}/{condition}"


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
            f"{event.source}: {event.kind} needs zone, people, limit and active,"
            f" got {dict(attributes)}"
        )
    return zone, float(people), float(limit), active


def _text(condition: str, source: str, people: float, limit: float, *, active: bool) -> str:
    if condition in _ITEMS:
        if active:
            return f"{source}: {describe(people, UNIT)} without {_ITEMS[condition]}."
        return f"{source}: nobody without {_ITEMS[condition]} any more."
    if condition in SIGHTS:
        return f"{source}: {condition} {'seen' if active else 'not seen any more'}."
    if condition == RUNNING:
        return f"{source}: {'somebody runs' if active else 'nobody runs any more'}."
    seen, most = describe(people, UNIT), describe(limit, UNIT)
    if condition == EMPTY:
        verb = "has too few" if active else "no longer has too few"
        return f"{source} {verb} people: {seen}, at least {most} must be there."
    if condition == GATHERING:
        verb = "gather" if active else "no longer gather"
        return f"{source}: people {verb}: {seen} in one place, {most} or more are a gathering."
    if active:
        return f"{source} has too many people: {seen}, at most {most} allowed."
    return f"{source} no longer has too many people: {seen}, at most {most} allowed."

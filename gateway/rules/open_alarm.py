"""Open alarms: what must survive a restart so that a standing alarm keeps its identity.

Guarantees: an alarm raised before a restart is neither raised again under a new id nor forgotten.
It is found again by (source, condition); where nothing in the new configuration judges it any
more, it is returned with a text that says so.

Encoding: UTF-8 JSON, `{"version": 1, "open": [{...}, ...]}`, one object an alarm with the fields
of `OpenAlarm`, ids in hex. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property

from drivers.contract import Quality
from gateway.model.alarm import AlarmChange, AlarmState

ID_BYTES = 16  # AlarmChange.alarm_id
_VERSION = 1


class StateError(ValueError):
    """The stored state of open alarms cannot be read."""


@dataclass(frozen=True)
class OpenAlarm:
    """An alarm that was raised and has not returned; fields as in AlarmChange, at its raise.

    Its encoding is made once and kept, so that the state of a flood of alarms is a join.
    """

    alarm_id: bytes
    source: str
    condition: str
    priority: int
    value: float
    limit: float
    unit: str
    source_time_ns: int
    gateway_time_ns: int
    rule: str
    hazard: str = ""
    place: str = ""
    equipment: str = ""
    description: str = ""

    @classmethod
    def of(cls, raised: AlarmChange) -> OpenAlarm:
        """Remember what was raised."""
        return cls(**{name: getattr(raised, name) for name in _FIELDS})

    @cached_property
    def encoded(self) -> bytes:
        """One JSON object."""
        row = {name: getattr(self, name) for name in _FIELDS} | {"alarm_id": self.alarm_id.hex()}
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()

    def removed(self, gateway_time_ns: int) -> AlarmChange:
        """Return the alarm because nothing judges it any more: its limit or zone was removed.

        The value is that of the raise, as uncertain:stale: nothing newer is known.
        """
        return AlarmChange(
            alarm_id=self.alarm_id,
            source=self.source,
            condition=self.condition,
            state=AlarmState.RETURNED_UNACKNOWLEDGED,
            previous_state=AlarmState.UNACKNOWLEDGED_ACTIVE,
            priority=self.priority,
            value=self.value,
            quality=int(Quality.UNCERTAIN_STALE),
            limit=self.limit,
            unit=self.unit,
            source_time_ns=gateway_time_ns,
            gateway_time_ns=gateway_time_ns,
            rule=self.rule,
            text=f"{self.source}: alarm {self.condition} is closed because its limit was removed "
            "from the configuration; the value was not found to have returned.",
            hazard=self.hazard,
            place=self.place,
            equipment=self.equipment,
            description=self.description,
        )


_FIELDS = tuple(field.name for field in fields(OpenAlarm))


def encode_open(alarms: Iterable[OpenAlarm]) -> bytes:
    """Encode for the log's state."""
    rows = b",".join(alarm.encoded for alarm in alarms)
    return b'{"version":%d,"open":[%s]}' % (_VERSION, rows)


def decode_open(encoded: bytes) -> tuple[OpenAlarm, ...]:
    """Read the state back; empty bytes give no alarms. Raises StateError for anything else."""
    if not encoded:
        return ()
    try:
        state = json.loads(encoded)
        version, rows = state["version"], state["open"]
        alarms = tuple(
            OpenAlarm(**(row | {"alarm_id": bytes.fromhex(row["alarm_id"])})) for row in rows
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"the stored open alarms cannot be read: {error}") from error
    if version != _VERSION:
        raise StateError(f"open alarms are of version {version}, not {_VERSION}")
    return alarms


def checked_id(made: bytes) -> bytes:
    """Check a freshly made alarm id; raises ValueError unless it has 16 bytes."""
    if len(made) != ID_BYTES:
        raise ValueError(f"an alarm id has {ID_BYTES} bytes, not {len(made)}")
    return made


def describe(number: float, unit: str) -> str:
    """Write a value with its unit, in the seven digits that a float32 register carries."""
    text = f"{number:.0f}" if 1e7 <= abs(number) < 1e15 else f"{number:.7g}"
    return f"{text} {unit}".rstrip()

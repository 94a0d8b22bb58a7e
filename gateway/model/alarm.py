"""Alarm 报警: a change of state of one alarm condition, in ISA-18.2 terms.

Pure. A record of the alarm stream is one `AlarmChange`; the same `alarm_id` joins the changes from
raise to return.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.wire.v1 import uplink_pb2 as wire


class AlarmState(enum.IntEnum):
    """States of ISA-18.2 (IEC 62682); numbers are those of the wire."""

    NORMAL = 1
    UNACKNOWLEDGED_ACTIVE = 2
    ACKNOWLEDGED_ACTIVE = 3
    RETURNED_UNACKNOWLEDGED = 4
    LATCHED = 5
    SHELVED = 6
    SUPPRESSED_BY_DESIGN = 7
    OUT_OF_SERVICE = 8


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """One transition of one alarm.

    alarm_id: 16 bytes, the same from raise to return.  source: point name or camera/zone.
    condition: high_high, high, low, low_low, over_count,
    no_helmet, no_workwear, running, gathering.  value and limit in `unit`.
    source_time_ns: device time of the deciding value; gateway_time_ns: its reception.
    rule: id and version of what judged; clause: its document and clause where it is a legal one.
    operator and reason: of a person's command.  declaration: id of the declared test or outage
    under which it happened (then it is no real alarm), or empty.  first_out: first of its group.
    condition_id: of a control system's alarm, the NodeId of its condition.
    late: known only from history, read back after it was over.  description: of the point, as the
    catalogue had it when it happened; empty where the source is none.
    """

    alarm_id: bytes
    source: str
    condition: str
    state: AlarmState
    previous_state: AlarmState
    priority: int
    value: float
    quality: int
    limit: float
    unit: str
    source_time_ns: int
    gateway_time_ns: int
    rule: str
    text: str
    hazard: str = ""
    place: str = ""
    equipment: str = ""
    operator: str = ""
    reason: str = ""
    declaration: str = ""
    first_out: bool = False
    clause: str = ""
    condition_id: str = ""
    late: bool = False
    description: str = ""

    def encode(self, catalogue: bytes) -> bytes:
        """Wire encoding (plantgate.wire.v1.Alarm); `catalogue` names the points' catalogue."""
        message = wire.Alarm(catalogue=catalogue)
        for name in self.__slots__:
            field = getattr(self, name)
            if field or isinstance(field, float):  # an empty field is not on the wire; -0.0 is
                setattr(message, name, field)
        return message.SerializeToString(deterministic=True)

    @classmethod
    def decode(cls, payload: bytes) -> AlarmChange:
        """Read a record of the alarm stream; raises DecodeError (protobuf) if it is none."""
        message = wire.Alarm.FromString(payload)
        fields = {name: getattr(message, name) for name in cls.__slots__}
        fields["state"] = AlarmState(message.state)
        fields["previous_state"] = AlarmState(message.previous_state)
        return cls(**fields)

"""Reads event notifications of Alarms & Conditions into flat SourceEvents. Pure.

Guarantees: the fields are asked for in one fixed order (FIELDS) and read by their places; a field
that a server leaves out is absent, never guessed; nothing is acknowledged or changed. Hostile
bytes raise CodecError only.

The body (OPC 10000-4, 7.25.3): Int32 count | count x event
    event: UInt32 client handle | Int32 count | Variant ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.opcua.convert import ticks_to_ns
from drivers.opcua.wire import CodecError, Cursor

FIELDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("event_id", ("EventId",)),
    ("event_type", ("EventType",)),
    ("source_node", ("SourceNode",)),
    ("source_name", ("SourceName",)),
    ("time_ns", ("Time",)),
    ("message", ("Message",)),
    ("severity", ("Severity",)),
    ("condition", ("ConditionName",)),
    ("active", ("ActiveState", "Id")),
    ("acknowledged", ("AckedState", "Id")),
    ("retain", ("Retain",)),
    ("branch", ("BranchId",)),
    ("condition_id", ()),
    ("enabled", ("EnabledState", "Id")),
    ("shelving", ("ShelvingState", "CurrentState", "Id")),
    ("suppressed", ("SuppressedState", "Id")),
    ("out_of_service", ("OutOfServiceState", "Id")),
    ("latched", ("LatchedState", "Id")),
)
"""Attribute name, and browse path from the event's type (OPC 10000-5, 6.4.2; 10000-9, 5.5.2 and
5.8.2). No path: the condition's own node (attribute NodeId of ConditionType)."""

OLD_FIELDS = FIELDS[:14]
"""Those of the first version of 10000-9, to the conditions' own; a server may not know others."""

EVENT_HANDLE = 0xFFFF_FFFF
"""Client handle of the monitored item of events; points count from 0."""

REFRESH_START, REFRESH_END, REFRESH_REQUIRED = 2787, 2788, 2789
"""Types of the marks round a refresh, and of the wish for one (NodeIds.csv)."""

QUEUE_OVERFLOW = 3035
"""EventQueueOverflowEventType: the event by which a server says that its queue ran over."""

_BOOLEAN, _UINT16, _STRING, _DATE_TIME, _BYTE_STRING, _NODE_ID, _LOCALIZED_TEXT = (
    1, 5, 12, 13, 15, 17, 21,
)  # fmt: skip
_MOST_TEXT = 4096
_STANDARD_TYPE = re.compile(r"i=([0-9]{1,10})")


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """One event: flat attributes, source time or 0, and the number of its type if standard."""

    attributes: Mapping[str, str | int | float | bool]
    time_ns: int
    type_number: int | None


def read_events(body: bytes) -> list[AlarmEvent]:
    """Read the body of an EventNotificationList. Raises CodecError."""
    cursor = Cursor(body)
    events = []
    for _ in range(cursor.count(8)):
        cursor.skip(4)
        count = cursor.count(1)
        values = [_field(cursor) for _ in range(count)]
        if count not in (len(FIELDS), len(OLD_FIELDS)):
            raise CodecError(f"an event with {count} fields, {len(FIELDS)} were asked for")
        named = zip((name for name, _ in FIELDS), values, strict=False)
        attributes = {name: value for name, value in named if value is not None}
        time_ns = attributes.pop("time_ns", 0)
        told = _STANDARD_TYPE.fullmatch(str(attributes.get("event_type", "")))
        number = int(told[1]) if told is not None else None
        # what a server sends in another type than the standard's is no time
        events.append(AlarmEvent(attributes, time_ns if type(time_ns) is int else 0, number))
    return events


def _field(cursor: Cursor) -> str | int | bool | None:
    encoding = cursor.u8()
    value: str | int | bool | None = None
    if encoding == _BOOLEAN:
        value = cursor.u8() != 0
    elif encoding == _UINT16:
        value = cursor.u16()
    elif encoding == _DATE_TIME:
        value = ticks_to_ns(cursor.i64())
    elif encoding == _STRING:
        value = cursor.text()[:_MOST_TEXT]
    elif encoding == _LOCALIZED_TEXT:
        value = cursor.localized_text()[:_MOST_TEXT]
    elif encoding == _BYTE_STRING:
        start, end = cursor.span()
        value = cursor.content[start:end].hex()[:_MOST_TEXT]
    elif encoding == _NODE_ID:
        value = cursor.node_text()
    else:
        cursor.skip_variant_body(encoding)
    return value


__all__ = [
    "EVENT_HANDLE",
    "FIELDS",
    "OLD_FIELDS",
    "QUEUE_OVERFLOW",
    "REFRESH_END",
    "REFRESH_REQUIRED",
    "REFRESH_START",
    "AlarmEvent",
    "read_events",
]

"""Alarm and event records as flat rows, for `plantgate query --alarms` and `--events`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from google.protobuf.message import DecodeError

from buffer.contract import Stream
from drivers.contract import quality_word
from gateway.model.alarm import AlarmState
from gateway.receiver.read import Log, StoredRecord, StoreReader
from gateway.receiver.rows import iso_time
from gateway.wire.v1 import uplink_pb2 as wire

Field = str | float | bool | None
ALARM_HEADING = (
    "gateway", "time", "source", "condition", "state", "value", "limit", "unit", "quality",
    "priority", "text", "alarm_id", "historical", "evidence",
)  # fmt: skip
EVENT_HEADING = ("gateway", "time", "kind", "source", "text", "attributes", "historical")


def alarm_rows(reader: StoreReader, log: Log) -> Iterator[dict[str, Field]]:
    """Alarm records of one log, in order of sequence; `evidence` is SHA-256s, space-separated."""
    attachments = reader.attachments(log.gateway)
    for record in reader.records(log, Stream.ALARM):
        alarm = wire.Alarm()
        if not _parse(alarm, record):
            continue
        time_ns = alarm.source_time_ns or alarm.gateway_time_ns or record.time_ns
        fields: list[Field] = [
            log.gateway,
            iso_time(time_ns),
            alarm.source,
            alarm.condition,
            _state(alarm.state),
            _number(alarm.value),
            _number(alarm.limit),
            alarm.unit,
            quality_word(alarm.quality),
            alarm.priority,
            alarm.text,
            alarm.alarm_id.hex(),
            record.historical,
            " ".join(attachments.get(alarm.alarm_id, ())),
        ]
        yield dict(zip(ALARM_HEADING, fields, strict=True))


def event_rows(reader: StoreReader, log: Log) -> Iterator[dict[str, Field]]:
    """Event records of one log, in order of sequence; attributes as key=value, sorted."""
    for record in reader.records(log, Stream.EVENT):
        event = wire.Event()
        if not _parse(event, record):
            continue
        fields: list[Field] = [
            log.gateway,
            iso_time(event.time_ns or record.time_ns),
            event.kind,
            event.source,
            event.text,
            _attributes(event.attributes),
            record.historical,
        ]
        yield dict(zip(EVENT_HEADING, fields, strict=True))


def _parse(message: wire.Alarm | wire.Event, record: StoredRecord) -> bool:
    try:
        message.ParseFromString(record.payload)
    except DecodeError:
        return False  # cannot be: check.py parsed it before it was stored
    return True


def _state(number: int) -> str:
    try:
        return AlarmState(number).name.lower()
    except ValueError:
        return str(number)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _attributes(attributes: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(attributes.items()))

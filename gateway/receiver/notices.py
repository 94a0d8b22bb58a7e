"""What a store holds beside telemetry, as flat rows: alarms, events, faults, gateways.

For `plantgate query --alarms`, `--events`, `--faults` and `--gateways`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from google.protobuf.message import DecodeError

from buffer.contract import Stream
from drivers.contract import quality_word
from gateway.model.alarm import AlarmState
from gateway.receiver.check import volatile_key
from gateway.receiver.contract import Log, Reader, StoredRecord, told_twice
from gateway.receiver.corrections import Corrections
from gateway.receiver.rows import iso_time
from gateway.wire.v1 import uplink_pb2 as wire

Field = str | float | bool | None | dict[str, str]
ALARM_HEADING = (
    "gateway", "time", "source", "condition", "state", "value", "limit", "unit", "quality",
    "priority", "text", "alarm_id", "historical", "evidence", "rule", "operator", "reason",
    "declaration", "durable", "condition_id", "late",
)  # fmt: skip
FAULT_HEADING = (
    "gateway", "time", "log_id", "stream", "sequence", "kind", "reason", "count", "hash",
)  # fmt: skip
GATEWAY_HEADING = (
    "gateway", "time", "enterprise", "software", "health", "backlog", "log_id", "alarms",
    "events", "telemetry", "evidence",
)  # fmt: skip
EVENT_HEADING = ("gateway", "time", "kind", "source", "text", "attributes", "historical")


def alarm_rows(reader: Reader, log: Log, true: Corrections) -> Iterator[dict[str, Field]]:
    """Alarm records of one log, in order of sequence; `evidence` is SHA-256s, space-separated.

    Then those that the gateway had in its memory only and that have not come as a record of any of
    its logs: `durable` is false.
    """
    attachments = reader.attachments(log.gateway)
    for record in _own(reader, log, Stream.ALARM):
        yield from _alarm_row(log, record, attachments, true, durable=True)
    volatile = {one.key: one for one in reader.volatile(log)}
    if volatile:  # one that was under way when its record came may have been stored after it
        for other in reader.logs(log.gateway):
            for record in reader.records(other, Stream.ALARM):
                volatile.pop(volatile_key(record.payload), None)
    for one in volatile.values():
        record = StoredRecord(
            0, 0, False, b"", one.time_ns, 0, 1, one.payload, one.monotonic_ns, one.boot_id, False
        )
        yield from _alarm_row(log, record, attachments, true, durable=False)


def _alarm_row(
    log: Log,
    record: StoredRecord,
    attachments: dict[bytes, list[str]],
    true: Corrections,
    *,
    durable: bool,
) -> Iterator[dict[str, Field]]:
    alarm = wire.Alarm()
    if not _parse(alarm, record):
        return
    time_ns = alarm.source_time_ns or alarm.gateway_time_ns or record.time_ns
    fields: list[Field] = [
        log.gateway,
        iso_time(true.time_ns(log, record, time_ns)),
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
        alarm.rule,
        alarm.operator,
        alarm.reason,
        alarm.declaration,
        durable,
        alarm.condition_id,
        alarm.late,
    ]
    yield dict(zip(ALARM_HEADING, fields, strict=True))


def event_rows(reader: Reader, log: Log, true: Corrections) -> Iterator[dict[str, Field]]:
    """Event records of one log, in order of sequence; attributes by name, sorted.

    A gap's are what is missing: stream, cause, first, last (sequences), first_ns, last_ns, count;
    those of attached evidence alarm_id (as --alarms has it), sha256, media_type, total_bytes.
    """
    for record in _own(reader, log, Stream.EVENT):
        event = wire.Event()
        if not _parse(event, record):
            continue
        fields: list[Field] = [
            log.gateway,
            iso_time(true.time_ns(log, record, event.time_ns)),
            event.kind,
            event.source,
            event.text,
            _attributes(event),
            record.historical,
        ]
        yield dict(zip(EVENT_HEADING, fields, strict=True))


def fault_rows(reader: Reader, log: Log, _: Corrections) -> Iterator[dict[str, Field]]:
    """What must not happen and did, in one log: conflicts, broken chains, refused records."""
    for fault in reader.faults(log):
        stream = Stream(fault.stream).name.lower()
        fields: list[Field] = [
            log.gateway, iso_time(fault.last_ns), log.log_id.hex(), stream, fault.sequence,
            fault.kind, fault.reason, fault.count, fault.hash.hex(),
        ]  # fmt: skip
        yield dict(zip(FAULT_HEADING, fields, strict=True))


def gateway_rows(reader: Reader, log: Log, _: Corrections) -> Iterator[dict[str, Field]]:
    """One row for each log of each gateway: who it is, what it said last, what is stored of it."""
    gateway = reader.gateway(log)
    status = wire.Status.FromString(gateway.status)
    held = {stream: len(reader.acknowledged(log, stream)) for stream in Stream}
    fields: list[Field] = [
        log.gateway, iso_time(gateway.last_seen_ns), gateway.enterprise, gateway.software,
        status.health, status.backlog_records, log.log_id.hex(), *(held[one] for one in Stream),
    ]  # fmt: skip
    yield dict(zip(GATEWAY_HEADING, fields, strict=True))


def _own(reader: Reader, log: Log, stream: Stream) -> Iterator[StoredRecord]:
    """Records of a stream; of a derived one only what its log does not say itself in this store."""
    told = told_twice(reader, log, stream)
    for record in reader.records(log, stream):
        if record.sequence not in told:
            yield record


def _attributes(event: wire.Event) -> dict[str, str]:
    attributes = dict(event.attributes)
    if event.HasField("gap"):
        gap = event.gap
        attributes |= {
            "stream": _stream(gap.stream),
            "cause": gap.cause,
            "first": str(gap.first_sequence),
            "last": str(gap.last_sequence),
            "first_ns": str(gap.first_ns),
            "last_ns": str(gap.last_ns),
            "count": str(gap.count),
        }
    if event.HasField("evidence_attached"):
        attached = event.evidence_attached
        attributes |= {
            "alarm_id": attached.alarm_id.hex(),
            "sha256": attached.sha256.hex(),
            "media_type": attached.media_type,
            "total_bytes": str(attached.total_bytes),
        }
    if event.HasField("clock_anchor"):
        anchor = event.clock_anchor
        attributes |= {
            "boot_id": anchor.boot_id.hex(),
            "monotonic_ns": str(anchor.monotonic_ns),
            "true_ns": str(anchor.true_ns),
            "uncertainty_ns": str(anchor.uncertainty_ns),
            "source": anchor.source,
        }
    return dict(sorted(attributes.items()))


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


def _stream(number: int) -> str:
    try:
        return Stream(number).name.lower()
    except ValueError:
        return str(number)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value

"""Events: what happened that is no measured value and no alarm. Pure encoders.

One function per kind of detail; each returns the payload of a record in the event stream.
"""

from __future__ import annotations

from collections.abc import Mapping

from buffer.contract import Gap
from gateway.model.catalogue import Catalogue
from gateway.wire.v1 import uplink_pb2 as wire


def event(
    kind: str,
    source: str,
    time_ns: int,
    text: str,
    attributes: Mapping[str, str | int | float | bool] | None = None,
) -> bytes:
    """Plain event; `kind` is a dotted word such as link.down, `text` one clear sentence."""
    return wire.Event(
        kind=kind,
        source=source,
        time_ns=time_ns,
        text=text,
        attributes={key: _text(value) for key, value in (attributes or {}).items()},
    ).SerializeToString(deterministic=True)


def catalogue_event(catalogue: Catalogue, time_ns: int) -> bytes:
    """Announce a catalogue; receivers take it from here by its hash."""
    message = wire.Event(
        kind="catalogue",
        source="gateway",
        time_ns=time_ns,
        text=f"Catalogue of {catalogue.count} points.",
    )
    message.catalogue.ParseFromString(catalogue.encoded)
    return message.SerializeToString(deterministic=True)


def gap_event(gap: Gap, time_ns: int) -> bytes:
    """Say what is missing from a stream, when and why."""
    return wire.Event(
        kind="gap",
        source="buffer",
        time_ns=time_ns,
        text=f"{gap.count} of stream {gap.stream.name.lower()} missing: {gap.cause}.",
        gap=wire.Gap(
            stream=wire.Stream.ValueType(int(gap.stream)),
            cause=gap.cause,
            first_sequence=gap.first,
            last_sequence=gap.last,
            first_ns=gap.first_ns,
            last_ns=gap.last_ns,
            count=gap.count,
        ),
    ).SerializeToString(deterministic=True)


def evidence_attached_event(
    alarm_id: bytes, source: str, sha256: bytes, media_type: str, total_bytes: int, time_ns: int
) -> bytes:
    """Tie an evidence file to an alarm, once the file is durable."""
    return wire.Event(
        kind="evidence_attached",
        source=source,
        time_ns=time_ns,
        text=f"Evidence {sha256.hex()[:16]} ({media_type}, {total_bytes} bytes).",
        evidence_attached=wire.EvidenceAttached(
            alarm_id=alarm_id, sha256=sha256, media_type=media_type, total_bytes=total_bytes
        ),
    ).SerializeToString(deterministic=True)


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

"""Buffer records and session outputs as messages of the wire. Pure.

Payload bytes are passed through as they were stored: encoded once, for every destination.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from buffer.contract import Bounds, Record, Stream
from buffer.ranges import RangeSet
from gateway.uplink.outputs import Lane, SendGaps, SendPart, SendRecords, SendResult
from gateway.wire.v1 import uplink_pb2 as wire


@dataclass(frozen=True, slots=True)
class GatewayIdentity:
    """Who we are: gateway id, 统一社会信用代码, name/version of the software, boot id (16 B)."""

    gateway_id: str
    enterprise: str
    software: str
    boot_id: bytes


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant by both clocks: wall ns since 1970 UTC, monotonic ns since boot."""

    wall_ns: int
    monotonic_ns: int


def hello(
    identity: GatewayIdentity,
    *,
    lane: Lane,
    log_id: bytes,
    destination: str,
    streams: Sequence[wire.StreamState],
    catalogues: Sequence[bytes],
    moment: Moment,
    left_out: str = "",
    source_log_id: bytes = b"",
) -> wire.GatewayMessage:
    """First message of an Exchange.

    destination, left_out, source_log_id: of a derived stream; empty for the log itself.
    """
    return wire.GatewayMessage(
        hello=wire.Hello(
            gateway_id=identity.gateway_id,
            enterprise=identity.enterprise,
            log_id=log_id,
            boot_id=identity.boot_id,
            role=wire.ROLE_ACTIVE,
            software=identity.software,
            lane=wire.Lane.ValueType(int(lane)),
            streams=streams,
            catalogue_hashes=catalogues,
            wall_time_ns=moment.wall_ns,
            monotonic_ns=moment.monotonic_ns,
            destination=destination,
            filter=left_out,
            source_log_id=source_log_id,
        )
    )


def stream_state(
    stream: Stream, bounds: Bounds, head_hash: bytes = b"", *, acknowledged_stop: int = 0
) -> wire.StreamState:
    """What is held of a stream. The head's signature stays empty until heads are signed."""
    return wire.StreamState(
        stream=_stream(stream),
        first_sequence=bounds.first,
        next_sequence=bounds.next,
        head_hash=head_hash,
        acknowledged_stop=acknowledged_stop,
    )


def push(send: SendRecords, boot_id: bytes) -> wire.GatewayMessage:
    """Records in one message; boot_id is that of Hello, and named only where it differs."""
    records = [_record(record, send.historical, boot_id) for record in send.records]
    before: Record | None = None
    for record, encoded in zip(send.records, records, strict=True):
        follows = before is not None and before.sequence + 1 == record.sequence
        if before is None or not follows or before.hash != record.previous_hash:
            encoded.previous_hash = record.previous_hash
        before = record
    for encoded in records if send.withheld else ():
        encoded.withheld, encoded.thumbnail = True, send.thumbnail
    return wire.GatewayMessage(push=wire.Push(stream=_stream(send.stream), records=records))


def status(
    *,
    ping: int,
    moment: Moment,
    bounds: Mapping[Stream, Bounds],
    backlog_records: int,
    backlog_bytes: int,
    values_per_s: float,
    health: str,
) -> wire.GatewayMessage:
    """Heartbeat. `health` begins with ok, degraded or failed."""
    return wire.GatewayMessage(
        status=wire.Status(
            wall_time_ns=moment.wall_ns,
            monotonic_ns=moment.monotonic_ns,
            streams=[stream_state(stream, held) for stream, held in bounds.items()],
            backlog_records=backlog_records,
            backlog_bytes=backlog_bytes,
            values_per_s=values_per_s,
            health=health,
            ping=ping,
        )
    )


def gaps(send: SendGaps) -> wire.GatewayMessage:
    """Sequences that no longer exist."""
    message = wire.GapRanges(stream=_stream(send.stream), ranges=to_wire(send.ranges))
    return wire.GatewayMessage(gaps=message)


def part(send: SendPart) -> wire.GatewayMessage:
    """Part of an evidence file."""
    message = wire.EvidencePart(
        sha256=send.sha256,
        offset=send.offset,
        total_bytes=send.total_bytes,
        content=send.content,
    )
    return wire.GatewayMessage(evidence=message)


def result(send: SendResult) -> wire.GatewayMessage:
    """Answer to a Request."""
    message = wire.RequestResult(
        request_id=send.request_id,
        accepted=send.accepted,
        message=send.message,
        sha256=send.sha256,
    )
    return wire.GatewayMessage(result=message)


def to_wire(ranges: RangeSet) -> list[wire.Range]:
    """Ranges as the wire has them."""
    return [wire.Range(start=start, stop=stop) for start, stop in ranges]


def from_wire(ranges: Iterable[wire.Range]) -> RangeSet:
    """Ranges as the log has them."""
    return RangeSet((part.start, part.stop) for part in ranges)


def _record(record: Record, historical: bool, boot_id: bytes) -> wire.Record:
    telemetry = record.stream is Stream.TELEMETRY
    return wire.Record(
        sequence=record.sequence,
        hash=record.hash,
        crc32=zlib.crc32(record.payload),
        historical=historical,
        time_ns=record.time_ns,
        monotonic_ns=record.monotonic_ns,
        boot_id=b"" if record.boot_id == boot_id else record.boot_id,
        clock_offset_ns=record.clock_offset_ns,
        synchronised=record.synchronised,
        group=record.group if telemetry else 0,
        catalogue=record.catalogue if record.group == record.sequence else b"",
        payload=record.payload,
        samples=record.samples,
        source_first=record.source_first,
        source_last=record.sequence if record.source_first else 0,
    )


def _stream(stream: Stream) -> wire.Stream.ValueType:
    return wire.Stream.ValueType(int(stream))

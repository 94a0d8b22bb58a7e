"""What simulated gateways send, encoded once for all of them. Pure.

The hash chain of a record does not hold its gateway (identity comes with the Hello), so one list of
records serves any number of gateways, each under its own id and log id. Signals: 70 % slow analogs
with noise, in steps of 0.1; 15 % constants; 15 % on/off; one value a point and second, a key
every 60 records, as a gateway's buffer makes them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from buffer.block import BlockEncoder, ColumnBatch
from buffer.contract import NO_HASH, Stream, chain_hash
from gateway.model.catalogue import Catalogue
from gateway.model.event import catalogue_event
from gateway.model.point import Point
from gateway.wire.v1 import uplink_pb2 as wire

GROUP_RECORDS = 60
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """points a gateway, records of telemetry each, and the wall clock of the first (ns)."""

    points: int
    records: int
    start_ns: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message on the wire: the sequences [first, stop) that it pushes, encoded."""

    first: int
    stop: int
    encoded: bytes


class Telemetry:
    """The telemetry of one simulated gateway: `live` message by message, `history` in large ones.

    payload_bytes: of all records together.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        points = [
            Point(id=number, name=f"load/P-{number:05d}") for number in range(1, plan.points + 1)
        ]
        self.catalogue = Catalogue.of(points)
        self._records = list(self._encode(np.random.default_rng(1)))
        self.payload_bytes = sum(len(record.payload) for record in self._records)

    def announcement(self) -> Message:
        """Record 1 of the event stream: the catalogue."""
        payload = catalogue_event(self.catalogue, self.plan.start_ns)
        return pushed(
            Stream.EVENT, [chained(Stream.EVENT, 1, NO_HASH, payload, self.plan.start_ns)]
        )

    def live(self, sequence: int) -> Message:
        """One record alone."""
        return pushed(Stream.TELEMETRY, self._records[sequence - 1 : sequence])

    def history(self, first: int, stop: int, most_bytes: int) -> list[Message]:
        """Records [first, stop) marked historical, in messages of about so many bytes."""
        messages: list[Message] = []
        group: list[wire.Record] = []
        size = 0
        for record in self._records[first - 1 : stop - 1]:
            copy = wire.Record()
            copy.CopyFrom(record)
            copy.historical = True
            group.append(copy)
            size += len(record.payload) + 100
            if size >= most_bytes:
                messages.append(pushed(Stream.TELEMETRY, group))
                group, size = [], 0
        if group:
            messages.append(pushed(Stream.TELEMETRY, group))
        return messages

    def _encode(self, noise: np.random.Generator) -> Iterator[wire.Record]:
        count = self.plan.points
        ids = np.arange(1, count + 1, dtype=np.int32)
        quality = np.zeros(count, np.uint16)
        analog, onoff = int(count * 0.7), int(count * 0.15)
        values = np.round(noise.uniform(0, 100, count), 1)
        values[count - onoff :] = noise.integers(0, 2, onoff)
        encoder, previous, key = BlockEncoder(), NO_HASH, 1
        for sequence in range(1, self.plan.records + 1):
            values = values.copy()
            moved = noise.random(analog) < 0.5
            steps = noise.integers(-2, 3, analog) * 0.1
            values[:analog] = np.round(values[:analog] + moved * steps, 1)
            values[count - onoff :] = np.abs(values[count - onoff :] - (noise.random(onoff) < 0.01))
            is_key = (sequence - 1) % GROUP_RECORDS == 0
            key = sequence if is_key else key
            time_ns = self.plan.start_ns + sequence * SECOND_NS
            batch = ColumnBatch(ids, values, quality, time_ns, time_ns)
            payload = encoder.encode([batch], key=is_key, catalogue=self.catalogue.hash)
            record = chained(Stream.TELEMETRY, sequence, previous, payload, time_ns)
            record.group, record.samples = key, count
            record.catalogue = self.catalogue.hash if is_key else b""
            previous = record.hash
            yield record


def chained(
    stream: Stream, sequence: int, previous: bytes, payload: bytes, time_ns: int
) -> wire.Record:
    """One record with its hash."""
    return wire.Record(
        sequence=sequence,
        hash=chain_hash(previous, stream, sequence, payload),
        previous_hash=previous,
        crc32=zlib.crc32(payload),
        time_ns=time_ns,
        monotonic_ns=time_ns,
        synchronised=True,
        group=sequence,
        payload=payload,
        samples=1,
    )


def pushed(stream: Stream, records: list[wire.Record]) -> Message:
    """Several consecutive records as one message."""
    push = wire.Push(stream=wire.Stream.ValueType(int(stream)), records=records)
    for record in push.records[1:]:
        record.ClearField("previous_hash")
    encoded = wire.GatewayMessage(push=push).SerializeToString()
    return Message(records[0].sequence, records[-1].sequence + 1, encoded)

"""Puts records and files into the log, and follows each until it is durable or has failed.

Guarantees: whatever the buffer could not store is counted, whether or not anybody awaits its
receipt; evidence that finds no room costs one sentence on record, never an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from buffer.contract import Log, NotStoredError, Stream
from drivers.contract import Batch, Clock, SourceEvent
from gateway.model.event import event, evidence_attached_event
from gateway.wire.v1 import uplink_pb2 as wire

JPEG, PNG = "image/jpeg", "image/png"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
NO_STATE: Mapping[str, bytes] = {}


@dataclass(slots=True)
class FlowCounters:
    """What has flowed since start. Read by metrics, written by the flow only."""

    batches: int = 0
    values: int = 0
    bad_values: int = 0
    alarms_raised: int = 0
    alarms_returned: int = 0
    events: int = 0
    not_stored: int = 0

    def count(self, batch: Batch) -> None:
        """Count a batch of values."""
        self.batches += 1
        self.values += len(batch)
        self.bad_values += int(np.count_nonzero(batch.quality & 0x8000))


class Keeping:
    """The log as the flow uses it."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._under_way: set[asyncio.Future[int] | asyncio.Future[None]] = set()
        self.counters = FlowCounters()

    async def settled(self) -> None:
        """Wait until everything given so far is durable, or has failed."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    def batch(self, batch: Batch) -> asyncio.Future[None]:
        """Store a batch of values."""
        stored = self._log.add_batch(
            batch.points, batch.values, batch.quality, batch.source_time_ns, batch.gateway_time_ns
        )
        self._watch(stored)
        return stored

    def record(
        self,
        stream: Stream,
        payload: bytes,
        state: Mapping[str, bytes] = NO_STATE,
        keep: bytes | None = None,
    ) -> asyncio.Future[int]:
        """Store a record, state in the same transaction. keep: hash of a catalogue it announces."""
        stored = self._log.add_record(stream, payload, state=state or None, keep=keep)
        self._watch(stored)
        return stored

    def event(
        self, kind: str, source: str, text: str, attributes: Mapping[str, str],
        state: Mapping[str, bytes] = NO_STATE,
    ) -> asyncio.Future[int]:  # fmt: skip
        """Store an event of the gateway itself, of now."""
        self.counters.events += 1
        payload = event(kind, source, self._clock.wall_ns(), text, attributes)
        return self.record(Stream.EVENT, payload, state)

    def source_event(
        self, item: SourceEvent, state: Mapping[str, bytes] = NO_STATE
    ) -> asyncio.Future[int]:
        """Store an event of a source, without its picture."""
        self.counters.events += 1
        payload = event(item.kind, item.source, item.time_ns, item.text, item.attributes)
        return self.record(Stream.EVENT, payload, state)

    async def file(
        self, content: bytes, media_type: str, item: SourceEvent, alarm_id: bytes
    ) -> str:
        """Store evidence and tie it to an alarm; its SHA-256 in hex, empty if there is no room."""
        try:
            sha256 = await self._log.put_file(content)
        except NotStoredError as error:
            self.counters.not_stored += 1
            what = "picture" if media_type in {JPEG, PNG} else "file"
            text = f"A {what} of {item.source} could not be stored: {error}."
            self.event("evidence.not_stored", item.source, text, {"alarm_id": alarm_id.hex()})
            return ""
        size = len(content)
        file = wire.EvidenceFile(
            sha256=sha256,
            media_type=media_type,
            total_bytes=size,
            alarm_id=alarm_id,
            source=item.source,
            time_ns=item.time_ns,
        )
        self.record(Stream.EVIDENCE, file.SerializeToString(deterministic=True))
        self.counters.events += 1
        attached = evidence_attached_event(
            alarm_id, item.source, sha256, media_type, size, self._clock.wall_ns()
        )
        self.record(Stream.EVENT, attached)
        return sha256.hex()

    def _watch(self, stored: asyncio.Future[int] | asyncio.Future[None]) -> None:
        self._under_way.add(stored)
        stored.add_done_callback(self._settle)

    def _settle(self, stored: asyncio.Future[int] | asyncio.Future[None]) -> None:
        self._under_way.discard(stored)
        if not stored.cancelled() and isinstance(stored.exception(), NotStoredError):
            self.counters.not_stored += 1


def meant(item: SourceEvent) -> tuple[str, bytes]:
    """Media type of a source's file and the alarm it belongs to.

    A camera's process names both; pictures of others are JPEG or PNG, by their first bytes.
    """
    if not item.kind.startswith("vision."):
        return PNG if item.picture.startswith(PNG_MAGIC) else JPEG, b""
    media_type = str(item.attributes.get("media_type", JPEG))
    return media_type, bytes.fromhex(str(item.attributes.get("alarm_id", "")))

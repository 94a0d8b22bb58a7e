"""A gateway's data directory, read as a receiver's store is: the site sees the platform's score.

Here everything that is held has been received in the moment it was made; what was evicted or lost
shows as a gap, explained where a gap record says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from buffer.contract import Stream
from buffer.inspection import Inspection
from buffer.ranges import RangeSet
from gateway.receiver.check import VolatileEntry
from gateway.receiver.contract import (
    Log,
    PointNames,
    StoredFault,
    StoredGateway,
    StoredRecord,
    point_names,
)
from gateway.wire.v1 import uplink_pb2 as wire


class SiteReader:
    """The reading side of a receiver's contract, over one data directory. `close` it."""

    def __init__(self, folder: Path) -> None:
        """Open; raises BufferPathError if there is nothing to read."""
        self._inspection = Inspection(folder)

    def close(self) -> None:
        """Close; may be called twice."""
        self._inspection.close()

    def logs(self, gateway: str | None = None) -> list[Log]:
        """The one log that is there."""
        del gateway
        return [Log(0, "", self._inspection.log_id())]

    def records(self, log: Log, stream: Stream) -> Iterator[StoredRecord]:
        """Records held, in order of sequence."""
        del log
        held = self._inspection.held(stream)
        for record in self._inspection.records(stream, held.first, held.next - 1):
            yield StoredRecord(
                record.sequence, record.group, False, record.catalogue, record.time_ns,
                record.time_ns, record.samples, record.payload,
                record.monotonic_ns, record.boot_id, record.synchronised,
            )  # fmt: skip

    def points(self, catalogue: bytes) -> PointNames | None:
        """Names of a catalogue's points; None if the log does not hold it."""
        row_id = self._inspection.catalogues().get(catalogue)
        if row_id is None:
            return None
        event = wire.Event.FromString(self._inspection.event_payload(row_id))
        return point_names(event.catalogue.SerializeToString(deterministic=True))

    def faults(self, log: Log) -> list[StoredFault]:
        """A log notes none."""
        del log
        return []

    def gateway(self, log: Log) -> StoredGateway:
        """What is known of the gateway here: nothing that the log does not say."""
        del log
        return StoredGateway("", "", 0, b"")

    def acknowledged(self, log: Log, stream: Stream) -> RangeSet:
        """Sequences held."""
        del log
        held = self._inspection.held(stream)
        return RangeSet([(held.first, held.next)])

    def gaps(self, log: Log, stream: Stream) -> RangeSet:
        """Sequences declared gone without a record of it: none here."""
        del log, stream
        return RangeSet()

    def volatile(self, log: Log) -> list[VolatileEntry]:
        """What is in memory only is not in a data directory."""
        del log
        return []

    def attachments(self, gateway: str) -> dict[bytes, list[str]]:
        """Not asked for."""
        del gateway
        return {}

"""A gateway's data directory, read as a receiver's store is: the site sees the platform's score.

Here everything that is held has been received in the moment it was made; what was evicted or lost
shows as a gap, explained where a gap record says so. With a destination, what its receiver has not
acknowledged is a gap as well, as it is there. Nothing is said of what retention took before the
oldest record that is held; lateness at the platform is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from buffer.contract import BufferPathError, Record, Stream
from buffer.inspection import Inspection
from buffer.ranges import RangeSet
from gateway.receiver.check import VolatileEntry
from gateway.receiver.contract import (
    NEWEST,
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

    def __init__(self, folder: Path, destination: str | None = None) -> None:
        """Open; raises BufferPathError if there is nothing to read.

        destination: only what its receiver has acknowledged counts as there.
        """
        self._inspection = Inspection(folder)
        self._acknowledged: dict[Stream, RangeSet] | None = None
        if destination is not None:
            cursors = self._inspection.cursors()
            self._acknowledged = {
                one.stream: one.acknowledged for one in cursors if one.destination == destination
            }
            if not self._acknowledged:
                self.close()
                known = ", ".join(sorted({one.destination for one in cursors})) or "none"
                text = (
                    f"{folder} has sent nothing to a destination {destination!r} (there: {known})"
                )
                raise BufferPathError(text)

    def close(self) -> None:
        """Close; may be called twice."""
        self._inspection.close()

    def logs(self, gateway: str | None = None) -> list[Log]:
        """The one log that is there."""
        del gateway
        streams = [
            wire.StreamState(
                stream=wire.Stream.ValueType(int(stream)),
                next_sequence=self._inspection.held(stream).next,
            )
            for stream in Stream
        ]
        status = wire.Status(streams=streams).SerializeToString()
        return [Log(0, "", self._inspection.log_id(), status, held_only=True)]

    def records(
        self, log: Log, stream: Stream, first: int = 1, last: int = NEWEST
    ) -> Iterator[StoredRecord]:
        """Records held, in order of sequence."""
        del log
        held = self._inspection.held(stream)
        arrived = None if self._acknowledged is None else self._acknowledged.get(stream, RangeSet())
        for record in self._inspection.records(
            stream, max(first, held.first), min(last, held.next - 1)
        ):
            if arrived is None or record.sequence in arrived:
                yield _stored(record)

    def stamp(self, log: Log, stream: Stream, first: int) -> StoredRecord | None:
        """The first record at or after a sequence."""
        return next(self.records(log, stream, first), None)

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
        found = RangeSet([(held.first, held.next)])
        if self._acknowledged is not None:
            arrived = self._acknowledged.get(stream, RangeSet())
            for start, stop in arrived.missing(held.first, held.next):
                found.discard(start, stop)
        return found

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


def _stored(record: Record) -> StoredRecord:
    return StoredRecord(
        record.sequence, record.group, False, record.catalogue, record.time_ns, record.time_ns,
        record.samples, record.payload, record.monotonic_ns, record.boot_id, record.synchronised,
    )  # fmt: skip

"""True times of what is stored, by each gateway's anchor records. Nothing stored is changed.

Guarantees: anchors of a gateway count for all its logs, because a boot may outlive a log id; they
are read once, when the first record that was not synchronised is met.
"""

from __future__ import annotations

import numpy as np

from buffer.block import ColumnBatch
from buffer.contract import Stream
from gateway.model.clock import Anchors, Stamp, anchor_of, corrected_ns, corrected_times_ns
from gateway.receiver.contract import Log, Reader, StoredRecord
from gateway.wire.v1 import uplink_pb2 as wire


class Corrections:
    """Of one reader. as_recorded: leave every time as the gateway wrote it."""

    def __init__(self, reader: Reader, *, as_recorded: bool = False) -> None:
        self._reader = reader
        self._as_recorded = as_recorded
        self._anchors: dict[str, Anchors] = {}

    def shift_ns(self, log: Log, record: StoredRecord) -> int:
        """What is to be added to the gateway's wall-clock times in a record."""
        if record.synchronised or self._as_recorded:
            return 0
        anchors = self._anchors.get(log.gateway)
        if anchors is None:
            anchors = self._anchors[log.gateway] = read_anchors(self._reader, log.gateway)
        stamp = Stamp(record.boot_id, record.monotonic_ns, record.time_ns, record.synchronised)
        return anchors.shift_ns(stamp)

    def time_ns(self, log: Log, record: StoredRecord, said_ns: int = 0) -> int:
        """Time of a record, or a time that it speaks of (`said_ns`), corrected."""
        shift_ns = self.shift_ns(log, record)
        said_ns = said_ns or record.time_ns
        return corrected_ns(said_ns, record.time_ns, shift_ns) if shift_ns else said_ns


def read_anchors(reader: Reader, gateway: str) -> Anchors:
    """Every anchor that is stored of a gateway."""
    anchors = Anchors()
    for log in reader.logs(gateway):
        for record in reader.records(log, Stream.EVENT):
            anchor = anchor_of(wire.Event.FromString(record.payload))
            if anchor is not None:
                anchors.add(anchor)
    return anchors


def shifted(batch: ColumnBatch, shift_ns: int) -> ColumnBatch:
    """Shift a batch's times, but for those that a device's own clock gave."""
    times = batch.source_time_ns
    if isinstance(times, int):
        source: int | np.ndarray[tuple[int], np.dtype[np.int64]] = corrected_ns(
            times, batch.gateway_time_ns, shift_ns
        )
    else:
        source = corrected_times_ns(times, batch.gateway_time_ns, shift_ns)
    return ColumnBatch(
        batch.points, batch.values, batch.quality, source, batch.gateway_time_ns + shift_ns
    )


def corrected(batch: ColumnBatch, commit_ns: int, shifts_ns: tuple[int, int]) -> ColumnBatch:
    """Shift a batch by the shift of its record, or of the record before.

    A clock that was set between reading and commit leaves a batch with the old time in a record
    with the new one: the shift that brings it nearer to its own commit is the one it needs.
    """
    if shifts_ns == (0, 0):
        return batch
    own_ns = batch.gateway_time_ns
    true_ns = commit_ns + shifts_ns[0]
    shift_ns = min(shifts_ns, key=lambda one: abs(own_ns + one - true_ns))
    return shifted(batch, shift_ns) if shift_ns else batch

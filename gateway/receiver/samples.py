"""Stored telemetry records back into columns, with what cannot be read counted.

Times are corrected by the gateway's anchor records, where its clock was not right (corrections.py).
A group decodes from its key on, delta by delta. Records whose key, or a delta before them, is not
there (not yet, or evicted at the gateway before it could be sent) wait; they are counted and never
guessed at. A block that does not decode is counted apart: its bytes are those the gateway stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from buffer.block import BlockDecoder, BlockError, ColumnBatch
from buffer.contract import Stream
from gateway.receiver.contract import Log, PointNames, Reader, StoredRecord, told_twice
from gateway.receiver.corrections import Corrections, corrected


class Samples(NamedTuple):
    """One batch, the catalogue it speaks of and whether it came as history."""

    batch: ColumnBatch
    points: PointNames
    historical: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to keep: one point (all if empty), source times in [from_ns, to_ns).

    as_recorded: times as the gateway wrote them, also where its clock is known to have been wrong.
    """

    point: str = ""
    from_ns: int | None = None
    to_ns: int | None = None
    as_recorded: bool = False

    def ids(self, points: PointNames | None) -> npt.NDArray[np.int32]:
        """Ids of the wanted point in one catalogue; none if it is not there."""
        names = points.names.items() if points and self.point else ()
        return np.array([number for number, name in names if name == self.point], np.int32)

    def cut(self, batch: ColumnBatch, ids: npt.NDArray[np.int32]) -> ColumnBatch | None:
        """Return the part of a batch that is wanted: itself if all is, None if nothing is."""
        mask = np.ones(len(batch), np.bool_)
        if self.point:
            mask &= np.isin(batch.points, ids)
        if self.from_ns is not None:
            mask &= batch.source_time_ns >= self.from_ns
        if self.to_ns is not None:
            mask &= batch.source_time_ns < self.to_ns
        if mask.all():
            return batch
        return _select(batch, mask) if mask.any() else None


@dataclass(slots=True)
class Unread:
    """What could not be printed: records waiting for a record before them, damaged ones."""

    waiting: int = 0
    damaged: int = 0
    reasons: set[str] = field(default_factory=set)


def samples(
    reader: Reader,
    log: Log,
    wanted: Wanted,
    unread: Unread,
    sequences: tuple[int, int] = (1, 1 << 62),
) -> Iterator[Samples]:
    """Samples of one log in order of sequence; adds to `unread` what cannot be read.

    sequences: first and last (inclusive) record to read; it begins with the group of the first.
    Of a derived stream only what the log that it was made of does not say itself in this store.
    """
    decoder = BlockDecoder()
    corrections = Corrections(reader, as_recorded=wanted.as_recorded)
    shift_ns = 0
    catalogues: dict[bytes, tuple[PointNames | None, npt.NDArray[np.int32]]] = {}
    ids = np.empty(0, np.int32)
    points: PointNames | None = None
    told = told_twice(reader, log, Stream.TELEMETRY)
    following = 0  # sequence that continues what the decoder holds; 0 for none
    for record in _from_key(reader, log, sequences):
        is_key = record.sequence == record.group
        if is_key:
            if record.catalogue not in catalogues:
                found = reader.points(record.catalogue)
                catalogues[record.catalogue] = found, wanted.ids(found)
            points, ids = catalogues[record.catalogue]
        elif record.first != following:
            unread.waiting += 1
            following = 0
            continue
        following = record.sequence + 1
        if points is None or (wanted.point and not len(ids)):
            unread.waiting += points is None
            continue
        batches = _decode(decoder, record, unread)
        if batches is None:
            following = 0
            continue
        if told and not told.missing(record.first, record.sequence + 1):
            continue  # the log that it was made of is here, and printed
        before_ns, shift_ns = shift_ns, corrections.shift_ns(log, record)
        shifts_ns = (shift_ns, before_ns)
        for batch in batches:
            part = wanted.cut(corrected(batch, record.time_ns, shifts_ns), ids)
            if part is not None:
                yield Samples(part, points, record.historical)


def _from_key(reader: Reader, log: Log, sequences: tuple[int, int]) -> Iterator[StoredRecord]:
    first, last = sequences
    begins = reader.stamp(log, Stream.TELEMETRY, first) if first > 1 else None
    first = first if begins is None else begins.group
    return reader.records(log, Stream.TELEMETRY, first, last)


def _decode(
    decoder: BlockDecoder, record: StoredRecord, unread: Unread
) -> list[ColumnBatch] | None:
    try:
        return decoder.feed(record.payload)
    except BlockError as error:
        unread.damaged += 1
        unread.reasons.add(str(error))
        return None


def _select(batch: ColumnBatch, mask: npt.NDArray[np.bool_]) -> ColumnBatch:
    values, times = batch.values, batch.source_time_ns
    return ColumnBatch(
        batch.points[mask],
        tuple(value for value, keep in zip(values, mask.tolist(), strict=True) if keep)
        if isinstance(values, tuple)
        else values[mask],
        batch.quality[mask],
        times if isinstance(times, int) else times[mask],
        batch.gateway_time_ns,
    )

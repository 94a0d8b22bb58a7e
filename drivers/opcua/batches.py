"""Makes Batches of decoded columns: client handles become catalogue ids. Pure.

Guarantees: at most one Batch per kind and notification; a set of points that repeats is the same
array object, so that later stages plan once; batches are numbered without gaps from 0.

A client handle is the place of the point in the list given at start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from drivers.contract import Batch, DriverPoint, Int32Array, Quality, ValueKind, Values
from drivers.opcua.codec import Column, DataChange
from drivers.opcua.config import OpcUaAddress
from drivers.opcua.convert import blank

_REMEMBERED_SETS = 32  # a server that splits notifications repeats a few sets in turn


class BatchMaker:
    """Holds what all batches of one device share."""

    def __init__(
        self, points: Sequence[DriverPoint[OpcUaAddress]], *, stamp_here: bool = False
    ) -> None:
        """stamp_here: samples carry the gateway's time, since the server's is not to be trusted."""
        self._stamp_here = stamp_here
        self.kinds = np.array([int(point.address.kind()) for point in points], np.uint8)
        self._ids = np.array([point.id for point in points], np.int32)
        self._sets: OrderedDict[bytes, Int32Array] = OrderedDict()
        self._sequence = 0

    def of_change(self, change: DataChange, now_ns: int) -> list[Batch]:
        """One batch per column. now_ns: gateway wall clock of reception."""
        return [self.of_column(column, now_ns) for column in change.columns]

    def of_quality(
        self, handles: npt.NDArray[np.uint32], quality: npt.NDArray[np.uint16], now_ns: int
    ) -> list[Batch]:
        """Batches without values: points that are bad, for a reason of their own each."""
        batches = []
        for kind in ValueKind:
            chosen = self.kinds[handles] == kind
            if chosen.any():
                count = int(np.count_nonzero(chosen))
                empty = blank(kind, count)
                values: Values = tuple(empty.tolist()) if kind is ValueKind.TEXT else empty
                batches.append(
                    self._batch(handles[chosen], values, quality[chosen], now_ns, now_ns)
                )
        return batches

    def all_bad(self, quality: Quality, now_ns: int) -> list[Batch]:
        """Give every point the same bad quality, once."""
        handles = np.arange(len(self._ids), dtype=np.uint32)
        return self.of_quality(handles, np.full(len(handles), quality, np.uint16), now_ns)

    def of_column(self, column: Column, now_ns: int, *, is_history: bool = False) -> Batch:
        """One batch. now_ns as above; is_history: it was read back."""
        return self._batch(
            column.handles,
            column.values,
            column.quality,
            now_ns if self._stamp_here else column.source_time_ns,
            now_ns,
            is_history=is_history,
        )

    def _batch(
        self,
        handles: npt.NDArray[np.uint32],
        values: Values,
        quality: npt.NDArray[np.uint16],
        source_time_ns: npt.NDArray[np.int64] | int,
        now_ns: int,
        *,
        is_history: bool = False,
    ) -> Batch:
        batch = Batch(
            self._points(handles), values, quality, source_time_ns, now_ns, self._sequence,
            is_history,
        )  # fmt: skip
        self._sequence += 1
        return batch

    def _points(self, handles: npt.NDArray[np.uint32]) -> Int32Array:
        key = handles.tobytes()
        points = self._sets.get(key)
        if points is None:
            points = self._sets[key] = self._ids[handles]
            points.setflags(write=False)
            if len(self._sets) > _REMEMBERED_SETS:
                self._sets.popitem(last=False)
        else:
            self._sets.move_to_end(key)
        return points


__all__ = ["BatchMaker"]

"""Latest value of every point, for people who look.

Guarantees: a batch costs one dict entry until somebody asks, or until MOST_WAITING arrays of points
wait; then it goes into arrays by point id. Integers keep every bit. Memory: 21 bytes a point, and
the newest batch of each array of points. Batches must come in order. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from drivers.contract import Batch, ValueKind

MOST_WAITING = 256
_UNSEEN = 255


class Latest(NamedTuple):
    """Newest value of a point, in engineering units; quality as in drivers/contract.py."""

    value: float | int | str
    quality: int
    source_time_ns: int


class LatestValues:
    """Table of the newest values."""

    def __init__(self) -> None:
        self._waiting: dict[int, Batch] = {}  # by identity of the array of points, oldest first
        self._bits = np.zeros(0, np.int64)
        self._kinds = np.zeros(0, np.uint8)
        self._quality = np.zeros(0, np.uint16)
        self._times = np.zeros(0, np.int64)
        self._texts: dict[int, str] = {}

    def feed(self, batch: Batch) -> None:
        """Take a batch; a newer one of the same array of points takes its place."""
        waiting = self._waiting
        key = id(batch.points)  # the batch that waits holds the array, so no other has this id
        waiting.pop(key, None)
        waiting[key] = batch
        if len(waiting) > MOST_WAITING:
            self._fold()

    def of(self, points: Sequence[int]) -> list[Latest | None]:
        """Newest values of points by id; None for one that was never seen."""
        self._fold()
        return [self._one(point) for point in points]

    def _one(self, point: int) -> Latest | None:
        if not 0 <= point < len(self._kinds) or self._kinds[point] == _UNSEEN:
            return None
        kind, value = int(self._kinds[point]), self._bits[point : point + 1]
        found: float | int | str
        match kind:
            case ValueKind.TEXT:
                found = self._texts[point]
            case ValueKind.FLOAT:
                found = float(value.view(np.float64)[0])
            case ValueKind.UINT:
                found = int(value.view(np.uint64)[0])
            case _:
                found = int(value[0])
        return Latest(found, int(self._quality[point]), int(self._times[point]))

    def _fold(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for batch in waiting.values():
            if len(batch):
                self._put(batch)

    def _put(self, batch: Batch) -> None:
        points, values = batch.points, batch.values
        self._grow(int(points.max()) + 1)
        if isinstance(values, tuple):
            self._kinds[points] = ValueKind.TEXT
            self._texts.update(zip(points.tolist(), values, strict=True))
        else:
            kinds = {"f": ValueKind.FLOAT, "i": ValueKind.INT, "u": ValueKind.UINT}
            self._kinds[points] = kinds[values.dtype.kind]
            self._bits[points] = values.view(np.int64)  # of one that is named twice the last stays
        self._quality[points] = batch.quality
        self._times[points] = batch.source_time_ns

    def _grow(self, size: int) -> None:
        more = size - len(self._kinds)
        if more <= 0:
            return
        more = max(more, len(self._kinds))
        self._bits = np.concatenate((self._bits, np.zeros(more, np.int64)))
        self._kinds = np.concatenate((self._kinds, np.full(more, _UNSEEN, np.uint8)))
        self._quality = np.concatenate((self._quality, np.zeros(more, np.uint16)))
        self._times = np.concatenate((self._times, np.zeros(more, np.int64)))

"""Says for a source that its values are lost, where it fails without saying so itself.

Guarantees: a driver says so before its DeviceError (drivers/contract.py); one that ends in any
other way, by a fault of ours or by returning, leaves no value behind that looks as if it were still
true: every point that it ever gave is given once more, bad. What it gave is kept as a bit a point.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np
import numpy.typing as npt

from drivers.contract import Batch, Clock, DeviceError, Emit, Quality, Receipt, SourceEvent, Values

_MOST_KNOWN = 256
"""Arrays of points that are known by themselves; a source that makes new ones has no use for it."""
_TEXT = "t"


class LastWord:
    """One source, run after run."""

    def __init__(self, run: Callable[[Emit], Awaitable[None]], accept: Emit, clock: Clock) -> None:
        self._run = run
        self._accept = accept
        self._clock = clock
        self._given: dict[str, npt.NDArray[np.bool_]] = {}  # by kind of column, by point id
        self._known: dict[int, npt.NDArray[np.int32]] = {}

    async def run(self) -> None:
        """Run the source once; raises what it raises."""
        try:
            await self._run(self._emit)
        except DeviceError:
            raise
        except Exception:  # a fault of ours says its last word too; it is raised on
            await self._say()
            raise
        await self._say()

    async def _emit(self, item: Batch | SourceEvent) -> Receipt:
        if isinstance(item, Batch) and id(item.points) not in self._known:
            self._note(item)
        return await self._accept(item)

    def _note(self, batch: Batch) -> None:
        points = batch.points
        if not len(points):
            return
        if len(self._known) < _MOST_KNOWN:
            self._known[id(points)] = points  # held, so that no other array gets its id
        kind = _TEXT if isinstance(batch.values, tuple) else batch.values.dtype.kind
        given = self._given.get(kind, np.zeros(0, np.bool_))
        missing = int(points.max()) + 1 - len(given)
        if missing > 0:
            given = np.concatenate((given, np.zeros(missing, np.bool_)))
        given[points] = True
        self._given[kind] = given

    async def _say(self) -> None:
        now_ns = self._clock.wall_ns()
        for kind, given in self._given.items():
            points = np.flatnonzero(given).astype(np.int32)
            count = len(points)
            bad = np.full(count, Quality.BAD, np.uint16)
            await self._accept(Batch(points, _nothing(kind, count), bad, now_ns, now_ns, 0))


def _nothing(kind: str, count: int) -> Values:
    """A column without values."""
    if kind == _TEXT:
        return ("",) * count
    if kind == "f":
        return np.full(count, np.nan)
    return np.zeros(count, np.int64) if kind == "i" else np.zeros(count, np.uint64)

"""Where the parts of a driver hand over columns and events: one counter of batches for all units.

Guarantees: batches are numbered without gaps from 0 over the life of the driver, whichever unit
they come from; every event names the device and the wall-clock time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from drivers.contract import Batch, Clock, Emit, Receipt, SourceEvent
from drivers.modbus.decode import Column

Attributes = Mapping[str, str | int | float | bool]


class Outlet:
    """The emit of the present run, with what every item needs. `open` at the start of each run."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._emit: Emit = _closed
        self._sequence = 0

    def open(self, emit: Emit) -> None:
        """Hand over to `emit` from now on."""
        self._emit = emit

    def columns(self, columns: Sequence[Column]) -> Awaitable[object]:
        """Emit by `await`, at once, each column as a Batch received now.

        A Modbus device has no clock of its own.
        """
        now_ns = self._clock.wall_ns()
        if len(columns) == 1:
            return self._emit(self._batch(columns[0], now_ns))
        return self._each([self._batch(column, now_ns) for column in columns])

    def _batch(self, column: Column, now_ns: int) -> Batch:
        points, values, quality = column
        sequence = self._sequence
        self._sequence = sequence + 1
        return Batch(points, values, quality, now_ns, now_ns, sequence)

    async def _each(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            await self._emit(batch)

    async def say(self, kind: str, text: str, attributes: Attributes | None = None) -> None:
        """Emit an event of this device."""
        now_ns = self._clock.wall_ns()
        await self._emit(SourceEvent(kind, self.name, now_ns, text, attributes or {}))


async def _closed(item: Batch | SourceEvent) -> Receipt:
    raise AssertionError(f"{item} before open(), which comes first in run()")

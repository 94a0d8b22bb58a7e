"""Where the parts of a driver hand over columns and events: one counter of batches for all units.

Guarantees: batches are numbered without gaps from 0 over the life of the driver, whichever unit
they come from; every event names the device and the wall-clock time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from drivers.contract import Batch, Clock, Emit, SourceEvent
from drivers.modbus.decode import Column
from drivers.modbus.text import Texts

Attributes = Mapping[str, str | int | float | bool]


class Outlet:
    """The emit of the present run, with what every item needs. `open` at the start of each run."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._emit: Emit | None = None
        self._sequence = 0

    def open(self, emit: Emit) -> None:
        """Hand over to `emit` from now on."""
        self._emit = emit

    async def columns(self, columns: Iterable[Column | Texts]) -> None:
        """Emit each column as a Batch received now; a Modbus device has no clock of its own."""
        assert self._emit is not None  # noqa: S101  # open() comes first in run()
        now_ns = self._clock.wall_ns()
        for points, values, quality in columns:
            batch = Batch(points, values, quality, now_ns, now_ns, self._sequence)
            self._sequence += 1
            await self._emit(batch)

    async def say(self, kind: str, text: str, attributes: Attributes | None = None) -> None:
        """Emit an event of this device."""
        assert self._emit is not None  # noqa: S101  # open() comes first in run()
        now_ns = self._clock.wall_ns()
        await self._emit(SourceEvent(kind, self.name, now_ns, text, attributes or {}))

"""Where the sources of the suite emit into: keeps what comes, and can make it wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from drivers.contract import SEVERITY_MASK, Batch, Receipt, SourceEvent

LONGEST_S = 120.0  # a bound against hanging, never an expectation


@dataclass
class Inlet:
    """The Emit of one run after another: keeps what comes, and can make it wait."""

    items: list[Batch | SourceEvent] = field(default_factory=list)
    waiting: int = 0
    most_waiting: int = 0
    calls: int = 0
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._open.set()

    async def __call__(self, item: Batch | SourceEvent) -> Receipt:
        self.calls += 1
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        self._changed.set()
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1
        self.items.append(item)
        self._changed.set()
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        receipt.set_result(None)
        return receipt

    @property
    def batches(self) -> list[Batch]:
        return [item for item in self.items if isinstance(item, Batch)]

    def close(self) -> None:
        """From now on every call waits."""
        self._open.clear()

    def open(self) -> None:
        """Let those who wait go on."""
        self._open.set()

    def good(self, since: int = 0) -> int:
        """Count of good samples in the batches from number `since` on."""
        return sum(
            int(np.count_nonzero(b.quality & SEVERITY_MASK == 0)) for b in self.batches[since:]
        )

    def bad(self, since: int = 0) -> list[int]:
        """Points with bad samples from batch `since` on, once for each sample."""
        found: list[int] = []
        for one in self.batches[since:]:
            found += one.points[one.quality & 0x8000 != 0].tolist()
        return sorted(found)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something emitted makes the condition true."""
        async with asyncio.timeout(LONGEST_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_waiting(self) -> None:
        """Wait until a call waits."""
        await self.until(lambda: self.waiting > 0)

    def good_values(self, point: int) -> list[float]:
        """Good values of a point, in the order in which they came."""
        found: list[float] = []
        for batch in self.batches:
            for at in np.flatnonzero((batch.points == point) & (batch.quality == 0)).tolist():
                found.append(float(batch.values[at]))
        return found

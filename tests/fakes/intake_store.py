"""What a driver emits into, for tests of intakes: receipts that are held, released or failed."""

from __future__ import annotations

import asyncio

import numpy as np

from drivers.contract import Batch, Receipt, SourceEvent


class StoreError(Exception):
    """A record could not be stored."""


class IntakeStore:
    """Takes items as the pipeline does. held: receipts stay open until `release`.

    fail_next: that many receipts, of what comes next, fail.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.items: list[Batch | SourceEvent] = []
        self.fail_next = 0
        self.held = held
        self._open: list[asyncio.Future[None]] = []
        self._failed: set[int] = set()

    async def emit(self, item: Batch | SourceEvent) -> Receipt:
        """Take one item."""
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.fail_next and isinstance(item, SourceEvent):
            self.fail_next -= 1
            self._failed.add(len(self.items))
            receipt.set_exception(StoreError("the disk is full"))
            receipt.exception()
        elif self.held:
            self._open.append(receipt)
        else:
            receipt.set_result(None)
        self.items.append(item)
        return receipt

    def release(self) -> None:
        """Complete all open receipts, and hold no more."""
        self.held = False
        for receipt in self._open:
            if not receipt.done():
                receipt.set_result(None)
        self._open.clear()

    @property
    def batches(self) -> list[Batch]:
        """Batches so far."""
        return [item for item in self.items if isinstance(item, Batch)]

    def events(self, kind: str = "") -> list[SourceEvent]:
        """Events so far, of one kind or all."""
        return [e for e in self.items if isinstance(e, SourceEvent) and kind in {"", e.kind}]

    def durable_events(self, kind: str) -> list[SourceEvent]:
        """Events of a kind whose receipt did not fail."""
        return [
            item
            for number, item in enumerate(self.items)
            if isinstance(item, SourceEvent) and item.kind == kind and number not in self._failed
        ]

    def last_value(self, point: int) -> tuple[float, int]:
        """Newest value and quality of a point; NaN and -1 before the first."""
        for batch in reversed(self.batches):
            found = np.flatnonzero(batch.points == point)
            if len(found):
                index = int(found[-1])
                return float(batch.values[index]), int(batch.quality[index])
        return float("nan"), -1


class ManualClock:
    """A clock that a test moves."""

    def __init__(self, wall_ns: int = 1_777_593_600_000_000_000) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = 0
        self._moved = asyncio.Event()

    def wall_ns(self) -> int:
        """Wall-clock time."""
        return self._wall_ns

    def monotonic_ns(self) -> int:
        """Monotonic time."""
        return self._monotonic_ns

    async def sleep_until(self, monotonic_ns: int) -> None:
        """Wait until the test has moved the clock there."""
        while self._monotonic_ns < monotonic_ns:
            await self._moved.wait()

    async def advance_s(self, seconds: float) -> None:
        """Move the clock and let sleepers run."""
        await asyncio.sleep(0)
        self._monotonic_ns += round(seconds * 1e9)
        self._wall_ns += round(seconds * 1e9)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for _ in range(5):
            await asyncio.sleep(0)

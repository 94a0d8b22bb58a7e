"""How much waits for the writers, and who waits until it is less; on the event loop."""

from __future__ import annotations

import asyncio

REFUSE_FACTOR = 4
"""Above this many times the bound a batch is refused, with a gap of cause overload."""


class Room:
    """Raw bytes queued for the writers, against their bound."""

    def __init__(self, bound_bytes: int) -> None:
        self._bound_bytes = bound_bytes
        self._queued_bytes = 0
        self._is_there = asyncio.Event()
        self._is_there.set()

    @property
    def is_out(self) -> bool:
        """Whether a batch must be refused."""
        return self._queued_bytes > REFUSE_FACTOR * self._bound_bytes

    def take(self, count: int) -> None:
        """Bytes were queued."""
        self._queued_bytes += count
        if self._queued_bytes > self._bound_bytes:
            self._is_there.clear()

    def release(self, count: int) -> None:
        """Bytes are stored, or given up."""
        self._queued_bytes -= count
        if self._queued_bytes <= self._bound_bytes:
            self._is_there.set()

    async def wait(self) -> None:
        """Wait until the queues are below their bound."""
        await self._is_there.wait()

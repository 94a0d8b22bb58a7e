"""Notifications handed to the buffer, in order, until each is on disk and may be acknowledged.

Guarantees: a sequence number becomes due for acknowledgement, and the state moves on, only after
the receipts of all its batches have completed; nothing that waits is lost when a session ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.contract import Receipt
from drivers.opcua.codec import Column
from drivers.opcua.device import Counters
from drivers.opcua.state import State


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One notification: subscription 0 for what was not published (read, history)."""

    subscription: int
    sequence: int
    receipts: Sequence[Receipt]
    columns: Sequence[Column]


class Ledger:
    """See the module; it outlives sessions."""

    def __init__(self, state: State, counters: Counters) -> None:
        self._state = state
        self._counters = counters
        self._entries: deque[Entry] = deque()
        self._fresh = asyncio.Event()
        self.due: list[tuple[int, int]] = []
        """(subscription, sequence) to acknowledge with the next publish request."""

    def add(self, entry: Entry) -> None:
        """Take a notification whose batches have been emitted."""
        self._entries.append(entry)
        self._fresh.set()

    async def run(self) -> None:
        """Settle for ever."""
        while True:
            await self.settle()
            self._fresh.clear()
            await self._fresh.wait()

    async def settle(self) -> None:
        """Wait until everything handed over so far is on disk, or could not be stored."""
        while self._entries:
            entry = self._entries[0]
            stored = await _stored(entry.receipts)
            if not self._entries or self._entries[0] is not entry:
                continue  # another waiter was here first
            self._entries.popleft()
            if stored:
                self._take(entry)
            else:
                self._counters.not_stored += 1

    def _take(self, entry: Entry) -> None:
        for column in entry.columns:
            self._state.source_ns[column.handles] = column.source_time_ns
        if entry.subscription:
            self._state.stored(entry.subscription, entry.sequence)
            self.due.append((entry.subscription, entry.sequence))


async def _stored(receipts: Sequence[Receipt]) -> bool:
    stored = True
    for receipt in receipts:
        if isinstance(receipt, asyncio.Future):
            await asyncio.wait([receipt])
            stored &= not receipt.cancelled() and receipt.exception() is None
        else:
            await receipt
    return stored


__all__ = ["Entry", "Ledger"]

"""Batches that wait for their common commit, on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from buffer.jobs import PendingBatch, Store
from buffer.policy import CommitPolicy


class Collecting:
    """Hands batches to `store` in one piece, when the policy or `wait_ms` says so."""

    def __init__(self, policy: CommitPolicy, wait_ms: int, store: Callable[[Store], None]) -> None:
        self._policy = policy
        self._wait_ms = wait_ms
        self._store = store
        self._waiting: list[PendingBatch] = []
        self._timer: asyncio.TimerHandle | None = None
        self._key = False

    def add(self, pending: PendingBatch, now_ns: int) -> None:
        """Take a batch; `now_ns` is monotonic."""
        self._waiting.append(pending)
        if self._policy.add(len(pending.batch.points), now_ns):
            self.flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._wait_ms / 1e3, self.flush)

    def force_key(self) -> None:
        """Make the next record a key."""
        self._key = True

    def flush(self) -> None:
        """Hand over what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._policy.taken()
        if self._waiting:
            self._store(Store(self._waiting, self._key))
            self._waiting = []
            self._key = False

"""Alarms that are not durable yet, and when that has lasted so long that they go out all the same.

Pure. Guarantees: an alarm is told once, as soon as storing it has failed, at once where storing
fails already, else when it has waited `patience_ns`; one that became durable before is never told.
What was told stays listed until it is durable. At most `most` alarms are remembered: beyond that
the oldest is forgotten here, though the writer may still hold it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass

from buffer.contract import VolatileRecord

PATIENCE_NS = 1_000_000_000
"""How long an alarm may wait for its commit: a disk that takes longer is not one to wait for."""
MOST = 10_000
"""As many alarms as the largest flood of one site that is planned for."""


@dataclass(slots=True)
class _Waiting:
    payload: bytes
    time_ns: int
    monotonic_ns: int
    told: VolatileRecord | None = None


class VolatileAlarms:
    """Alarms under way to the disk, by a token of the caller's."""

    def __init__(self, *, patience_ns: int = PATIENCE_NS, most: int = MOST) -> None:
        self._patience_ns = patience_ns
        self._most = most
        self._waiting: dict[Hashable, _Waiting] = {}

    def given(
        self, token: Hashable, payload: bytes, *, time_ns: int, now_ns: int, failing: bool
    ) -> list[VolatileRecord]:
        """Take an alarm that was queued for the disk; it is to be told if that fails already."""
        if len(self._waiting) >= self._most:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[token] = _Waiting(payload, time_ns, now_ns)
        return self.failed(token) if failing else []

    def durable(self, token: Hashable) -> VolatileRecord | None:
        """Take that one is on disk; gives what had been told of it."""
        waiting = self._waiting.pop(token, None)
        return waiting.told if waiting is not None else None

    def failed(self, token: Hashable) -> list[VolatileRecord]:
        """Take that one could not be stored: it is to be told, unless it was."""
        waiting = self._waiting.get(token)
        return [self._tell(waiting)] if waiting is not None and waiting.told is None else []

    def forget(self, token: Hashable) -> None:
        """Take that one will never be stored; its loss is counted elsewhere."""
        self._waiting.pop(token, None)

    def tick(self, now_ns: int) -> list[VolatileRecord]:
        """Give those that have waited too long."""
        due_ns = now_ns - self._patience_ns
        return [
            self._tell(one)
            for one in self._waiting.values()
            if one.told is None and one.monotonic_ns <= due_ns
        ]

    def next_deadline_ns(self) -> int | None:
        """When `tick` has something to do; None if nothing waits untold."""
        untold = (one.monotonic_ns for one in self._waiting.values() if one.told is None)
        first_ns = next(untold, None)  # given in order
        return None if first_ns is None else first_ns + self._patience_ns

    def told(self) -> list[VolatileRecord]:
        """Everything that was told and is not durable yet, oldest first."""
        return [one.told for one in self._waiting.values() if one.told is not None]

    def _tell(self, waiting: _Waiting) -> VolatileRecord:
        key = hashlib.sha256(waiting.payload).digest()
        waiting.told = VolatileRecord(key, waiting.payload, waiting.time_ns, waiting.monotonic_ns)
        return waiting.told

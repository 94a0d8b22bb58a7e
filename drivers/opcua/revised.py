"""Finds out where a server samples more slowly, or keeps fewer values, than it was asked to. Pure.

Guarantees: what only rounds, or loses nothing, is not told; a queue of one counts, since a server
marks no overflow of it (OPC 10000-4, 7.21).
"""

from __future__ import annotations

_SLOWER = 1.5  # times what was asked; less is rounding


class Revisions:
    """Of one device. slower, shorter: handles of new ones since last told, by what was granted.

    slowest_ms: sampling interval of the slowest item so far, or what is asked if that is slower.
    """

    def __init__(self, sampling_ms: float, queue_size: int) -> None:
        """Know what is asked of every item."""
        self.sampling_ms = self.slowest_ms = sampling_ms
        self._queue_size = queue_size
        self._told: dict[int, float] = {}
        self.slower: dict[int, float] = {}
        self.shorter: dict[int, int] = {}

    def feed(self, handle: int, sampling_ms: float, queue_size: int, publishing_ms: float) -> None:
        """Take what a server has made of an item; publishing_ms: of its subscription."""
        self.slowest_ms = max(self.slowest_ms, sampling_ms)
        slow = sampling_ms > _SLOWER * self.sampling_ms
        short = 0 < queue_size < self._queue_size
        short &= queue_size * max(sampling_ms, 1.0) * _SLOWER < publishing_ms
        if not (slow or short):
            self._told.pop(handle, None)
        elif self._told.get(handle) != sampling_ms:
            self._told[handle] = sampling_ms
            if slow:
                self.slower[handle] = sampling_ms
            if short:
                self.shorter[handle] = queue_size

    def take(self) -> tuple[dict[int, float], dict[int, int]]:
        """Give what is to be told, once."""
        found = self.slower, self.shorter
        self.slower, self.shorter = {}, {}
        return found


__all__ = ["Revisions"]

"""Which points have been silent for too long. Pure: monotonic time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Freshness:
    """Silence of points; each is told once per silence.

    stale_ns: 0 tells never.
    """

    def __init__(self, points: Sequence[int], stale_ns: int, now_ns: int) -> None:
        self._stale_ns = stale_ns
        self._since: dict[int, int] = dict.fromkeys(points, now_ns)
        self._told: set[int] = set()

    def feed(self, points: Iterable[int], now_ns: int) -> None:
        """Note that these points had a sample."""
        for point in points:
            self._since.pop(point, None)  # the dictionary stays in order of silence
            self._since[point] = now_ns
            self._told.discard(point)

    def tick(self, now_ns: int) -> list[int]:
        """Points that have become stale since the last call."""
        if not self._stale_ns:
            return []
        stale: list[int] = []
        for point, since in self._since.items():
            if since + self._stale_ns > now_ns:
                break
            if point not in self._told:
                stale.append(point)
        self._told.update(stale)
        return stale

    def next_deadline_ns(self) -> int | None:
        """When the next point may become stale; None if none can."""
        if not self._stale_ns:
            return None
        waits = (since for point, since in self._since.items() if point not in self._told)
        oldest = next(waits, None)
        return None if oldest is None else oldest + self._stale_ns


__all__ = ["Freshness"]

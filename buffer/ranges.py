"""RangeSet: a set of unsigned integers as sorted, disjoint, non-adjacent half-open ranges.

Pure. Serves the cursors of the buffer, the uplink session and the receiver's deduplication.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class RangeSet:
    """Set of integers kept as ranges [start, stop). Adding in order is O(1) amortised."""

    __slots__ = ("_starts", "_stops")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges:
            self.add(start, stop)

    def add(self, start: int, stop: int | None = None) -> None:
        """Add [start, stop); `stop` left out adds the single integer `start`."""
        stop = start + 1 if stop is None else stop
        if stop <= start:
            return
        if not self._stops or start > self._stops[-1]:
            self._starts.append(start)
            self._stops.append(stop)
            return
        left = bisect_left(self._stops, start)
        right = bisect_right(self._starts, stop)
        if left < right:
            start = min(start, self._starts[left])
            stop = max(stop, self._stops[right - 1])
        self._starts[left:right] = [start]
        self._stops[left:right] = [stop]

    def update(self, other: RangeSet) -> None:
        """Add every range of `other`."""
        for start, stop in other:
            self.add(start, stop)

    def discard(self, start: int, stop: int) -> None:
        """Remove [start, stop)."""
        if stop <= start:
            return
        left = bisect_right(self._stops, start)
        right = bisect_left(self._starts, stop)
        if left >= right:
            return
        pieces = ((self._starts[left], start), (stop, self._stops[right - 1]))
        kept = [piece for piece in pieces if piece[0] < piece[1]]
        self._starts[left:right] = [low for low, _ in kept]
        self._stops[left:right] = [high for _, high in kept]

    def missing(self, start: int, stop: int) -> RangeSet:
        """Return the part of [start, stop) that is not in the set."""
        gaps = RangeSet()
        left = bisect_right(self._stops, start)
        right = bisect_left(self._starts, stop)
        for low, high in zip(self._starts[left:right], self._stops[left:right], strict=True):
            gaps.add(start, low)
            start = high
        gaps.add(start, stop)
        return gaps

    def contiguous_stop(self, start: int) -> int:
        """One past the last integer of the unbroken run from `start`; `start` if it is absent."""
        index = bisect_right(self._starts, start) - 1
        return self._stops[index] if index >= 0 and self._stops[index] > start else start

    def copy(self) -> RangeSet:
        """Return an independent copy."""
        return RangeSet(self)

    def __contains__(self, item: int) -> bool:
        """Tell whether one integer is in the set."""
        return self.contiguous_stop(item) > item

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Iterate over (start, stop) pairs in order."""
        return iter(list(zip(self._starts, self._stops, strict=True)))

    def __len__(self) -> int:
        """Count of integers, not of ranges."""
        return sum(self._stops) - sum(self._starts)

    def __bool__(self) -> bool:
        """Tell whether anything is in the set."""
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        """Compare as sets."""
        return (
            isinstance(other, RangeSet)
            and self._starts == other._starts
            and self._stops == other._stops
        )

    __hash__ = None  # type: ignore[assignment]  # mutable, so unhashable, as list is

    def __repr__(self) -> str:
        """Show as RangeSet([(1, 4), ...])."""
        return f"RangeSet({list(self)})"

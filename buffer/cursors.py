"""What each destination has acknowledged, and what of each stream some destination still lacks.

Lives on the event loop. `unsent` alone is read by the writer threads: it is replaced item by item.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

from buffer.contract import Stream
from buffer.ranges import RangeSet

Key = tuple[str, Stream]
SAVE_DELAY_S = 1.0


class Cursors:
    """Cursors under the present log id. first(stream) gives the oldest sequence held."""

    def __init__(self, known: Mapping[Key, RangeSet], first: Callable[[Stream], int]) -> None:
        self._known = dict(known)
        self._first = first
        self._destinations: Mapping[str, Collection[Stream]] | None = None
        self._dirty: set[Key] = set()
        self.unsent: dict[Stream, int] = {}
        self._count()

    def get(self, destination: str, stream: Stream) -> RangeSet:
        """Ranges acknowledged (a copy)."""
        return self._known.get((destination, stream), RangeSet()).copy()

    def add(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Add ranges that are acknowledged."""
        self._known.setdefault((destination, stream), RangeSet()).update(ranges)
        self._changed(destination, stream)

    def replace(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Set a cursor."""
        self._known[destination, stream] = ranges.copy()
        self._changed(destination, stream)

    def set_destinations(self, destinations: Mapping[str, Collection[Stream]]) -> None:
        """Name all destinations and the streams each is sent; other cursors count no more."""
        self._destinations = destinations
        self._count()

    def clear(self) -> dict[Stream, int]:
        """Begin under a new log id; gives, per stream with a cursor, the first not acknowledged."""
        carry: dict[Stream, int] = {}
        for (_, stream), ranges in self._known.items():
            stop = ranges.contiguous_stop(1)
            carry[stream] = min(carry.get(stream, stop), stop)
        self._known.clear()
        self._dirty.clear()
        self._count()
        return carry

    def take_changed(self) -> dict[Key, RangeSet]:
        """Cursors that changed since the last call (copies)."""
        changed = {key: self._known[key].copy() for key in self._dirty}
        self._dirty.clear()
        return changed

    def _changed(self, destination: str, stream: Stream) -> None:
        self._dirty.add((destination, stream))
        self._count(stream)

    def _count(self, *streams: Stream) -> None:
        for stream in streams or Stream:
            if self._destinations is None:
                names = {name for name, of in self._known if of is stream}
            else:
                names = {name for name, sent in self._destinations.items() if stream in sent}
            first = self._first(stream)
            stops = [
                self._known.get((name, stream), RangeSet()).contiguous_stop(first) for name in names
            ]
            if stops:
                self.unsent[stream] = min(stops)
            else:
                self.unsent.pop(stream, None)


class CursorSaver:
    """Hands over the cursors that changed, a second after the first of them did."""

    def __init__(self, cursors: Cursors, save: Callable[[Mapping[Key, RangeSet]], None]) -> None:
        self._cursors = cursors
        self._save = save
        self._timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Save within a second; on the event loop."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SAVE_DELAY_S, self.now)

    def now(self) -> None:
        """Save what changed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changed = self._cursors.take_changed()
        if changed:
            self._save(changed)

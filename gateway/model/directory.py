"""Which points there are, for rare questions of people: by name, by device, by place. Pure.

Guarantees: answers as a search through all points would; costs some 20 bytes a point besides the
letters of its name, where 100,000 objects that are kept for such questions cost 40 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from drivers.contract import Int32Array
from gateway.model.point import Point

_NONE = np.empty(0, np.int32)


class Directory:
    """Ids, names, devices and places of all points."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._ids = np.array([point.id for point in points], np.int32)
        letters = [point.name.encode() for point in points]
        self._letters = b"".join(letters)
        self._ends = np.cumsum([len(name) for name in letters], dtype=np.int64)
        self._devices = _Groups([point.device for point in points])
        self._places = _Groups([point.place for point in points])

    def ids(self, scope: str, name: str) -> Int32Array:
        """Ids of the point, or of all points of the device or place, of that name; may be none.

        scope: point, device or place.
        """
        if scope == "point":
            at = self._find(name.encode())
            return _NONE if at is None else self._ids[at : at + 1]
        if not name:
            return _NONE
        groups = self._devices if scope == "device" else self._places
        return self._ids[groups.members(name)]

    def names(self, ids: Int32Array) -> Iterator[str]:
        """Names of the points that have one of these ids, in order of the points."""
        for at in np.flatnonzero(np.isin(self._ids, ids)).tolist():
            begin = int(self._ends[at - 1]) if at else 0
            yield self._letters[begin : int(self._ends[at])].decode()

    def _find(self, name: bytes) -> int | None:
        """Place of a name; where the letters of neighbours happen to spell it, nothing begins."""
        found = self._letters.find(name)
        while found >= 0 and name:
            at = int(np.searchsorted(self._ends, found, side="right"))
            begin = int(self._ends[at - 1]) if at else 0
            if begin == found and int(self._ends[at]) == found + len(name):
                return at
            found = self._letters.find(name, found + 1)
        return None


class _Groups:
    """A word of each point, each different one kept once."""

    def __init__(self, words: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        self._of = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int32)
        self._numbers = numbers

    def members(self, word: str) -> Int32Array:
        """Places of the points with this word."""
        number = self._numbers.get(word, -1)
        return np.flatnonzero(self._of == number).astype(np.int32)


__all__ = ["Directory"]

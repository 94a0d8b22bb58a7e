"""Finds points of a catalogue by name or by words, without holding them.

Guarantees: of each point one line of text is kept, and where in the catalogue it stands; the points
of an answer are read from there. Made in parts (`grow`), so that nobody waits for 100,000 points.
A search looks at no more than MOST_MATCHES lines that hold its longest word. Pure.

The catalogue is its wire encoding (model/catalogue.py): behind each other, for each point the byte
0x0A, the length as a varint, and the message `plantgate.wire.v1.Point`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from gateway.wire.v1 import uplink_pb2 as wire

PART = 500
MOST_MATCHES = 5000
_TAG = 0x0A


class PointIndex:
    """Index of one catalogue; `grow` until it says that it is whole."""

    def __init__(self, encoded: bytes) -> None:
        """encoded: of a Catalogue; only what `grow` has read can be found."""
        self._encoded = encoded
        self._at = 0
        self._starts: list[int] = []  # of messages in the encoding
        self._lines: list[str] = []
        self._text = ""
        self._line_starts: list[int] = []

    def __len__(self) -> int:
        """Count of points."""
        return len(self._starts)

    def grow(self, most: int = PART) -> bool:
        """Read `most` further points; tells whether all are read."""
        for _ in range(most):
            if self._at >= len(self._encoded):
                break
            start, stop = self._message(self._at)
            point = wire.Point.FromString(self._encoded[start:stop])
            self._starts.append(self._at)
            said = f"{point.name}\t{point.description}\t{point.place}\t{point.gas}"
            self._lines.append(said.replace("\n", " ").lower())
            self._at = stop
        whole = self._at >= len(self._encoded)
        if whole and not self._text:
            self._text = "\n" + "\n".join(self._lines) + "\n"
            at = 1
            for line in self._lines:
                self._line_starts.append(at)
                at += len(line) + 1
            self._lines = []
        return whole

    def find(self, search: str, first: int, count: int) -> tuple[list[wire.Point], bool]:
        """Points first to first + count of those that hold every word, in order of their ids.

        Also tells whether there are more.
        """
        words = search.lower().split()
        if not words:
            found = [self._point(n) for n in range(first, min(first + count, len(self)))]
            return found, first + count < len(self)
        chosen: list[int] = []
        for number in self._matches(words):
            chosen.append(number)
            if len(chosen) > first + count:
                break
        return [self._point(n) for n in chosen[first : first + count]], len(chosen) > first + count

    def named(self, names: Sequence[str]) -> list[wire.Point | None]:
        """Points by their exact names; None where there is none."""
        return [self._named(name) for name in names]

    def _named(self, name: str) -> wire.Point | None:
        wanted = f"\n{name.lower()}\t"
        at = self._text.find(wanted)
        while at >= 0:
            point = self._point(bisect_right(self._line_starts, at + 1) - 1)
            if point.name == name:
                return point
            at = self._text.find(wanted, at + 1)
        return None

    def _matches(self, words: Sequence[str]) -> Iterator[int]:
        longest = max(words, key=len)
        at = self._text.find(longest)
        for _ in range(MOST_MATCHES):
            if at < 0:
                return
            end = self._text.find("\n", at)
            begin = self._text.rfind("\n", 0, at) + 1
            line = self._text[begin:end]
            if all(word in line for word in words):
                yield bisect_right(self._line_starts, begin) - 1
            at = self._text.find(longest, end)

    def _point(self, number: int) -> wire.Point:
        start, stop = self._message(self._starts[number])
        return wire.Point.FromString(self._encoded[start:stop])

    def _message(self, at: int) -> tuple[int, int]:
        """Start and end of the message whose tag stands at `at`."""
        if self._encoded[at] != _TAG:
            raise ValueError("this is no catalogue")
        length = shift = 0
        at += 1
        while self._encoded[at] & 0x80:
            length |= (self._encoded[at] & 0x7F) << shift
            shift += 7
            at += 1
        length |= self._encoded[at] << shift
        return at + 1, at + 1 + length

"""Tells samples that a server, or another one of a redundant set, sends again. Pure.

Guarantees: a sample is dropped only if the same one (point, source time, value, quality) came
before the change of servers, or if it is a point's first one and says what was known already; any
other is kept, also one that is older or has an equal time, since sources stamp coarsely and clocks
are set. So nothing is lost that differs from what we have, and nothing comes twice that the new
server gives as the old one gave it. A point that was said to be lost gets its value in any case.

Whoever goes on with the subscription of before needs none of this: sequence numbers are exact.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.contract import Int64Array, UInt16Array, UInt64Array
from drivers.opcua.codec import Column
from drivers.opcua.spread import Bools, Handles

_KEPT = 16
"""Samples a point, on average, that are remembered: a stand-by server may be some behind."""
_LEAST_KEPT = 1000
_WINDOW_NS = 60 * 10**9  # then a stand-by server has caught up, however far behind it was
_NEVER = np.iinfo(np.int64).min
_ODD = (0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0xD6E8_FEB8_6659_FD93)


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """Columns: point (client handle), source time, 64 bits of the value, quality."""

    handles: Handles
    times_ns: Int64Array
    bits: UInt64Array
    quality: UInt16Array

    def marks(self) -> UInt64Array:
        """Give 64 bits for each sample, equal where the samples are."""
        parts: tuple[npt.NDArray[Any], ...] = (
            self.handles,
            self.times_ns,
            self.bits,
            self.quality,
        )
        marks = np.zeros(len(self.handles), np.uint64)
        for part, odd in zip(parts, _ODD, strict=True):
            marks = (marks ^ part.astype(np.uint64)) * np.uint64(odd)
            marks ^= marks >> np.uint64(29)
        return marks

    def where(self, rows: npt.NDArray[np.intp]) -> _Samples:
        """Give these rows."""
        return _Samples(
            self.handles[rows], self.times_ns[rows], self.bits[rows], self.quality[rows]
        )

    def same(self, other: _Samples) -> Bools:
        """Compare row by row."""
        return np.asarray(
            (self.handles == other.handles)
            & (self.times_ns == other.times_ns)
            & (self.bits == other.bits)
            & (self.quality == other.quality)
        )


class RepeatFilter:
    """Remembers what came of each point, over all servers of one device."""

    def __init__(self, points: int) -> None:
        self._most = max(_LEAST_KEPT, _KEPT * points)
        self._recent: deque[_Samples] = deque()
        self._rows = 0
        self._last = _nothing(points)
        self._before: _Samples | None = None
        self._marks = np.zeros(0, np.uint64)
        self._known = self._last
        self._awaiting = np.zeros(points, np.bool_)
        self._caught_up = np.zeros(points, np.bool_)
        self._until_ns = 0

    def begin(self, monotonic_ns: int, *, resumed: bool) -> None:
        """Say that a session begins; resumed: it goes on with the subscriptions of before."""
        self._before = None
        if resumed or not self._rows:
            return
        every = _joined(self._recent)
        marks = every.marks()
        order = np.argsort(marks, kind="stable")
        self._before, self._marks = every.where(order), marks[order]
        self._known = self._last.where(np.arange(len(self._last.handles)))
        self._awaiting[:] = True
        self._caught_up[:] = False
        self._until_ns = monotonic_ns + _WINDOW_NS

    def feed(self, column: Column, lost: Bools, monotonic_ns: int) -> Column:
        """Give what is new of a column; lost: bool[points], points that were said to be lost."""
        samples = _samples(column)
        if self._before is not None:
            again = self._again(samples, self._before) & ~lost[samples.handles]
            if monotonic_ns > self._until_ns:
                self._before = None
            elif again.any():
                column = column.where(~again)
                samples = samples.where(np.flatnonzero(~again))
        self._remember(samples)
        return column

    def _again(self, samples: _Samples, before: _Samples) -> Bools:
        handles = samples.handles
        marks = samples.marks()
        places = np.minimum(np.searchsorted(self._marks, marks), len(self._marks) - 1)
        again = samples.same(before.where(places)) & ~self._caught_up[handles]
        known = self._known.where(handles.astype(np.intp))
        first = np.zeros(len(handles), np.bool_)
        first[np.unique(handles, return_index=True)[1]] = True
        says_nothing = (
            (samples.times_ns <= known.times_ns)
            & (samples.bits == known.bits)
            & (samples.quality == known.quality)
        )
        again |= first & self._awaiting[handles] & says_nothing
        self._awaiting[handles] = False
        self._caught_up[handles[samples.times_ns > known.times_ns]] = True
        return again

    def _remember(self, samples: _Samples) -> None:
        handles, last = samples.handles, self._last
        if not len(handles):
            return
        last.times_ns[handles] = samples.times_ns  # of several of one point the last one stays
        last.bits[handles] = samples.bits
        last.quality[handles] = samples.quality
        self._recent.append(samples)
        self._rows += len(handles)
        while self._rows > self._most and len(self._recent) > 1:
            self._rows -= len(self._recent.popleft().handles)


class EchoFilter:
    """Drops what a single server says twice just after a session began.

    Guarantees: a sample is dropped only if the one before it of the same point in this session was
    the same in source time, value and quality; so nothing that differs is lost. A server that was
    frozen gives its newest sample once more after a transfer, under a new sequence number, though
    no initial values were asked for (seen with node-opcua). After WINDOW_NS it costs nothing.
    """

    WINDOW_NS = 10 * 10**9

    def __init__(self, points: int) -> None:
        self._points = points
        self._last = _nothing(points)
        self._until_ns = 0

    def begin(self, monotonic_ns: int, *, resumed: bool) -> None:
        """Say that a session begins; whether it goes on with subscriptions makes no difference."""
        del resumed
        self._last = _nothing(self._points)
        self._until_ns = monotonic_ns + self.WINDOW_NS

    def feed(self, column: Column, lost: Bools, monotonic_ns: int) -> Column:
        """Give what is new of a column; lost: bool[points], points that were said to be lost."""
        if monotonic_ns > self._until_ns or not len(column.handles):
            return column
        samples = _samples(column)
        handles, last = samples.handles, self._last
        first = np.zeros(len(handles), np.bool_)
        first[np.unique(handles, return_index=True)[1]] = True
        again = first & samples.same(last.where(handles.astype(np.intp))) & ~lost[handles]
        last.times_ns[handles] = samples.times_ns  # of several of one point the last one stays
        last.bits[handles] = samples.bits
        last.quality[handles] = samples.quality
        return column.where(~again) if again.any() else column


def _nothing(points: int) -> _Samples:
    """Rows for points of which nothing came yet."""
    return _Samples(
        np.arange(points, dtype=np.uint32),
        np.full(points, _NEVER, np.int64),
        np.zeros(points, np.uint64),
        np.zeros(points, np.uint16),
    )


def value_bits(column: Column) -> UInt64Array:
    """Give 64 bits for each value, equal where the values are."""
    values = column.values
    if isinstance(values, tuple):  # texts
        marks = (hash(value) for value in values)
        return np.fromiter(marks, np.int64, len(values)).view(np.uint64)
    return values.view(np.uint64)


def _samples(column: Column) -> _Samples:
    return _Samples(column.handles, column.source_time_ns, value_bits(column), column.quality)


def _joined(parts: deque[_Samples]) -> _Samples:
    return _Samples(
        np.concatenate([part.handles for part in parts]),
        np.concatenate([part.times_ns for part in parts]),
        np.concatenate([part.bits for part in parts]),
        np.concatenate([part.quality for part in parts]),
    )


__all__ = ["EchoFilter", "RepeatFilter", "value_bits"]

"""Block planner: the fewest legal requests that read every point.

Guarantees, for any set of points:

- every span lies whole in exactly one block, so a multi-register value is never torn apart;
- no block exceeds the cap of one request, reads a forbidden register 禁读区, or bridges more than
  the allowed gap of unused ones;
- no plan under these rules has fewer blocks: points are taken in address order and a block is
  extended as far as it goes, which is optimal for intervals.

What a device taught us at run time (illegal registers, places where blocks must not be joined) is
an input like the configured limits. Pure; runs at start and after each lesson, not per poll.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import overload

import numpy as np

from drivers.modbus.codec import ADDRESSES, MAX_BITS, MAX_REGISTERS, Area


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Registers or bits of one value: `count` of them from wire address `start`."""

    area: Area
    start: int
    count: int

    @property
    def end(self) -> int:
        """First address after the span."""
        return self.start + self.count


class Spans(Sequence[Span]):
    """Many spans, held in nine bytes each; a Span is made when it is asked for.

    100,000 objects that are rarely looked at take 9 MB, and keep twice as much from going back to
    the system by standing between what start-up leaves behind (measured).
    """

    __slots__ = ("_packed",)

    def __init__(self, spans: Iterable[Span]) -> None:
        rows = [(span.area, span.start, span.count) for span in spans]
        self._packed = np.array(rows, _PACKED).tobytes()

    def __len__(self) -> int:
        return len(self._packed) // _PACKED.itemsize

    def __iter__(self) -> Iterator[Span]:
        for area, start, count in np.frombuffer(self._packed, _PACKED).tolist():
            yield Span(_AREAS[area], start, count)

    @overload
    def __getitem__(self, at: int) -> Span: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Span, ...]: ...

    def __getitem__(self, at: int | slice) -> Span | tuple[Span, ...]:
        if isinstance(at, slice):
            return tuple(self)[at]
        area, start, count = np.frombuffer(self._packed, _PACKED)[at].tolist()
        return Span(_AREAS[area], start, count)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and self._packed == other._packed

    def __hash__(self) -> int:
        return hash(self._packed)


_PACKED = np.dtype([("area", "u1"), ("start", "i4"), ("count", "i4")])
_AREAS = {int(area): area for area in Area}


@dataclass(frozen=True, slots=True)
class Block:
    """One request. spans: what is wanted of it, unique, in address order."""

    area: Area
    start: int
    count: int
    spans: Spans

    @property
    def end(self) -> int:
        """First address after the block."""
        return self.start + self.count

    @property
    def payload_bytes(self) -> int:
        """Bytes of values that the answer carries."""
        return (self.count + 7) // 8 if self.area.bits else 2 * self.count


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may be.

    max_gap: unused registers that a request may read to join two points; sixteen times as many
    bits, which are as many bytes.  forbidden: per area, (first, end) ranges never to be read.
    per_area: areas with a cap of their own, below that of their kind.
    """

    max_registers: int = MAX_REGISTERS
    max_bits: int = MAX_BITS
    max_gap: int = 16
    forbidden: Mapping[Area, Sequence[tuple[int, int]]] = field(default_factory=dict)
    per_area: Mapping[Area, int] = field(default_factory=dict)

    def cap(self, area: Area) -> int:
        """Most registers or bits of one request."""
        most = self.max_bits if area.bits else self.max_registers
        return min(most, self.per_area.get(area, most))

    def gap(self, area: Area) -> int:
        """Most unused registers or bits between two points of one request."""
        return self.max_gap * 16 if area.bits else self.max_gap


NO_SPANS: AbstractSet[Span] = frozenset()
NO_CUTS: Mapping[Area, AbstractSet[int]] = {}


def plan(
    spans: Iterable[Span],
    limits: Limits,
    bad: AbstractSet[Span] = NO_SPANS,
    cuts: Mapping[Area, AbstractSet[int]] = NO_CUTS,
) -> list[Block]:
    """Plan blocks in order of area and address.

    bad: spans known to be illegal; they are left out and never read as a gap.
    cuts: per area, addresses that no block may reach from below. Raises ValueError for a span that
    is larger than a request, leaves the address space or touches a forbidden range.
    """
    wanted = sorted(set(spans) - bad)
    blocks: list[Block] = []
    for area in Area:
        of_area = [span for span in wanted if span.area is area]
        if of_area:
            closed = _merged([*limits.forbidden.get(area, ()), *_ranges(bad, area)])
            for span in of_area:
                _refuse_illegal(span, limits)
            blocks += _greedy(of_area, limits, closed, sorted(cuts.get(area, ())))
    return blocks


def aligned(span: Span, align: int) -> Span:
    """Widen a span of registers to where a device lets a request begin and end: multiples of align.

    Planned by such cells, every block begins and ends at a multiple too, also in a search.
    """
    if align == 1 or span.area.bits:
        return span
    start = span.start // align * align
    return Span(span.area, start, -(-span.end // align) * align - start)


def touches(span: Span, limits: Limits) -> bool:
    """Tell whether a span reads a forbidden register."""
    return any(
        span.start < end and first < span.end for first, end in limits.forbidden.get(span.area, ())
    )


def _greedy(
    spans: Sequence[Span], limits: Limits, closed: Sequence[tuple[int, int]], cuts: Sequence[int]
) -> list[Block]:
    """Extend each block as far as it goes; spans are unique and in order of start."""
    area = spans[0].area
    cap, gap = limits.cap(area), limits.gap(area)
    blocks: list[Block] = []
    held = [spans[0]]
    start, end = spans[0].start, spans[0].end
    for span in spans[1:]:
        joined = (
            max(end, span.end) - start <= cap
            and span.start - end <= gap
            and not _is_closed(end, span.start, closed)
            and not _is_cut(start, span.start, cuts)
        )
        if joined:
            held.append(span)
            end = max(end, span.end)
            continue
        blocks.append(Block(area, start, end - start, Spans(held)))
        held = [span]
        start, end = span.start, span.end
    blocks.append(Block(area, start, end - start, Spans(held)))
    return blocks


def _is_closed(first: int, end: int, closed: Sequence[tuple[int, int]]) -> bool:
    """Tell whether the gap [first, end) meets one of the sorted, disjoint ranges."""
    if first >= end:
        return False
    index = bisect_left(closed, (end,)) - 1
    return index >= 0 and closed[index][1] > first


def _is_cut(start: int, following: int, cuts: Sequence[int]) -> bool:
    """Tell whether a cut lies in (start, following]."""
    return bisect_right(cuts, start) < bisect_right(cuts, following)


def _ranges(spans: AbstractSet[Span], area: Area) -> list[tuple[int, int]]:
    return [(span.start, span.end) for span in spans if span.area is area]


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort ranges and join those that touch."""
    merged: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged


def _refuse_illegal(span: Span, limits: Limits) -> None:
    if span.count > limits.cap(span.area):
        raise ValueError(f"{span} is larger than one request")
    if span.start < 0 or span.end > ADDRESSES:
        raise ValueError(f"{span} leaves 0..65535")
    if touches(span, limits):
        raise ValueError(f"{span} lies in a forbidden range")

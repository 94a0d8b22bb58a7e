"""What encoder and decoder both remember of a group: arrays of points, newest value of each point.

Guarantees: both sides that are given the same blocks hold the same state; memory is bounded by
`max_points` (points of all remembered layouts, and distinct points, counted apart). Pure.

Points are kept by slot: position in the state arrays in order of first appearance. Slot numbers
never leave this module's users; the format speaks of points only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from buffer.columns import BlockError
from buffer.scaling import Scaling

NEW, ANONYMOUS, FIRST_KNOWN = 0, 1, 2
"""Reference to an array of points: defined here, defined here but not remembered, known + 2."""

NOT_REMEMBERED = -1
MAX_LAYOUTS = 1024
MAX_CACHED_POINTS = 1 << 20
"""Samples of the combinations of layouts whose slots and scaling are kept ready (25 bytes each)."""
TABLE_POINTS = 1 << 20
"""Point ids below this are looked up in a table; others in a dict."""

ItemT = TypeVar("ItemT", bound=np.generic)
Slots = npt.NDArray[np.intp]


@dataclass(slots=True, eq=False)
class Place:
    """Where samples have their state: the slot of each, and what indexes the state arrays.

    where: a slice where the slots follow each other, as those of a poll of ordered points do; else
    the slots themselves. What a slice gives is a view: it changes with the state.
    """

    slots: Slots
    where: Slots | slice

    @classmethod
    def of(cls, slots: Slots) -> Place:
        """Look whether these slots follow each other."""
        if len(slots) and bool((np.diff(slots) == 1).all()):
            return cls(slots, slice(int(slots[0]), int(slots[-1]) + 1))
        return cls(slots, slots)

    @property
    def is_run(self) -> bool:
        """Tell whether the slots follow each other, so that none is named twice."""
        return isinstance(self.where, slice)

    def __len__(self) -> int:
        """Count of samples."""
        return len(self.slots)


@dataclass(slots=True, eq=False)
class Layout:
    """One array of points and what is remembered with it.

    offset_ns: source time minus gateway time of its newest batch with one source time.
    texts: newest text column, None before the first.
    """

    points: npt.NDArray[np.int32]
    place: Place
    index: int
    offset_ns: int = 0
    texts: tuple[str, ...] | None = None


@dataclass(slots=True)
class Wave:
    """Batches of a block (by position) that are handled in one go, and their layouts."""

    members: list[int] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)


class GroupState:
    """State of a group. Arrays are indexed by slot and only ever grow."""

    def __init__(self, max_points: int) -> None:
        self._max_points = max_points
        self._layouts: list[Layout] = []
        self._by_identity: dict[int, Layout] = {}
        self._by_content: dict[bytes, Layout] = {}
        self._layout_points = 0
        self._others: dict[int, int] = {}
        self._places: dict[tuple[int, ...], Place] = {}
        self._scalings: dict[tuple[int, ...], Scaling] = {}
        self._cached_points = 0
        self._forget_points()

    def _forget_points(self) -> None:
        self._table: npt.NDArray[np.int32] = np.full(0, -1, np.int32)
        self._others.clear()
        self._count = 0
        self.floats: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.integers: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.modes: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.hints: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.quality: npt.NDArray[np.uint16] = np.zeros(0, np.uint16)
        self.source_ns: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def start_group(self) -> None:
        """Forget everything but which scaling modes fitted the points (a hint to the encoder)."""
        self._layouts.clear()
        self._by_identity.clear()
        self._by_content.clear()
        self._layout_points = 0
        self._clear_caches()
        if self._count > self._max_points // 4:
            self._forget_points()
            return
        self.hints = np.where((self.modes > 0) & (self.modes < 32), self.modes, self.hints)
        for array in (self.floats, self.integers, self.modes, self.quality, self.source_ns):
            array[:] = 0

    def place(self, layouts: Sequence[Layout]) -> Place:
        """Place of all samples of these layouts, in order; kept ready for the next block."""
        if len(layouts) == 1:
            return layouts[0].place
        key = tuple([layout.index for layout in layouts])
        place = self._places.get(key)
        if place is None:
            place = Place.of(np.concatenate([layout.place.slots for layout in layouts]))
            if NOT_REMEMBERED not in key and self._cache_room(len(place)):
                self._places[key] = place
        return place

    def scaling(self, layouts: Sequence[Layout], place: Place) -> Scaling:
        """Scaling of all samples of these layouts by the present modes; kept ready likewise."""
        key = tuple([layout.index for layout in layouts])
        scaling = self._scalings.get(key)
        if scaling is None:
            scaling = Scaling(self.modes[place.slots])
            self._keep_scaling(key, scaling)
        return scaling

    def change_modes(
        self, layouts: Sequence[Layout], place: Place, at: Slots, modes: npt.NDArray[np.uint8]
    ) -> None:
        """Set the modes of the samples at these positions of a place; later ones win.

        The place's own scaling is made of the last one where that is at hand; others are forgotten.
        """
        self.modes[place.slots[at]] = modes
        key = tuple([layout.index for layout in layouts])
        before = self._scalings.get(key)
        self._scalings.clear()
        if before is not None and place.is_run:
            self._keep_scaling(key, before.changed(at, modes))

    def modes_changed(self) -> None:
        """Forget every scaling: `modes` was written to."""
        self._scalings.clear()

    def _keep_scaling(self, key: tuple[int, ...], scaling: Scaling) -> None:
        if NOT_REMEMBERED not in key and self._cache_room(len(scaling.modes)):
            self._scalings[key] = scaling

    def _cache_room(self, points: int) -> bool:
        if self._cached_points + points > MAX_CACHED_POINTS:
            self._clear_caches()
        self._cached_points += points
        return points <= MAX_CACHED_POINTS

    def _clear_caches(self) -> None:
        self._places.clear()
        self._scalings.clear()
        self._cached_points = 0

    def find_layout(self, points: npt.NDArray[np.int32]) -> tuple[int, Layout]:
        """Reference to write for an array of points, and its layout (encoder)."""
        layout = self._by_identity.get(id(points))
        if layout is not None and layout.points is points:
            return layout.index + FIRST_KNOWN, layout
        content = points.tobytes()
        layout = self._by_content.get(content)
        if layout is not None:
            return layout.index + FIRST_KNOWN, layout
        room = self._layout_points + len(points) <= self._max_points // 2
        remember = room and len(self._layouts) < MAX_LAYOUTS
        layout = self.add_layout(points, remember=remember)
        if not remember:
            return ANONYMOUS, layout
        self._by_identity[id(points)] = layout
        self._by_content[content] = layout
        return NEW, layout

    def known_layout(self, ref: int) -> Layout:
        """Layout of a reference read from a block (decoder)."""
        if ref - FIRST_KNOWN >= len(self._layouts):
            raise BlockError(f"array of points {ref} is not known in this group")
        return self._layouts[ref - FIRST_KNOWN]

    def add_layout(self, points: npt.NDArray[np.int32], *, remember: bool) -> Layout:
        """Take in an array of points; both sides call this in the same order."""
        index = len(self._layouts) if remember else NOT_REMEMBERED
        layout = Layout(points, Place.of(self._slots_of(points)), index)
        if remember:
            self._layout_points += len(points)
            if self._layout_points > self._max_points or layout.index >= MAX_LAYOUTS:
                raise BlockError("group names too many points")
            self._layouts.append(layout)
        return layout

    def _slots_of(self, points: npt.NDArray[np.int32]) -> Slots:
        if not len(points):
            return np.zeros(0, np.intp)
        if int(points.min()) < 0 or int(points.max()) >= TABLE_POINTS:
            return self._slots_of_others(points)
        top = int(points.max()) + 1
        if top > len(self._table):
            grown = np.full(max(top, 2 * len(self._table)), -1, np.int32)
            grown[: len(self._table)] = self._table
            self._table = grown
        slots = self._table[points]
        if int(slots.min()) < 0:
            unknown = np.sort(points[slots < 0])  # np.unique takes 20 times as long
            unknown = unknown[np.diff(unknown, prepend=-1) > 0]
            start = self._grow(len(unknown))
            self._table[unknown] = np.arange(start, start + len(unknown), dtype=np.int32)
            slots = self._table[points]
        return slots.astype(np.intp)

    def _slots_of_others(self, points: npt.NDArray[np.int32]) -> Slots:
        slots = np.empty(len(points), np.intp)
        for at, point in enumerate(points.tolist()):
            if 0 <= point < TABLE_POINTS:
                slots[at] = self._slots_of(points[at : at + 1])[0]
                continue
            slot = self._others.get(point)
            if slot is None:
                slot = self._others[point] = self._grow(1)
            slots[at] = slot
        return slots

    def _grow(self, more: int) -> int:
        start = self._count
        self._count += more
        if self._count > self._max_points:
            raise BlockError("group names too many distinct points")
        if self._count > len(self.floats):
            size = max(self._count, 2 * len(self.floats), 64)
            self.floats = _grown(self.floats, size)
            self.integers = _grown(self.integers, size)
            self.source_ns = _grown(self.source_ns, size)
            self.modes = _grown(self.modes, size)
            self.hints = _grown(self.hints, size)
            self.quality = _grown(self.quality, size)
        return start


def plan_waves(refs: Sequence[int], layouts: Sequence[Layout]) -> list[Wave]:
    """Split a block into waves: a batch goes one wave behind its layout's previous one."""
    waves = [Wave()]
    seen: dict[int, int] = {}
    for at, (ref, layout) in enumerate(zip(refs, layouts, strict=True)):
        turn = 0
        if ref != ANONYMOUS:
            turn = seen.get(layout.index, -1) + 1
            seen[layout.index] = turn
        if turn == len(waves):
            waves.append(Wave())
        waves[turn].members.append(at)
        waves[turn].layouts.append(layout)
    return waves


def joined(arrays: Sequence[npt.NDArray[ItemT]]) -> npt.NDArray[ItemT]:
    """One array of several; no copy where there is only one."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _grown(array: npt.NDArray[ItemT], size: int) -> npt.NDArray[ItemT]:
    grown = np.zeros(size, array.dtype)
    grown[: len(array)] = array
    return grown

"""Reads one wave of a block: the mirror of buffer/wave_encode.py. Pure; raises BlockError."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from buffer.columns import BlockError, Cursor
from buffer.contract import Columns
from buffer.group_state import GroupState, ItemT, Layout, Place, Wave
from buffer.scaling import valid_modes
from buffer.wave_encode import HAS_NULLS, MODES_CHANGE

FLOAT, INT, UINT, TEXT = range(4)


def decode_wave(
    state: GroupState,
    wave: Wave,
    kinds: Sequence[int],
    cursor: Cursor,
    values: list[Columns],
    quality: list[npt.NDArray[np.uint16]],
) -> None:
    """Read the sections of one wave into `values` and `quality`, at the batches' positions."""
    members = list(zip(wave.members, wave.layouts, strict=True))
    for (at, _), column in zip(
        members,
        _split(_quality(state, state.place(wave.layouts), cursor), wave.layouts),
        strict=True,
    ):
        quality[at] = column
    floats = [(at, layout) for at, layout in members if kinds[at] == FLOAT]
    if floats:
        layouts = [layout for _, layout in floats]
        numbers = _floats(state, layouts, cursor)
        for (at, _), piece in zip(floats, _split(numbers, layouts), strict=True):
            values[at] = piece
    integers = [(at, layout) for at, layout in members if kinds[at] in (INT, UINT)]
    if integers:
        layouts = [layout for _, layout in integers]
        whole = _integers(state, state.place(layouts), cursor)
        for (at, _), found in zip(integers, _split(whole, layouts), strict=True):
            values[at] = found if kinds[at] == INT else found.view(np.uint64)
    for at, layout in members:
        if kinds[at] == TEXT:
            values[at] = _texts(layout, cursor)


def _quality(state: GroupState, place: Place, cursor: Cursor) -> npt.NDArray[np.uint16]:
    quality = np.array(state.quality[place.where])
    positions = cursor.positions(len(place))
    if len(positions):
        codes = cursor.unsigned_column(len(positions))
        if int(codes.max()) > 0xFFFF:
            raise BlockError("quality exceeds 16 bits")
        quality[positions] = codes
        state.quality[place.where] = quality
    return quality


def _floats(
    state: GroupState, layouts: Sequence[Layout], cursor: Cursor
) -> npt.NDArray[np.float64]:
    place = state.place(layouts)
    count = len(place)
    flags = cursor.byte()
    if flags & ~(MODES_CHANGE | HAS_NULLS):
        raise BlockError(f"unknown flags 0x{flags:02X} of a float column")
    if flags & MODES_CHANGE:
        positions = cursor.positions(count)
        changed = cursor.unsigned_column(len(positions))
        if (len(changed) and int(changed.max()) > 0xFF) or not valid_modes(
            changed.astype(np.uint8)
        ):
            raise BlockError("unknown scaling mode")
        state.change_modes(layouts, place, positions, changed.astype(np.uint8))
        state.floats[place.slots[positions]] = 0
    nulls: npt.NDArray[np.bool_] | None = None
    if flags & HAS_NULLS:
        bits = np.frombuffer(cursor.take((count + 7) // 8), np.uint8)
        nulls = np.unpackbits(bits, count=count).view(np.bool_)
    integers = cursor.signed_column(count).astype(np.int64)
    integers += state.floats[place.where]
    state.floats[place.where] = integers
    values = state.scaling(layouts, place).from_integers(integers)
    if nulls is not None:
        values[nulls] = np.nan
    return values


def _integers(state: GroupState, place: Place, cursor: Cursor) -> npt.NDArray[np.int64]:
    integers = cursor.signed_column(len(place)).astype(np.int64)
    integers += state.integers[place.where]
    state.integers[place.where] = integers
    return integers


def _texts(layout: Layout, cursor: Cursor) -> tuple[str, ...]:
    count = len(layout.points)
    positions = cursor.positions(count).tolist()
    lengths = cursor.unsigned_column(len(positions)).tolist()
    known = layout.texts
    if known is None and len(positions) != count:
        raise BlockError("first text column of an array of points is incomplete")
    if known is not None and not positions:
        return known
    texts = list(known) if known is not None else [""] * count
    try:
        for position, length in zip(positions, lengths, strict=True):
            texts[position] = cursor.take(length).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise BlockError(f"text is not UTF-8: {error}") from error
    layout.texts = tuple(texts)
    return layout.texts


def _split(column: npt.NDArray[ItemT], layouts: Sequence[Layout]) -> list[npt.NDArray[ItemT]]:
    column.setflags(write=False)
    if len(layouts) == 1:
        return [column]
    stops = np.cumsum([len(layout.points) for layout in layouts])
    return np.split(column, stops[:-1])

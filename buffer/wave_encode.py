"""Writes one wave of a block: qualities, floats, integers, texts. Pure; see buffer/block.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from buffer.columns import pack_positions, pack_signed, pack_unsigned
from buffer.contract import Columns
from buffer.group_state import GroupState, Layout, Place, Wave, joined
from buffer.scaling import wider_modes

MODES_CHANGE, HAS_NULLS = 1, 2

Float64Array = npt.NDArray[np.float64]


class Columnar(Protocol):
    """What of a batch this module reads."""

    @property
    def values(self) -> Columns:
        """Values."""

    @property
    def quality(self) -> npt.NDArray[np.uint16]:
        """Qualities."""


def encode_wave(
    state: GroupState, wave: Wave, batches: Sequence[Columnar], out: list[bytes], *, fresh: bool
) -> None:
    """Append the sections of one wave and move the state on. `fresh`: a layout is new."""
    quality = joined([batches[at].quality for at in wave.members])
    out.append(_quality(state, state.place(wave.layouts), quality))
    floats: list[Float64Array] = []
    float_layouts: list[Layout] = []
    integers: list[npt.NDArray[np.int64]] = []
    integer_layouts: list[Layout] = []
    texts: list[bytes] = []
    for at, layout in zip(wave.members, wave.layouts, strict=True):
        values = batches[at].values
        if isinstance(values, tuple):
            texts.append(_texts(layout, values))
        elif values.dtype == np.float64:
            floats.append(values.view(np.float64))
            float_layouts.append(layout)
        else:
            integers.append(values.view(np.int64))
            integer_layouts.append(layout)
    if floats:
        out.append(_floats(state, float_layouts, joined(floats), fresh=fresh))
    if integers:
        where = state.place(integer_layouts).where
        numbers = joined(integers)
        out.append(pack_signed(numbers - state.integers[where]))
        state.integers[where] = numbers
    out.extend(texts)


def _quality(state: GroupState, place: Place, quality: npt.NDArray[np.uint16]) -> bytes:
    changed = (quality != state.quality[place.where]).nonzero()[0]
    if not len(changed):
        return b"\0"
    state.quality[place.where] = quality
    return pack_positions(changed) + pack_unsigned(quality[changed].astype(np.uint64))


def _floats(
    state: GroupState,
    layouts: Sequence[Layout],
    values: Float64Array,
    *,
    fresh: bool,
) -> bytes:
    values = np.ascontiguousarray(values)
    place = state.place(layouts)
    before = state.modes[place.slots] if fresh else None
    if before is not None:
        _take_hints(state, place, before)
    scaling = state.scaling(layouts, place)
    integers = scaling.to_integers(values)
    exact = scaling.fits(values, integers)
    nulls: npt.NDArray[np.bool_] | None = None
    if np.count_nonzero(exact) < len(exact):
        before = scaling.modes if before is None else before
        missing = np.isnan(values)
        nulls = missing if missing.any() else None
        exact |= missing
        while not exact.all():
            wrong = (~exact).nonzero()[0]
            wider = wider_modes(values[wrong], scaling.modes[wrong])
            _widen(state, layouts, place, wrong, wider)
            scaling = state.scaling(layouts, place)
            integers = scaling.to_integers(values)
            exact = scaling.fits(values, integers) | missing
    out = [b""]
    flags = 0
    if before is not None:
        changed = (scaling.modes != before).nonzero()[0]
        if len(changed):
            flags = MODES_CHANGE
            state.floats[place.slots[changed]] = 0
            out += pack_positions(changed), pack_unsigned(scaling.modes[changed].astype(np.uint64))
    base = state.floats[place.where]
    if nulls is not None:
        flags |= HAS_NULLS
        integers[nulls] = base[nulls]
        out.append(np.packbits(nulls).tobytes())
    out.append(pack_signed(integers - base))
    state.floats[place.where] = integers
    out[0] = bytes((flags,))
    return b"".join(out)


def _widen(
    state: GroupState,
    layouts: Sequence[Layout],
    place: Place,
    at: npt.NDArray[np.intp],
    modes: npt.NDArray[np.uint8],
) -> None:
    """Give samples a wider mode; where a point is named more than once, the widest counts."""
    if place.is_run:
        state.change_modes(layouts, place, at, modes)
        return
    np.maximum.at(state.modes, place.slots[at], modes)
    state.modes_changed()


def _take_hints(state: GroupState, place: Place, before: npt.NDArray[np.uint8]) -> None:
    """Start points that are new in this group with the mode that fitted them in the last one."""
    hinted = place.slots[(before == 0) & (state.hints[place.where] > 0)]
    if len(hinted):
        state.modes[hinted] = state.hints[hinted]
        state.hints[hinted] = 0
        state.modes_changed()


def _texts(layout: Layout, texts: tuple[str, ...]) -> bytes:
    known = layout.texts
    if known is None:
        changed = np.arange(len(texts))
    else:
        pairs = zip(texts, known, strict=True)
        changed = np.array([at for at, (new, old) in enumerate(pairs) if new != old], np.intp)
    layout.texts = texts
    pieces = [texts[at].encode("utf-8", "surrogatepass") for at in changed.tolist()]
    lengths = np.array([len(piece) for piece in pieces], np.uint64)
    return pack_positions(changed) + pack_unsigned(lengths) + b"".join(pieces)

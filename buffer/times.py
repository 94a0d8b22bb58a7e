"""Gateway and source times of a block's batches as columns. Pure.

Guarantees: any int64 time comes back; all differences wrap modulo 2**64, so clocks may jump.

    form 0   source time equals the gateway time
    form 1   one source time; stored as the change of (source - gateway) since the layout's last
    form 2   one time a sample; change since the point's last, less the change of the middle one
    form 3   one time a sample; difference to the sample before (first: to the gateway time)
    form 4   one time a sample; column of indices into a short list of times
Forms 2 to 4 carry a unit byte first: residuals are divided by 1, 100, 1,000 or 1,000,000 ns.
`form_of` says 2 for every array; the form that is really used is the array's first byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from buffer.columns import (
    BlockError,
    Cursor,
    pack_few_signed,
    pack_signed,
    pack_unsigned,
    pack_varint,
    wrap,
    zigzag,
)
from buffer.group_state import GroupState, Layout

Int64Array = npt.NDArray[np.int64]
SourceTimes = Int64Array | int

AS_GATEWAY, ONE, ARRAY = 0, 1, 2
LAST_FORM = ARRAY
_BY_POINT, _BY_NEIGHBOUR, _BY_LIST = 2, 3, 4
_UNITS = (1, 100, 1_000, 1_000_000)
_LIST_LIMIT = 255
_INT64 = range(-(1 << 63), 1 << 63)


class Timed(Protocol):
    """What of a batch this module reads."""

    @property
    def source_time_ns(self) -> SourceTimes:
        """Device time."""

    @property
    def gateway_time_ns(self) -> int:
        """Gateway time."""


def check_times(source: SourceTimes, gateway_ns: int, count: int) -> None:
    """Raise ValueError where times do not fit the format."""
    if isinstance(source, np.ndarray):
        if source.dtype != np.int64 or len(source) != count:
            raise ValueError("source times must be int64[n] or one integer")
    elif source not in _INT64:
        raise ValueError("source time exceeds 64 bits")
    if gateway_ns not in _INT64:
        raise ValueError("gateway time exceeds 64 bits")


def form_of(source: SourceTimes, gateway_ns: int) -> int:
    """Form of one batch's source times."""
    if isinstance(source, np.ndarray):
        return ARRAY
    return AS_GATEWAY if source == gateway_ns else ONE


def pack_gateway(times_ns: Sequence[int]) -> bytes:
    """Write gateway times: the first one, then steps."""
    steps = [wrap(after - before) for before, after in pairwise(times_ns)]
    return pack_varint(zigzag(times_ns[0])) + pack_few_signed(steps)


def read_gateway(cursor: Cursor, count: int) -> list[int]:
    """Read gateway times of `count` batches."""
    first = cursor.signed()
    steps = cursor.signed_column(count - 1)
    times = np.full(count, first, np.int64)
    times[1:] += np.cumsum(steps, dtype=np.int64)
    found: list[int] = times.tolist()
    return found


def pack_source(
    batches: Sequence[Timed], layouts: Sequence[Layout], forms: Sequence[int], state: GroupState
) -> bytes:
    """Write the source times of all batches of a block."""
    changes: list[int] = []
    arrays: list[bytes] = []
    for batch, layout, form in zip(batches, layouts, forms, strict=True):
        source = batch.source_time_ns
        if isinstance(source, np.ndarray):
            arrays.append(_pack_array(source, batch.gateway_time_ns, layout, state))
        elif form == ONE:
            offset = source - batch.gateway_time_ns
            changes.append(wrap(offset - layout.offset_ns))
            layout.offset_ns = offset
    return pack_few_signed(changes) + b"".join(arrays)


def read_source(
    cursor: Cursor,
    forms: Sequence[int],
    layouts: Sequence[Layout],
    gateway_ns: Sequence[int],
    state: GroupState,
) -> list[SourceTimes]:
    """Read the source times of all batches of a block."""
    changes = iter(cursor.signed_column(sum(form == ONE for form in forms)).tolist())
    times: list[SourceTimes] = []
    for form, layout, gateway in zip(forms, layouts, gateway_ns, strict=True):
        if form == ARRAY:
            times.append(_read_array(cursor, gateway, layout, state))
        elif form == ONE:
            layout.offset_ns = wrap(layout.offset_ns + next(changes))
            times.append(wrap(gateway + layout.offset_ns))
        else:
            times.append(gateway)
    return times


def _pack_array(times: Int64Array, gateway_ns: int, layout: Layout, state: GroupState) -> bytes:
    count = len(times)
    if not count:
        return bytes((_BY_POINT, 0, 0, 0))
    changes = times - state.source_ns[layout.place.where]
    middle = int(changes[count // 2])
    by_point = changes - middle
    by_neighbour = np.diff(times, prepend=np.int64(gateway_ns))
    state.source_ns[layout.place.where] = times
    costs = (np.count_nonzero(by_point), np.count_nonzero(by_neighbour))
    if min(costs) * 4 > count >= 16:
        listed, indices = np.unique(times, return_inverse=True)
        if len(listed) <= min(_LIST_LIMIT, count // 4):
            steps = np.diff(listed, prepend=np.int64(gateway_ns))
            head = bytes((_BY_LIST, 0)) + pack_varint(len(listed))
            return head + pack_signed(steps) + pack_unsigned(indices.astype(np.uint64))
    if costs[0] <= costs[1]:
        unit, column = _in_units(by_point)
        return bytes((_BY_POINT, unit)) + pack_varint(zigzag(middle)) + pack_signed(column)
    unit, column = _in_units(by_neighbour)
    return bytes((_BY_NEIGHBOUR, unit)) + pack_signed(column)


def _read_array(cursor: Cursor, gateway_ns: int, layout: Layout, state: GroupState) -> Int64Array:
    form, unit = cursor.byte(), cursor.byte()
    count = len(layout.points)
    if unit >= len(_UNITS):
        raise BlockError("unknown unit of source times")
    scale = np.int64(_UNITS[unit])
    times: Int64Array
    if form == _BY_POINT:
        middle = np.int64(cursor.signed())
        column = cursor.signed_column(count).astype(np.int64)
        times = state.source_ns[layout.place.where] + column * scale + middle
    elif form == _BY_NEIGHBOUR:
        column = cursor.signed_column(count).astype(np.int64) * scale
        times = np.cumsum(column) + np.int64(gateway_ns)
    elif form == _BY_LIST:
        listed = cursor.signed_column(cursor.varint(_LIST_LIMIT)).astype(np.int64)
        listed = np.cumsum(listed) + np.int64(gateway_ns)
        indices = cursor.unsigned_column(count)
        if count and int(indices.max()) >= len(listed):
            raise BlockError("source time outside its list")
        times = listed[indices]
    else:
        raise BlockError(f"unknown form {form} of source times")
    state.source_ns[layout.place.where] = times
    times.setflags(write=False)
    return times


def _in_units(residuals: Int64Array) -> tuple[int, Int64Array]:
    for unit in (3, 2, 1):
        whole, rest = np.divmod(residuals, _UNITS[unit])
        if not rest.any():
            return unit, whole
    return 0, residuals

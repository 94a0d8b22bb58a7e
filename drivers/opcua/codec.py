"""Decodes a DataChangeNotification's bytes into columns in one pass. Pure.

Guarantees: one value per monitored item, in the order of the message; a value that does not fit
its point (an array, a text on a number, -1 on a uint) gets bad:config_error and never stops the
rest; hostile bytes raise CodecError only, and memory stays in proportion to the message.

The body (OPC 10000-4, 7.25.2; OPC 10000-6, 5.2.2.17):

    Int32 count | count x item | Int32 count | DiagnosticInfo ...
    item: UInt32 client handle | Byte mask | Variant | StatusCode | source time | UInt16
          source picoseconds | server time | UInt16 server picoseconds    (each by its mask bit)

How: items of fixed size differ only by the mask and the variant's type, two bytes ("key"). Where
equal keys follow each other, numpy checks the whole run at once and reads it as a structured view;
scattered items are gathered per key. Only texts and rarities are read one by one.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.contract import SEVERITY_MASK, Int64Array, Quality, UInt16Array, ValueKind, Values
from drivers.opcua import wire
from drivers.opcua.convert import BLANKS, EPOCH_TICKS, MAX_TICKS, blank, convert
from drivers.opcua.field_table import FieldTable
from drivers.opcua.loose import Loose, read_loose
from drivers.opcua.spread import Bools, Handles, Items, judge_arrays, spread
from drivers.opcua.structures import ABSENT
from drivers.opcua.wire import CodecError, Cursor

Bytes = npt.NDArray[np.uint8]

_LEAD = 4  # bytes of a client handle; a DataValue by itself has none
_FIRST_WINDOW = 64
_SHORT_RUN = 8
_OVERFLOW_MASK, _OVERFLOW = 0x0C80, 0x0480  # InfoType DataValue with bit 7 (OPC 10000-4, 7.39.1)

_NULL = 0
_NUMPY = {1: "u1", 2: "i1", 3: "u1", 4: "<i2", 5: "<u2", 6: "<i4", 7: "<u4", 8: "<i8", 9: "<u8",
          10: "<f4", 11: "<f8", 13: "<i8", 14: "V16", 19: "<u4"}  # fmt: skip
_TAIL = ((0x02, "status", "<u4", 4), (0x04, "source", "<i8", 8), (0x10, "source_pico", "<u2", 2),
         (0x08, "server", "<i8", 8), (0x20, "server_pico", "<u2", 2))  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Values of one kind: handles uint32[n], values, quality uint16[n], source_time_ns int64[n]."""

    kind: ValueKind
    handles: Handles
    values: Values
    quality: UInt16Array
    source_time_ns: Int64Array

    def where(self, chosen: Bools) -> Column:
        """Give the chosen rows only; chosen: bool[n]."""
        values = self.values
        return Column(
            kind=self.kind,
            handles=self.handles[chosen],
            values=tuple(compress(values, chosen)) if isinstance(values, tuple) else values[chosen],
            quality=self.quality[chosen],
            source_time_ns=self.source_time_ns[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class DataChange:
    """A decoded notification.

    columns: at most one per kind.  overflowed: handles whose queue at the server ran over.
    misfits: handles whose value did not fit.  unknown: items with a handle we never gave.
    reasons: why a value could not be read, by handle, where that can be said.  doubted: handles of
        watched structures whose definition may be out of date.
    """

    columns: tuple[Column, ...]
    overflowed: Handles
    misfits: Handles
    unknown: int
    reasons: Mapping[int, str] = field(default_factory=dict)
    doubted: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Count of values in all columns."""
        return sum(len(column.handles) for column in self.columns)


@dataclass(frozen=True, slots=True)
class _Group:
    """Items of one key as records, with their places in the message."""

    index: slice | npt.NDArray[np.int64]
    records: npt.NDArray[np.void]
    mask: int
    built_in: int


@dataclass(slots=True)
class _Places:
    """Where items of one key begin: runs (index, offset, length) and scattered single ones."""

    runs: list[tuple[int, int, int]] = field(default_factory=list)
    indexes: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))


def decode_data_change(
    body: bytes, kinds: Bytes, now_ns: int, fields: FieldTable | None = None
) -> DataChange:
    """Decode the body of a DataChangeNotification.

    kinds: ValueKind of each client handle, uint8. now_ns: gateway time, used for items with neither
    a source nor a server time-stamp that can be expressed. fields: which handles are structures.
    Raises CodecError.
    """
    cursor = Cursor(body)
    count = cursor.count(_LEAD + 1)
    groups, loose = _scan(cursor, count, _LEAD)
    _finish(cursor)
    handles = np.empty(count, np.uint32)
    for group in groups:
        handles[group.index] = group.records["handle"]
    if loose.index:
        handles[loose.index] = loose.handle
    items = _items(groups, loose, handles, now_ns)
    return _columns(groups, loose, _shaped(body, groups, loose, items, fields), kinds)


def decode_data_values(
    cursor: Cursor,
    handles: Handles,
    kinds: Bytes,
    now_ns: int,
    fields: FieldTable | None = None,
) -> DataChange:
    """Decode an array of DataValues, of a ReadResponse or of HistoryData.

    handles: uint32[n], whose value each one is; or uint32[1], whose values all are. The cursor
    is left behind the array. Raises CodecError, also where the count is another.
    """
    count = cursor.count(1)
    if len(handles) != count:
        if len(handles) != 1:
            raise CodecError(f"{count} values for {len(handles)} nodes")
        handles = np.repeat(handles, count)
    groups, loose = _scan(cursor, count, 0)
    items = _items(groups, loose, handles, now_ns)
    items = _shaped(cursor.content, groups, loose, items, fields)
    return _columns(groups, loose, items, kinds)


def _items(groups: list[_Group], loose: Loose, handles: Handles, now_ns: int) -> Items:
    count = len(handles)
    status = np.zeros(count, np.uint32)
    source_ns = np.full(count, now_ns, np.int64)
    for group in groups:
        if group.mask & 0x02:
            status[group.index] = group.records["status"]
        _place_times(group, source_ns, now_ns)
    if loose.index:
        status[loose.index] = loose.status
        source_ns[loose.index] = [time or now_ns for time in loose.source_ns]
    return Items(handles, status, source_ns, np.zeros(count, np.bool_))


def _shaped(
    body: bytes, groups: list[_Group], loose: Loose, items: Items, fields: FieldTable | None
) -> Items:
    judge_arrays(loose, items, fields)
    if not fields:
        return items
    nothing = np.zeros(len(items.handles), np.bool_)
    for group in groups:
        if group.built_in == _NULL:
            nothing[group.index] = True
    return spread(body, nothing, loose, items, fields)


def _scan(cursor: Cursor, count: int, lead: int) -> tuple[list[_Group], Loose]:
    """Find where every item begins; leaves the cursor behind the last one."""
    body, end = cursor.content, cursor.end
    octets = np.frombuffer(body, np.uint8)
    places: defaultdict[int, _Places] = defaultdict(_Places)
    loose = Loose()
    index, position = 0, cursor.position
    probe_at, step = 0, _SHORT_RUN
    while index < count:
        key = _key_at(body, position + lead)
        size = _item_size(key, lead)
        if size == 0:
            position = read_loose(body, position, lead, index, loose)
            index += 1
            continue
        run = 1
        if index >= probe_at:
            most = min(count - index, (end - position) // size)
            run = _run_length(octets, position, key, lead, most) or 1
            step = _SHORT_RUN if run >= _SHORT_RUN else min(step * 2, 1024)
            probe_at = index + run + (0 if run >= _SHORT_RUN else step)
        if run == 1:
            places[key].indexes.append(index)
            places[key].offsets.append(position)
        else:
            places[key].runs.append((index, position, run))
        index += run
        position += run * size
    if position > end:
        raise CodecError("the last item lies beyond the message")
    cursor.position = position
    return [_group(octets, key, lead, place) for key, place in places.items()], loose


def _key_at(body: bytes, position: int) -> int:
    try:
        mask = body[position]
        return mask | body[position + 1] << 8 if mask & 1 else mask
    except IndexError:
        raise CodecError(f"an item at {position} lies beyond the message") from None


@cache
def _item_size(key: int, lead: int) -> int:
    """Bytes of an item of this key; 0 where they are not fixed. Raises CodecError if reserved."""
    mask, encoding = key & 0xFF, key >> 8
    if mask & 0xC0:
        raise CodecError(f"DataValue with reserved mask bits 0x{mask:02X}")
    value_bytes = 0
    if mask & 1:
        if encoding not in wire.FIXED_SIZES:
            return 0
        value_bytes = 1 + wire.FIXED_SIZES[encoding]
    return lead + 1 + value_bytes + sum(size for bit, _, _, size in _TAIL if mask & bit)


@cache
def _record_type(key: int, lead: int) -> np.dtype[np.void]:
    """Give the structured dtype of an item of fixed size."""
    mask, encoding = key & 0xFF, key >> 8
    fields = [("handle", "<u4")] if lead else []
    fields.append(("mask", "u1"))
    if mask & 1:
        fields.append(("encoding", "u1"))
        if encoding != _NULL:
            fields.append(("value", _NUMPY[encoding]))
    fields += [(name, form) for bit, name, form, _ in _TAIL if mask & bit]
    return np.dtype(fields)


def _run_length(octets: Bytes, position: int, key: int, lead: int, most: int) -> int:
    """Count the items of equal key from here, in windows that grow while all are equal."""
    size, mask, encoding = _item_size(key, lead), key & 0xFF, key >> 8
    found, window = 0, _FIRST_WINDOW
    while found < most:
        length = min(window, most - found)
        start = position + found * size + lead
        stop = start + (length - 1) * size + 1
        same = octets[start:stop:size] == mask
        if mask & 1:
            same &= octets[start + 1 : stop + 1 : size] == encoding
        if not same.all():
            return found + int(same.argmin())
        found += length
        window *= 8
    return found


def _group(octets: Bytes, key: int, lead: int, place: _Places) -> _Group:
    """Read all items of one key as records: a view for one run, else one gather."""
    record, size = _record_type(key, lead), _item_size(key, lead)
    mask, built_in = key & 0xFF, key >> 8
    if len(place.runs) == 1 and not place.offsets:
        index, offset, length = place.runs[0]
        view = octets[offset : offset + length * size].view(record)
        return _Group(slice(index, index + length), view, mask, built_in)
    indexes = [np.frombuffer(place.indexes, np.int64)]
    offsets = [np.frombuffer(place.offsets, np.int64)]
    for index, offset, length in place.runs:
        indexes.append(np.arange(index, index + length))
        offsets.append(np.arange(offset, offset + length * size, size))
    starts = np.concatenate(offsets)
    rows = octets[starts[:, np.newaxis] + np.arange(size)]
    return _Group(np.concatenate(indexes), rows.view(record)[:, 0], mask, built_in)


def _finish(cursor: Cursor) -> None:
    """Read the diagnostics at the end; a body may leave them out, none may follow them."""
    if cursor.position == cursor.end:
        return
    for _ in range(cursor.count(1)):
        cursor.skip_diagnostic_info()
    if cursor.position != cursor.end:
        raise CodecError(f"{cursor.end - cursor.position} bytes after the notification")


def _place_times(group: _Group, source_ns: Int64Array, now_ns: int) -> None:
    """Write source times, else server times, else leave the gateway's."""
    times = np.full(len(group.records), now_ns, np.int64)
    for bit, pico_bit, name in ((0x08, 0x20, "server"), (0x04, 0x10, "source")):
        if not group.mask & bit:
            continue
        ticks = group.records[name]
        usable = (ticks > EPOCH_TICKS) & (ticks <= MAX_TICKS)
        spread = (ticks - EPOCH_TICKS) * 100
        if group.mask & pico_bit:  # in units of 10 ps, 0 to 9999
            spread = spread + np.minimum(group.records[f"{name}_pico"], 9999) // 100
        times = spread if usable.all() else np.where(usable, spread, times)
    source_ns[group.index] = times


def _columns(groups: list[_Group], loose: Loose, items: Items, kinds: Bytes) -> DataChange:
    handles = items.handles
    known = handles < len(kinds)
    kind_of = np.full(len(handles), 0xFF, np.uint8)
    kind_of[known] = kinds[handles[known]]
    quality = (items.status >> 16).astype(np.uint16)
    for group in groups:
        if group.built_in == _NULL:
            _worsen(quality, group.index, Quality.BAD_WAITING)
    pools, absent, texts = _pools(loose)
    _worsen(quality, np.array(absent, np.int64), Quality.BAD_WAITING)
    misfit = items.refused.copy()
    columns = []
    for kind in ValueKind:
        chosen = kind_of == kind
        if chosen.any():
            values = _values(kind, groups + pools, texts, chosen, misfit)
            _worsen(quality, np.flatnonzero(misfit & chosen), Quality.BAD_CONFIG_ERROR)
            values[(quality & SEVERITY_MASK) >= Quality.BAD] = BLANKS[kind]
            columns.append(_column(kind, chosen, values, quality, items))
    overflow = known & ((items.status & _OVERFLOW_MASK) == _OVERFLOW)
    unknown = len(handles) - int(np.count_nonzero(known))
    return DataChange(
        tuple(columns),
        handles[overflow],
        handles[misfit & (quality == Quality.BAD_CONFIG_ERROR)],
        unknown,
        items.reasons,
        frozenset(items.doubted),
    )


def _pools(loose: Loose) -> tuple[list[_Group], list[int], list[tuple[int, str | None]]]:
    """Sort what was read one by one: numbers by built-in type, what is absent, texts."""
    pools: defaultdict[int, tuple[list[int], list[bytes]]] = defaultdict(lambda: ([], []))
    absent: list[int] = []
    texts: list[tuple[int, str | None]] = []
    for index, value in zip(loose.index, loose.value, strict=True):
        if not isinstance(value, tuple):
            texts.append((index, value))
        elif value == ABSENT:
            absent.append(index)
        else:
            indexes, octets = pools[value[0]]
            indexes.append(index)
            octets.append(value[1])
    groups = []
    for built_in, (indexes, octets) in pools.items():
        records = np.frombuffer(b"".join(octets), [("value", _NUMPY[built_in])])
        groups.append(_Group(np.array(indexes, np.int64), records, 0, built_in))
    return groups, absent, texts


def _worsen(quality: UInt16Array, index: slice | npt.NDArray[np.int64], code: Quality) -> None:
    """Set a bad code where the server itself has not said bad."""
    own = quality[index]
    quality[index] = np.where((own & SEVERITY_MASK) < Quality.BAD, np.uint16(code), own)


def _values(
    kind: ValueKind,
    groups: list[_Group],
    texts: list[tuple[int, str | None]],
    chosen: Bools,
    misfit: Bools,
) -> npt.NDArray[Any]:
    """Values of one kind for all items (those of other kinds are arbitrary); notes misfits."""
    values = blank(kind, len(chosen))
    for group in groups:
        if group.built_in == _NULL or not chosen[group.index].any():
            continue
        converted, wrong = convert(group.records["value"], group.built_in, kind)
        values[group.index] = converted
        if wrong is not None:
            misfit[group.index] |= wrong & chosen[group.index]
    for index, text in texts:
        if not chosen[index]:
            continue
        if kind is ValueKind.TEXT and text is not None:
            values[index] = text
        else:
            misfit[index] = True
    return values


def _column(
    kind: ValueKind,
    chosen: Bools,
    values: npt.NDArray[Any],
    quality: UInt16Array,
    items: Items,
) -> Column:
    rows = slice(None) if chosen.all() else chosen
    return Column(
        kind=kind,
        handles=items.handles[rows],
        values=tuple(values[rows].tolist()) if kind is ValueKind.TEXT else values[rows],
        quality=quality[rows].copy(),
        source_time_ns=items.source_ns[rows],
    )


__all__ = ["CodecError", "Column", "DataChange", "decode_data_change", "decode_data_values"]

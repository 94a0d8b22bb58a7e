"""Judges the shape of items, and gives each field of a structure that is a point its own. Pure.

Guarantees: a point that is an element of an array takes an array of one and nothing else, any
other point no array, since servers answer an index range on what is no array with the whole value,
or with one letter of it; a structure whose value is none, or another than its definition says,
refuses its own fields only, each with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from drivers.contract import Int64Array
from drivers.opcua.field_table import FieldTable
from drivers.opcua.loose import Loose
from drivers.opcua.quick_fields import QuickReader
from drivers.opcua.structures import ABSENT, Element, Reader, Refusal, StructureError
from drivers.opcua.wire import Cursor

Bools = npt.NDArray[np.bool_]
Handles = npt.NDArray[np.uint32]

_CHANGED = 0x8000  # StructureChanged (OPC 10000-4, 7.39.1): know the type anew before reading


@dataclass(frozen=True, slots=True)
class Items:
    """What all items have. refused: bool[n], whose value is none, whatever its bytes say."""

    handles: Handles
    status: npt.NDArray[np.uint32]
    source_ns: Int64Array
    refused: Bools
    reasons: dict[int, str] = field(default_factory=dict)
    doubted: set[int] = field(default_factory=set)


def judge_arrays(loose: Loose, items: Items, fields: FieldTable | None) -> None:
    """Refuse an array where none is wanted, and what is no array where an element is."""
    arrays = np.zeros(len(items.handles), np.bool_)
    arrays[loose.index] = loose.arrays
    if fields is None or not fields.elements.any():
        wrong = arrays
    else:
        known = items.handles < len(fields.elements)
        wanted = np.zeros(len(arrays), np.bool_)
        wanted[known] = fields.elements[items.handles[known]]
        wrong = arrays != wanted
    items.refused[:] = wrong
    for index in np.flatnonzero(wrong).tolist():
        items.reasons[int(items.handles[index])] = (
            "is an array: name one element in column `index`"
            if arrays[index]
            else "is no array: leave column `index` empty"
        )


def spread(body: bytes, nothing: Bools, loose: Loose, items: Items, fields: FieldTable) -> Items:
    """Give each field of a structure that is a point an item of its own, behind the others.

    The first takes the place of the structure itself. nothing: bool[n], items without a value.
    """
    handles = items.handles
    known = handles < len(fields.structured)
    known[known] = fields.structured[handles[known]]
    if not known.any():
        return items
    at = {index: place for place, index in enumerate(loose.index)}
    origins: list[int] = []
    more: list[int] = []
    for index in np.flatnonzero(known).tolist():
        place, readers = at.get(index), fields.readers(int(handles[index]))
        values: list[tuple[int, Element | None]]
        if nothing[index]:
            values = [(handle, ABSENT) for handle, _ in readers]
        else:
            start = loose.variant[place] if place is not None else -1
            quick = fields.quick(int(handles[index]))
            values = _read_fields(body, start, index, (readers, quick), items)
        if place is not None:
            loose.value[place] = values[0][1]
        items.refused[index] = values[0][1] is None
        for handle, value in values[1:]:
            loose.index.append(len(handles) + len(more))
            loose.value.append(value)
            more.append(handle)
            origins.append(index)
    return Items(
        np.concatenate((handles, np.array(more, np.uint32))),
        np.concatenate((items.status, items.status[origins])),
        np.concatenate((items.source_ns, items.source_ns[origins])),
        np.concatenate((items.refused, np.zeros(len(more), np.bool_))),
        items.reasons,
        items.doubted,
    )


def _read_fields(
    body: bytes,
    start: int,
    index: int,
    how: tuple[Sequence[tuple[int, Reader]], QuickReader | None],
    items: Items,
) -> list[tuple[int, Element | None]]:
    """Read the fields of one structure; None, and the reason noted, where one is not to be had.

    start: of its Variant; -1 where the value is of fixed size, and so no structure.
    """
    readers, quick = how
    values: list[tuple[int, Element | None]] = []
    refusal: Refusal | None = None
    if start < 0:
        refusal = Refusal("its value is no structure: leave column `field` empty")
    elif int(items.status[index]) & _CHANGED:
        refusal = Refusal("the server says that its structure has changed", doubted=True)
    elif items.refused[index]:
        refusal = Refusal(items.reasons[int(items.handles[index])])
    if refusal is None and quick is not None:
        found = quick.read(body, start)
        if found is not None:
            return [(handle, value) for (handle, _), value in zip(readers, found, strict=True)]
    for handle, reader in readers:
        value: Element | None = None
        cursor = Cursor(body, max(start, 0))
        try:
            value = (refusal or reader).read(cursor, cursor.u8())
        except StructureError as error:
            items.reasons[handle] = str(error)
            if error.doubted:
                items.doubted.add(int(items.handles[index]))
        values.append((handle, value))
    return values


__all__ = ["Items", "judge_arrays", "spread"]

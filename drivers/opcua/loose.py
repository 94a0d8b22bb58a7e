"""Reads items of variable size one by one: texts, structures, rarities. Pure.

Guarantees: an item is read to its end, so that the next one is found, or CodecError; what fits no
column is None. Items of fixed size are read by codec.py as columns instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from drivers.opcua import wire
from drivers.opcua.convert import ticks_to_ns
from drivers.opcua.structures import Element
from drivers.opcua.wire import Cursor

_ARRAY, _MATRIX = 0x80, 0x40


@dataclass(slots=True)
class Loose:
    """Items of variable size, read one by one.

    value: text, or (built-in type, bytes) of an array's only element; None fits no kind.
    variant: where the Variant's encoding byte stands.  arrays: which are arrays.
    """

    index: list[int] = field(default_factory=list)
    handle: list[int] = field(default_factory=list)
    value: list[Element | None] = field(default_factory=list)
    variant: list[int] = field(default_factory=list)
    arrays: list[bool] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    source_ns: list[int] = field(default_factory=list)


def read_loose(body: bytes, position: int, lead: int, index: int, loose: Loose) -> int:
    """Read one item of variable size; returns where the next one begins."""
    cursor = Cursor(body, position)
    handle = cursor.u32() if lead else 0
    mask = cursor.u8()
    variant = cursor.position
    encoding, value = 0, None
    if mask & 1:
        encoding = cursor.u8()
        while encoding == wire.VARIANT:  # one in another is read as the inner one
            encoding = cursor.u8()
        value = _read_value(cursor, encoding)
    status = cursor.u32() if mask & 0x02 else 0
    source = ticks_to_ns(cursor.i64()) if mask & 0x04 else 0
    if mask & 0x10:
        cursor.u16()
    server = ticks_to_ns(cursor.i64()) if mask & 0x08 else 0
    if mask & 0x20:
        cursor.u16()
    loose.index.append(index)
    loose.handle.append(handle)
    loose.value.append(value)
    loose.variant.append(variant)
    loose.arrays.append(encoding & _ARRAY != 0)
    loose.status.append(status)
    loose.source_ns.append(source or server)
    return cursor.position


def _read_value(cursor: Cursor, encoding: int) -> Element | None:
    """Read a text, a number that stood in a Variant of its own, or an array's only element.

    Anything else is passed over and gives None.
    """
    size = wire.FIXED_SIZES.get(encoding, 0)
    if size:
        first = cursor.skip(size)
        return encoding, cursor.content[first : first + size]
    if encoding & _ARRAY:
        return _read_element(cursor, encoding)
    if encoding & _MATRIX:
        cursor.skip_variant_body(encoding)
    return cursor.text_of(encoding)


def _read_element(cursor: Cursor, encoding: int) -> Element | None:
    """Read an array of one element as that element; longer ones are passed over."""
    start, built_in = cursor.position, encoding & 0x3F
    size = wire.FIXED_SIZES.get(built_in, 0)
    element: Element | None = None
    if cursor.count(1) == 1 and size:
        first = cursor.skip(size)
        element = built_in, cursor.content[first : first + size]
    elif built_in == wire.STRING:
        cursor.position = start
        element = cursor.text() if cursor.count(4) == 1 else None
    cursor.position = start
    cursor.skip_variant_body(encoding)
    return element


__all__ = ["Loose", "read_loose"]

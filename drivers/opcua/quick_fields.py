"""Reads all wanted fields of a plain structure in one pass, by a plan made of its definition. Pure.

Guarantees: gives what `FieldReader` gives for each path, or None, and then those are asked: for
any value that is not exactly of this type, and for types with more than a plan knows (optional
fields, unions, Variants, matrices, arrays of structures). So nothing is judged or worded twice.

A plan knows values of fixed size, texts, ByteStrings to pass over, arrays of fixed-size values, and
structures of these in structures. What is of fixed size and stands together is one step.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivers.opcua import wire
from drivers.opcua.field_path import MOST_STEPS, FieldStep
from drivers.opcua.structures import ABSENT, PLAIN, STRUCTURE, Element, Field, Structure, TypeBook
from drivers.opcua.wire import NodeKey

_I32 = struct.Struct("<i")
_MOST = 4096  # steps of a plan, fields wanted included
_LENGTHS = frozenset({wire.STRING, wire.XML_ELEMENT, wire.BYTE_STRING})

Wish = tuple[int, tuple[FieldStep, ...]]
"""Place among what is wanted, and the path from here on."""


Found = list[Element]


@dataclass(slots=True)
class _Fixed:
    """Values of fixed size that stand together. takes: place, first and last byte, type."""

    size: int = 0
    takes: list[tuple[int, int, int, int]] = field(default_factory=list)

    def read(self, content: bytes, position: int, end: int, found: Found) -> int:
        """Pass over it; returns where it ends, -1 where the bytes are others."""
        del end  # whoever comes last compares
        for place, first, last, built_in in self.takes:
            found[place] = built_in, content[position + first : position + last]
        return position + self.size


@dataclass(frozen=True, slots=True)
class _Text:
    """A length and so many bytes. takes: places that want the text."""

    takes: tuple[int, ...]

    def read(self, content: bytes, position: int, end: int, found: Found) -> int:
        """See _Fixed.read."""
        if position + 4 > end:
            return -1
        start, length = position + 4, int(_I32.unpack_from(content, position)[0])
        stop = start + max(0, length)
        if length < -1 or stop > end or (self.takes and stop - position > wire.MAX_TEXT_BYTES):
            return -1
        for place in self.takes:
            found[place] = content[start:stop].decode("utf-8", errors="replace")
        return stop


@dataclass(frozen=True, slots=True)
class _Array:
    """A count and so many values of `size` bytes. takes: place and index."""

    size: int
    built_in: int
    takes: tuple[tuple[int, int], ...]

    def read(self, content: bytes, position: int, end: int, found: Found) -> int:
        """See _Fixed.read."""
        if position + 4 > end:
            return -1
        start, length = position + 4, int(_I32.unpack_from(content, position)[0])
        stop = start + max(0, length) * self.size
        if length < -1 or stop > end:
            return -1
        for place, index in self.takes:
            if index < length:
                first = start + index * self.size
                found[place] = self.built_in, content[first : first + self.size]
        return stop


_Step = _Fixed | _Text | _Array


class _TooMuchError(Exception):
    """The type holds what no plan knows."""


class QuickReader:
    """A plan for one structure and the fields that are wanted of it."""

    __slots__ = ("_blank", "_head", "_steps")

    def __init__(self, head: bytes, steps: Sequence[_Step], wanted: int) -> None:
        """head: how the Variant begins, up to the length of the structure."""
        self._head = head
        self._steps = tuple(steps)
        self._blank: Found = [ABSENT] * wanted

    def read(self, content: bytes, at: int) -> Found | None:
        """Read a Variant, whose bytes are known to be there; one entry for each path, or None."""
        if not content.startswith(self._head, at):
            return None
        position = at + len(self._head) + 4
        end = position + int(_I32.unpack_from(content, position - 4)[0])
        found = self._blank.copy()
        for step in self._steps:
            position = step.read(content, position, end, found)
            if position < 0:
                return None
        return found if position == end else None


def quick_reader(
    book: TypeBook, root: Structure, paths: Sequence[tuple[FieldStep, ...]]
) -> QuickReader | None:
    """Make a plan; None where the type holds more than a plan knows."""
    head = _head(root.encoding)
    key = book.encodings.get(root.encoding)
    if head is None or key is None or book.structures.get(key) != root:
        return None
    steps: list[_Step] = []
    try:
        _add_structure(book, root, list(enumerate(paths)), steps, 0)
    except _TooMuchError:
        return None
    return QuickReader(head, steps, len(paths))


def _head(encoding: NodeKey) -> bytes | None:
    """Give the Variant's first bytes, the NodeId in the shortest form, as every stack writes it."""
    namespace, number = encoding
    if not isinstance(number, int):
        return None
    if not namespace and number <= 0xFF:
        node = struct.pack("<BB", 0, number)
    elif namespace <= 0xFF and number <= 0xFFFF:
        node = struct.pack("<BBH", 1, namespace, number)
    else:
        node = struct.pack("<BHI", 2, namespace, number)
    return bytes((wire.EXTENSION_OBJECT,)) + node + b"\x01"


def _add_structure(
    book: TypeBook,
    structure: Structure,
    wishes: list[Wish],
    steps: list[_Step],
    depth: int,
) -> None:
    names = {one.name for one in structure.fields}
    plain = structure.form == PLAIN and structure.fields and len(names) == len(structure.fields)
    if not plain or depth >= MOST_STEPS or any(path[0].name not in names for _, path in wishes):
        raise _TooMuchError
    for one in structure.fields:
        if len(steps) > _MOST:
            raise _TooMuchError
        own = [wish for wish in wishes if wish[1][0].name == one.name]
        if one.built_in == STRUCTURE and not one.rank:
            if any(len(path) == 1 or path[0].index for _, path in own):
                raise _TooMuchError
            inner = book.structures[one.structure or (0, 0)]
            rest = [(place, path[1:]) for place, path in own]
            _add_structure(book, inner, rest, steps, depth + 1)
        else:
            _add_value(one, own, steps)


def _add_value(one: Field, own: list[Wish], steps: list[_Step]) -> None:
    size = wire.FIXED_SIZES.get(one.built_in or 0, 0)
    if any(len(path) > 1 or len(path[0].index) != one.rank for _, path in own):
        raise _TooMuchError
    places = tuple(place for place, _ in own)
    if one.rank == 0 and size and one.built_in is not None:
        last = steps[-1] if steps else None
        if not isinstance(last, _Fixed):
            last = _Fixed()
            steps.append(last)
        last.takes += [(at, last.size, last.size + size, one.built_in) for at in places]
        last.size += size
    elif one.rank == 1 and size and one.built_in is not None:
        takes = tuple((place, path[0].index[0]) for place, path in own)
        steps.append(_Array(size, one.built_in, takes))
    elif (
        one.rank == 0
        and one.built_in in _LENGTHS
        and not (own and one.built_in == wire.BYTE_STRING)
    ):
        steps.append(_Text(places))
    else:
        raise _TooMuchError


__all__ = ["QuickReader", "quick_reader"]

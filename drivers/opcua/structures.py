"""Reads one field out of an OPC UA structure, by the server's definition of its type. Pure.

Guarantees: a value is given only where the bytes end exactly where the definition says; anything
else (no such field, an unknown type, a wrong length, hostile bytes) raises StructureError with one
reason, and concerns this value alone; nesting and work are bounded by the bytes; what is absent (an
optional field left out, another arm of a union, an element beyond the array) is ABSENT, never a
value. Definitions are data of one session: no type of asyncua's is made or changed.

How a structure is encoded: OPC 10000-6, 5.2.6 (fields one after another; optional fields behind a
mask of 32 bits; a union behind a number, 0 for none), 5.2.5 (arrays, matrices behind their
dimensions) and 5.2.2.15 (ExtensionObject). What a field may be: OPC 10000-3, 8.48 to 8.51.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from drivers.opcua import wire
from drivers.opcua.field_path import MOST_STEPS, FieldStep
from drivers.opcua.wire import CodecError, Cursor, NodeKey, node_words

STRUCTURE = -1
"""Stands for a built-in type where a field is itself a structure, encoded without a header."""

PLAIN, OPTIONAL, UNION, SUBTYPED, SUBTYPED_UNION = range(5)
"""StructureType (OPC 10000-3, 8.49)."""

BUILT_IN_NAMES = (
    "Null", "Boolean", "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64",
    "Float", "Double", "String", "DateTime", "Guid", "ByteString", "XmlElement", "NodeId",
    "ExpandedNodeId", "StatusCode", "QualifiedName", "LocalizedText", "Structure", "DataValue",
    "Variant", "DiagnosticInfo",
)  # fmt: skip
"""By id (OPC 10000-6, table 1)."""

TEXTS = frozenset({wire.STRING, wire.XML_ELEMENT, wire.QUALIFIED_NAME, wire.LOCALIZED_TEXT})
_ARRAY, _MATRIX = 0x80, 0x40
_NAMED_FIELDS = 12

Element = str | tuple[int, bytes]
"""A text, or (built-in type of fixed size, its bytes)."""

ABSENT: Element = (0, b"")


class StructureError(ValueError):
    """A field cannot be read; the text says why. doubted: the definitions may be out of date."""

    def __init__(self, why: str, *, doubted: bool = False) -> None:
        super().__init__(why)
        self.doubted = doubted


@dataclass(frozen=True, slots=True)
class Field:
    """One field. built_in: id, or STRUCTURE with `structure` its type; rank: dimensions, 0 none.

    optional: stands behind the mask (of an OPTIONAL structure only).  built_in None: what stands
    there is unknown, for the reason in `unknown`.  sizes: elements of each dimension where said.
    """

    name: str
    built_in: int | None
    rank: int = 0
    structure: NodeKey | None = None
    optional: bool = False
    unknown: str = ""
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Structure:
    """A type. encoding: NodeId that precedes its values; form: PLAIN and so on."""

    name: str
    encoding: NodeKey
    form: int
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field:
        """Give a field; raises StructureError with those there are."""
        for one in self.fields:
            if one.name == name:
                return one
        names = [one.name for one in self.fields]
        more = ", …" if len(names) > _NAMED_FIELDS else ""
        listed = ", ".join(names[:_NAMED_FIELDS]) + more or "none"
        raise StructureError(f"type {self.name} has no field {name!r}; it has {listed}")


@dataclass(frozen=True, slots=True)
class TypeBook:
    """The types of one session, by NodeId of the data type and of its binary encoding."""

    structures: Mapping[NodeKey, Structure] = field(default_factory=dict)
    encodings: Mapping[NodeKey, NodeKey] = field(default_factory=dict)

    def encoded(self, encoding: NodeKey) -> Structure:
        """Give the type whose values follow this NodeId; raises StructureError."""
        structure = self.structures.get(self.encodings.get(encoding, (0, 0)))
        if structure is None:
            words = node_words(encoding) or "none"
            why = f"a value of encoding {words} came, of which the server gives no definition"
            raise StructureError(why, doubted=True)
        return structure


class Reader(Protocol):
    """Reads one field of the values of a variable."""

    @property
    def built_in(self) -> int | None:
        """Built-in type of what is read, None where that shows with each value only."""

    def read(self, cursor: Cursor, encoding: int) -> Element:
        """Read from a Variant whose encoding byte has been read; raises StructureError."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A field that cannot be read, and why."""

    why: str
    doubted: bool = False

    @property
    def built_in(self) -> int | None:
        """Nothing is read."""
        return None

    def read(self, cursor: Cursor, encoding: int) -> Element:
        """Raise StructureError."""
        raise StructureError(self.why, doubted=self.doubted)


@dataclass(frozen=True, slots=True)
class FieldReader:
    """Reads the field at `path`. built_in: see Reader; book: the types of this session."""

    path: tuple[FieldStep, ...]
    book: TypeBook
    built_in: int | None = None

    def read(self, cursor: Cursor, encoding: int) -> Element:
        """See Reader. An array must hold one structure, as an index range leaves it."""
        try:
            if encoding & _ARRAY:
                count = cursor.count(1)
                if count != 1:
                    why = f"is an array of {count} structures: name one in column `index`"
                    raise StructureError(why)
            if encoding & 0x3F == wire.VARIANT:
                encoding = cursor.u8()
            if encoding & 0x3F != wire.EXTENSION_OBJECT:
                name = _type_name(encoding & 0x3F)
                raise StructureError(f"is no structure but {name}: leave column `field` empty")
            return _Walk(self.book).extension_object(cursor, self.path)
        except CodecError as error:
            raise StructureError(f"its bytes make no sense ({error})", doubted=True) from error


@dataclass(frozen=True, slots=True)
class _Walk:
    """One walk over the bytes of a structure. depth: of nesting."""

    book: TypeBook
    depth: int = 0

    def extension_object(self, cursor: Cursor, steps: tuple[FieldStep, ...]) -> Element:
        """Read a field of a structure that carries its type."""
        if not steps:
            raise StructureError("is a structure: name one of its fields")
        key = cursor.node()
        form = cursor.u8()
        if form == 0:
            return ABSENT
        if form != 1:
            raise StructureError("is encoded as XML, which is not read")
        structure = self.book.encoded(key)
        start, end = cursor.span()
        body = Cursor(cursor.content, start, end)
        found = self.structure(body, structure, steps)
        if body.position != end:
            why = f"type {structure.name} ends {end - body.position} bytes before its value does"
            raise StructureError(why, doubted=True)
        return found

    def structure(
        self, cursor: Cursor, structure: Structure, steps: tuple[FieldStep, ...]
    ) -> Element:
        """Walk over a whole structure; gives the field at `steps`."""
        structure.field(steps[0].name)
        found: Element = ABSENT
        for one in _present(cursor, structure):
            if one.name == steps[0].name:
                found = self._field(cursor, one, steps)
            else:
                self.skip(cursor, one)
        return found

    def _field(self, cursor: Cursor, one: Field, steps: tuple[FieldStep, ...]) -> Element:
        index = steps[0].index
        _judge_index(one, index)
        if not one.rank:
            return self._single(cursor, one, steps[1:])
        sizes, count = _array(cursor, one)
        wanted = -1
        if all(place < size for place, size in zip(index, sizes, strict=True)):
            wanted = 0
            for place, size in zip(index, sizes, strict=True):
                wanted = wanted * size + place
        if wanted < 0:
            self._skip_many(cursor, one, count)
            return ABSENT
        self._skip_many(cursor, one, wanted)
        found = self._single(cursor, one, steps[1:])
        self._skip_many(cursor, one, count - wanted - 1)
        return found

    def _single(self, cursor: Cursor, one: Field, rest: tuple[FieldStep, ...]) -> Element:
        if one.built_in == STRUCTURE:
            structure = self.book.structures[one.structure or (0, 0)]
            if not rest:
                raise StructureError(f"{one.name} is a structure: name one of its fields")
            return self._deeper().structure(cursor, structure, rest)
        if one.built_in == wire.EXTENSION_OBJECT:
            return self._deeper().extension_object(cursor, rest)
        if one.built_in == wire.VARIANT:
            return self._variant(cursor, one, rest)
        return _plain(cursor, one, one.built_in, rest)

    def _variant(self, cursor: Cursor, one: Field, rest: tuple[FieldStep, ...]) -> Element:
        encoding = cursor.u8()
        if encoding == wire.EXTENSION_OBJECT:
            return self._deeper().extension_object(cursor, rest)
        if encoding & (_ARRAY | _MATRIX):
            raise StructureError(f"{one.name} holds an array in a Variant, which is not read")
        if encoding == 0:
            return ABSENT
        return _plain(cursor, one, encoding, rest)

    def skip(self, cursor: Cursor, one: Field) -> None:
        """Pass over a field, all of its elements."""
        if one.rank:
            _, count = _array(cursor, one)
            self._skip_many(cursor, one, count)
        else:
            self._skip_many(cursor, one, 1)

    def _skip_many(self, cursor: Cursor, one: Field, count: int) -> None:
        if one.built_in is None:
            raise StructureError(one.unknown)
        size = wire.FIXED_SIZES.get(one.built_in)
        if size is not None:
            cursor.skip(size * count)
            return
        for _ in range(count):
            if one.built_in == STRUCTURE:
                deeper = self._deeper()
                for inner in _present(cursor, self.book.structures[one.structure or (0, 0)]):
                    deeper.skip(cursor, inner)
            else:
                cursor.skip_value(one.built_in, 0)

    def _deeper(self) -> _Walk:
        if self.depth >= MOST_STEPS:
            raise CodecError(f"structures nested deeper than {MOST_STEPS}")
        return _Walk(self.book, self.depth + 1)


def _present(cursor: Cursor, structure: Structure) -> Iterator[Field]:
    """Give the fields that the bytes hold, in their order; the caller passes each before the next.

    A structure without fields would let an array of any length pass for nothing: it is refused.
    """
    if not structure.fields:
        raise StructureError(f"type {structure.name} has no fields")
    if structure.form in (UNION, SUBTYPED_UNION):
        chosen = cursor.u32()
        if chosen > len(structure.fields):
            raise CodecError(f"a union of {len(structure.fields)} fields with number {chosen}")
        if chosen:
            yield structure.fields[chosen - 1]
        return
    mask = cursor.u32() if structure.form == OPTIONAL else 0
    for one in structure.fields:
        if structure.form == OPTIONAL and one.optional:
            present, mask = mask & 1, mask >> 1
            if not present:
                continue
        yield one
    if mask:
        raise CodecError("a mask of optional fields with more bits than fields")


def _array(cursor: Cursor, one: Field) -> tuple[tuple[int, ...], int]:
    """Read the head of an array or matrix: sizes and count."""
    if one.rank == 1:
        count = cursor.count(1)
        return (count,), count
    dimensions = cursor.count(4)
    if dimensions != one.rank:
        raise CodecError(f"{one.name} has {dimensions} dimensions, not {one.rank}")
    sizes = tuple(max(0, cursor.i32()) for _ in range(dimensions))
    count = math.prod(sizes)
    if count > cursor.end - cursor.position:
        raise CodecError(f"{one.name}: {count} elements are more than the message holds")
    return sizes, count


def _plain(cursor: Cursor, one: Field, built_in: int | None, rest: object) -> Element:
    """Read a value of a built-in type that fits a column."""
    if built_in is None:
        raise StructureError(one.unknown)
    if rest:
        raise StructureError(f"{one.name} is {_type_name(built_in)}, which has no fields")
    size = wire.FIXED_SIZES.get(built_in, 0)
    if size:
        start = cursor.skip(size)
        return built_in, cursor.content[start : start + size]
    if built_in not in TEXTS:
        raise StructureError(f"{one.name} is {_type_name(built_in)}, which gives no value")
    text = cursor.text_of(built_in)
    if text is None:
        raise StructureError(f"{one.name} is longer than {wire.MAX_TEXT_BYTES} bytes")
    return text


def _judge_index(one: Field, index: tuple[int, ...]) -> None:
    """Raise StructureError where an element is named of what is no array, or none of an array."""
    if len(index) == one.rank:
        return
    if not one.rank:
        why = f"{one.name} is no array: leave [{','.join(map(str, index))}] away"
        raise StructureError(why)
    wanted = ",".join(["0"] * one.rank)
    why = f"{one.name} is an array of {one.rank} dimensions: name one element, as [{wanted}]"
    raise StructureError(why)


def _type_name(built_in: int) -> str:
    return BUILT_IN_NAMES[built_in] if 0 <= built_in < len(BUILT_IN_NAMES) else str(built_in)


def reader_of(book: TypeBook, root: Structure | None, path: tuple[FieldStep, ...]) -> Reader:
    """Make a reader, or a Refusal where the definitions already say that nothing will come.

    root: type of the variable; None where it shows with each value only.
    """
    structure = root
    built_in: int | None = None
    try:
        for place, step in enumerate(path):
            if structure is None:
                break
            one = structure.field(step.name)
            _judge_index(one, step.index)
            structure, built_in = None, one.built_in
            if built_in == STRUCTURE and place + 1 < len(path):
                structure = book.structures[one.structure or (0, 0)]
            elif built_in in (wire.EXTENSION_OBJECT, wire.VARIANT) and place + 1 < len(path):
                built_in = None
                break
            else:
                _judge(one, path[place + 1 :])
    except StructureError as error:
        return Refusal(str(error))
    return FieldReader(path, book, None if built_in == wire.VARIANT else built_in)


def _judge(one: Field, rest: tuple[FieldStep, ...]) -> None:
    """Raise StructureError where a field at the end of a path gives no value."""
    if one.built_in is None:
        raise StructureError(one.unknown)
    if one.built_in in (STRUCTURE, wire.EXTENSION_OBJECT):
        raise StructureError(f"{one.name} is a structure: name one of its fields")
    if rest:
        raise StructureError(f"{one.name} is {_type_name(one.built_in)}, which has no fields")
    sized = wire.FIXED_SIZES.get(one.built_in, 0)
    if not sized and one.built_in not in TEXTS and one.built_in != wire.VARIANT:
        raise StructureError(f"{one.name} is {_type_name(one.built_in)}, which gives no value")


__all__ = [
    "ABSENT", "BUILT_IN_NAMES", "OPTIONAL", "PLAIN", "STRUCTURE", "SUBTYPED", "SUBTYPED_UNION",
    "TEXTS", "UNION", "Element", "Field", "FieldReader", "Reader", "Refusal",
    "Structure", "StructureError", "TypeBook", "reader_of",
]  # fmt: skip

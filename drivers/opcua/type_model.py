"""Gathers what a server says of its data types, until structures can be read. Pure.

Guarantees: `wanted` names the types still to be asked for, never one twice, at most MOST_TYPES in
all; a type that the server does not explain spoils only the fields that are of it; hostile bytes
raise CodecError only.

A type is a structure if it has a StructureDefinition (OPC 10000-3, 8.48); anything else is encoded
as the built-in type it descends from: an enumeration as Int32, an option set as its integer, a
Duration as Double, an abstract number as Variant, an abstract structure as ExtensionObject
(OPC 10000-6, 5.1.2 and 5.2.6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from drivers.opcua import wire
from drivers.opcua.structures import (
    OPTIONAL,
    PLAIN,
    STRUCTURE,
    SUBTYPED,
    SUBTYPED_UNION,
    UNION,
    Field,
    Structure,
    TypeBook,
)
from drivers.opcua.wire import CodecError, Cursor, NodeKey, node_words

MOST_TYPES = 2000
"""Types of one server that are followed; a large companion specification has some hundreds."""

_MOST_GENERATIONS = 16
_STRUCTURE_DEFINITION, _ENUM_DEFINITION = (0, 122), (0, 123)
_INT32, _ENUMERATION, _DECIMAL = 6, 29, 50
_NUMBERS = frozenset({26, 27, 28})  # Number, Integer, UInteger: abstract
_LAST_BUILT_IN = 25
_NO_IDENTIFIER = (0, "", b"")
_LEAST_FIELD_BYTES = 4 + 1 + 2 + 4 + 4 + 4 + 1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """A StructureField as it is told. rank: ValueRank; optional: IsOptional."""

    name: str
    data_type: NodeKey
    rank: int = -1
    optional: bool = False
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """A StructureDefinition as it is told. form: StructureType."""

    encoding: NodeKey
    form: int
    fields: tuple[FieldDefinition, ...]


def read_definitions(cursor: Cursor, nodes: int) -> list[Definition | None]:
    """Read an array of DataValues with DataTypeDefinitions; None for whatever is no structure's.

    One that makes no sense is None too, as its length says where the next begins.
    """
    return _each(cursor, nodes, _definition)


def read_type_ids(cursor: Cursor, nodes: int) -> list[NodeKey | None]:
    """Read an array of DataValues: the encoding's NodeId of each value that is a structure."""
    return _each(cursor, nodes, _type_id)


def read_keys(cursor: Cursor, nodes: int) -> list[NodeKey | None]:
    """Read an array of DataValues with NodeIds; None where there is none."""
    return _each(cursor, nodes, lambda own, encoding: own.node() if encoding == 17 else None)


def _each(cursor: Cursor, nodes: int, read: Callable[[Cursor, int], T | None]) -> list[T | None]:
    count = cursor.count(1)
    if count != nodes:
        raise CodecError(f"{count} values for {nodes} nodes")
    found: list[T | None] = []
    for _ in range(count):
        start = cursor.position
        cursor.skip_data_value(0)
        own = Cursor(cursor.content, start, cursor.position)
        try:
            found.append(read(own, own.u8()) if own.u8() & 0x01 else None)
        except CodecError:
            found.append(None)
    return found


def _definition(cursor: Cursor, encoding: int) -> Definition | None:
    if encoding != wire.EXTENSION_OBJECT:
        return None
    type_id, start, end = cursor.extension_object()
    if type_id != _STRUCTURE_DEFINITION:
        return None
    body = Cursor(cursor.content, start, end)
    own, _base, form = body.node(), body.node(), body.i32()
    count = body.count(_LEAST_FIELD_BYTES)
    fields = tuple(_field_definition(body) for _ in range(count))
    if body.position != end or form not in (PLAIN, OPTIONAL, UNION, SUBTYPED, SUBTYPED_UNION):
        raise CodecError("a StructureDefinition of unknown form")
    return Definition(own, form, fields)


def _field_definition(body: Cursor) -> FieldDefinition:
    name = body.text()
    body.localized_text()
    data_type, rank = body.node(), body.i32()
    sizes = tuple(body.u32() for _ in range(body.count(4)))
    body.u32()  # MaxStringLength
    return FieldDefinition(name, data_type, rank, body.u8() != 0, sizes)


def _type_id(cursor: Cursor, encoding: int) -> NodeKey | None:
    if encoding & 0x80 and cursor.count(1) == 0:
        return None
    if encoding & 0x3F == wire.VARIANT:
        encoding = cursor.u8()
    return cursor.node() if encoding & 0x3F == wire.EXTENSION_OBJECT else None


class TypeModel:
    """The types met so far. Ask for `wanted`, tell what came, until nothing is wanted."""

    def __init__(self) -> None:
        self._names: dict[NodeKey, str] = {}
        self._definitions: dict[NodeKey, Definition] = {}
        self._encodings: dict[NodeKey, NodeKey] = {}
        self._parents: dict[NodeKey, NodeKey | None] = {}
        self._abstract: set[NodeKey] = set()
        self._asked: set[NodeKey] = set()
        self.wanted: list[NodeKey] = []
        """Types to be asked for: definition, whether abstract, name, and supertype."""

    def want(self, key: NodeKey) -> None:
        """Follow a type, unless it is known, built in, or one too many."""
        known = key in self._asked or _is_basic(key) or key[1] in _NO_IDENTIFIER
        if known or len(self._asked) >= MOST_TYPES:
            return
        self._asked.add(key)
        self.wanted.append(key)

    def tell_encoding(self, encoding: NodeKey, data_type: NodeKey) -> None:
        """Values that follow this NodeId are of this type."""
        self._encodings[encoding] = data_type

    def encoding_known(self, encoding: NodeKey) -> bool:
        """Tell whether a definition is there for values that follow this NodeId."""
        return self._encodings.get(encoding) in self._definitions

    def take(self) -> list[NodeKey]:
        """Give what is wanted, and want it no more."""
        taken, self.wanted = self.wanted, []
        return taken

    def tell(
        self, key: NodeKey, name: str, definition: Definition | None, *, abstract: bool
    ) -> None:
        """Take what the server says of a type. definition None: it has none."""
        self._names[key] = name
        if abstract:
            self._abstract.add(key)
        if definition is None:
            return
        self._definitions[key] = definition
        if definition.encoding[1] not in _NO_IDENTIFIER:
            self._encodings.setdefault(definition.encoding, key)
        for one in definition.fields:
            self.want(one.data_type)

    def defined(self, key: NodeKey) -> bool:
        """Tell whether a type is a structure that the server explains."""
        return key in self._definitions

    def tell_parent(self, key: NodeKey, parent: NodeKey | None) -> None:
        """Take what a type without a definition descends from; None: the server does not say."""
        self._parents[key] = parent
        if parent is not None:
            self.want(parent)

    def root(self, key: NodeKey | None, encoding: NodeKey | None) -> Structure | None:
        """Give the structure that the values of a variable are of; None where each value shows it.

        key: its DataType; encoding: what its present value names, or None where it has none.
        """
        told = self._encodings.get(encoding) if encoding is not None else key
        if key is None or told != key or key not in self._definitions or key in self._abstract:
            return None
        return self._structure(key)

    def shown(self, key: NodeKey | None, encoding: NodeKey | None) -> Structure | None:
        """Give the structure that a variable's present value is of, or that it declares."""
        for one in (self._encodings.get(encoding) if encoding is not None else None, key):
            if one is not None and one in self._definitions and one not in self._abstract:
                return self._structure(one)
        return None

    def book(self) -> TypeBook:
        """Give what is known."""
        structures = {key: self._structure(key) for key in self._definitions}
        return TypeBook(structures, dict(self._encodings))

    def _structure(self, key: NodeKey) -> Structure:
        definition = self._definitions[key]
        fields = tuple(self._field(one, definition.form) for one in definition.fields)
        name = self._names.get(key) or node_words(key)
        return Structure(name, definition.encoding, definition.form, fields)

    def _field(self, one: FieldDefinition, form: int) -> Field:
        built_in, unknown = self._built_in(one.data_type)
        if form in (SUBTYPED, SUBTYPED_UNION) and one.optional and built_in is not None:
            structured = built_in in (STRUCTURE, wire.EXTENSION_OBJECT)
            built_in = wire.EXTENSION_OBJECT if structured else wire.VARIANT
        rank = max(0, one.rank)
        if one.rank == 0 or one.rank < -1:
            built_in = None
            unknown = f"field {one.name} leaves its dimensions open (ValueRank {one.rank})"
        return Field(
            one.name,
            built_in,
            rank,
            one.data_type if built_in == STRUCTURE else None,
            optional=form == OPTIONAL and one.optional,
            unknown=unknown,
            sizes=one.sizes,
        )

    def _built_in(self, key: NodeKey) -> tuple[int | None, str]:
        """Give what a type is encoded as, or None and why that is not known."""
        at: NodeKey | None = key
        for _ in range(_MOST_GENERATIONS):
            if at is None:
                break
            if at in self._definitions:
                if at == key:
                    return (wire.EXTENSION_OBJECT if key in self._abstract else STRUCTURE), ""
                break  # a subtype that the server does not explain
            namespace, number = at
            if namespace == 0 and isinstance(number, int) and _is_basic(at):
                if at == (0, wire.EXTENSION_OBJECT) and key != at and key not in self._abstract:
                    break  # a structure of its own, which the server does not explain
                return _basic(number), ""
            at = self._parents.get(at)
        return None, f"the server does not explain type {self._names.get(key) or node_words(key)}"


def _is_basic(key: NodeKey) -> bool:
    """Tell whether the standard itself says how a type is encoded."""
    namespace, number = key
    if namespace != 0 or not isinstance(number, int):
        return False
    return 1 <= number <= _LAST_BUILT_IN or number in _NUMBERS | {_ENUMERATION, _DECIMAL}


def _basic(number: int) -> int:
    if number == _ENUMERATION:
        return _INT32
    return wire.VARIANT if number in _NUMBERS or number == _DECIMAL else number


__all__ = [
    "MOST_TYPES", "Definition", "FieldDefinition", "TypeModel", "read_definitions", "read_keys",
    "read_type_ids",
]  # fmt: skip

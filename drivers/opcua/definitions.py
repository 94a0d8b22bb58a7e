"""Learns in a session what the structures of its points look like, so that fields can be read.

Guarantees: only attributes are read and references browsed; the definitions asked for are those the
points need and no more; what a server does not explain concerns the points of it alone, each with a
reason; types of the OPC UA standard (namespace 0), which cannot differ, are known where a server
does not define them.

How a structure is found: DataType of the variable and, since that may be abstract, the encoding
that its present value names; from there DataTypeDefinition (attribute 23) of each type, and of the
types of its fields; HasEncoding and HasSubtype are browsed backwards (OPC 10000-3, 5.8.3 and 7).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncua.ua

from drivers.opcua import services
from drivers.opcua.client import Link
from drivers.opcua.publish import ServiceFaultError, read_read_response
from drivers.opcua.services import Item, Limits, Place
from drivers.opcua.type_model import (
    Definition,
    FieldDefinition,
    TypeModel,
    read_definitions,
    read_keys,
    read_type_ids,
)
from drivers.opcua.wire import CodecError, Cursor, NodeKey

ua: Any = asyncua.ua

_BROWSE_NAME, _IS_ABSTRACT, _DEFINITION = 3, 8, 23
_HAS_ENCODING, _HAS_SUBTYPE = 38, 45
_CALL = 100  # nodes a call, where the server names no limit
_MOST_ROUNDS = 64
T = TypeVar("T")


class TypeAsker:
    """Asks one server for the types of variables, in calls of the size it takes."""

    def __init__(self, link: Link, limits: Limits) -> None:
        self._link = link
        self._read_size = max(1, min(limits.nodes_per_read or _CALL, _CALL))
        self._browse_size = max(1, min(limits.browse_per_call or _CALL, _CALL))
        self.model = TypeModel()

    async def follow(self, items: Sequence[Item]) -> list[tuple[NodeKey | None, NodeKey | None]]:
        """Learn the types of variables; gives the data type and the present value's encoding."""
        places = [item.place for item in items]
        types = await self._read(places, services.DATA_TYPE, read_keys)
        encodings = await self._encodings(items)
        for key in types:
            if key is not None:
                self.model.want(key)
        await self._settle()
        unknown = {key for key in encodings if key is not None}
        unknown = {key for key in unknown if not self.model.encoding_known(key)}
        if unknown:
            await self._follow_encodings(sorted(unknown, key=repr))
        return list(zip(types, encodings, strict=True))

    async def _follow_encodings(self, encodings: list[NodeKey]) -> None:
        """Learn the types whose encodings these are: subtypes of what the variables declare."""
        types = await self._related(encodings, _HAS_ENCODING)
        for encoding, key in zip(encodings, types, strict=True):
            if key is not None:
                self.model.tell_encoding(encoding, key)
                self.model.want(key)
        await self._settle()

    async def _encodings(self, items: Sequence[Item]) -> list[NodeKey | None]:
        found: list[NodeKey | None] = []
        for chunk in _chunks(items, self._read_size):
            body = await services.read_values(self._link, chunk)
            found += _parsed(body, len(chunk), read_type_ids)
        return found

    async def _settle(self) -> None:
        """Ask until nothing is wanted; each round is one generation of types."""
        model = self.model
        for _ in range(_MOST_ROUNDS):
            keys = model.take()
            if not keys:
                return
            places = [Place(*key) for key in keys]
            definitions = await self._read(places, _DEFINITION, read_definitions)
            abstract = await self._plain(places, _IS_ABSTRACT)
            names = await self._plain(places, _BROWSE_NAME)
            for key, definition, flag, name in zip(keys, definitions, abstract, names, strict=True):
                word = str(getattr(name, "Name", "") or "")
                told = definition or _standard(key)
                model.tell(key, word, told, abstract=bool(flag))
            plain = [key for key in keys if not model.defined(key)]
            for key, parent in zip(plain, await self._related(plain, _HAS_SUBTYPE), strict=True):
                model.tell_parent(key, parent)

    async def _read(
        self,
        places: Sequence[Place],
        attribute: int,
        read: Callable[[Cursor, int], list[T | None]],
    ) -> list[T | None]:
        found: list[T | None] = []
        for chunk in _chunks(places, self._read_size):
            body = await services.read_raw(self._link, chunk, attribute)
            found += _parsed(body, len(chunk), read)
        return found

    async def _plain(self, places: Sequence[Place], attribute: int) -> list[Any]:
        found: list[Any] = []
        for chunk in _chunks(places, self._read_size):
            answers = await services.read_attributes(self._link, chunk, attribute)
            found += [value for value, _ in answers]
        return found

    async def _related(self, keys: Sequence[NodeKey], reference: int) -> list[NodeKey | None]:
        """Follow one kind of reference of each node backwards; None where there is none."""
        found: list[NodeKey | None] = []
        for chunk in _chunks(keys, self._browse_size):
            request = ua.BrowseRequest()
            request.Parameters.View.Timestamp = datetime(1601, 1, 1, tzinfo=UTC)
            request.Parameters.RequestedMaxReferencesPerNode = 0
            for key in chunk:
                wanted = ua.BrowseDescription()
                wanted.NodeId = ua.NodeId(key[1], key[0])
                wanted.BrowseDirection = ua.BrowseDirection.Inverse
                wanted.ReferenceTypeId = ua.NodeId(reference)
                wanted.IncludeSubtypes = True
                wanted.NodeClassMask = 0
                wanted.ResultMask = 0
                request.Parameters.NodesToBrowse.append(wanted)
            with self._link.speaking("following data types"):
                response = await self._link.call(request, ua.BrowseResponse)
                if len(response.Results) != len(chunk):
                    raise ValueError(f"{len(response.Results)} results for {len(chunk)} nodes")
                for result in response.Results:
                    first = result.References[0].NodeId if result.References else None
                    place = services.place_of(first) if first is not None else None
                    found.append((place.namespace, place.identifier) if place else None)
        return found


def _parsed(
    body: bytes, nodes: int, read: Callable[[Cursor, int], list[T | None]]
) -> list[T | None]:
    """Read an answer; one that makes no sense tells nothing of its nodes."""
    try:
        return read(read_read_response(body), nodes)
    except (CodecError, ServiceFaultError):
        return [None] * nodes


def _chunks(rows: Sequence[T], size: int) -> list[Sequence[T]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _standard(key: NodeKey) -> Definition | None:
    """Give a structure of the standard as asyncua's generated class has it; None where none is.

    The class is read, never changed. One with optional fields or of any other shape is left alone.
    """
    namespace, number = key
    name = ua.ObjectIdNames.get(number) if namespace == 0 and isinstance(number, int) else None
    made = getattr(ua, name, None) if name else None
    encoding = getattr(ua.ObjectIds, f"{name}_Encoding_DefaultBinary", None)
    if encoding is None or not dataclasses.is_dataclass(made):
        return None
    fields = []
    for one in dataclasses.fields(made):
        data_type, rank = _annotated(one.type)
        if one.name == "Encoding" or data_type is None:
            return None
        fields.append(FieldDefinition(one.name, (0, data_type), rank))
    return Definition((0, int(encoding)), 0, tuple(fields))


_ALIASES = {"ExtensionObject": 22, "Variant": 24}


def _annotated(annotation: object) -> tuple[int | None, int]:
    """Give data type and ValueRank of a field of a generated class, as 'list[ua.UInt32]'."""
    word = getattr(annotation, "__name__", None) or str(annotation).strip("'\"")
    rank = -1
    if word.startswith("list[") and word.endswith("]"):
        word, rank = word[5:-1], 1
    word = word.rpartition(".")[2] if "[" not in word and "|" not in word else ""
    number = _ALIASES.get(word) or getattr(ua.ObjectIds, word, None)
    return (int(number) if number is not None else None), rank


__all__ = ["TypeAsker"]

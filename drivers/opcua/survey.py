"""Compares the types in the point table with those of the server, once in each session.

Guarantees: says before it hurts that 64-bit integers lose bits as float, that texts will not fit a
number, that an array needs an element; changes nothing else. What the server does not tell is not
judged, and costs nothing but this.
"""

from __future__ import annotations

import contextlib
from functools import partial

from drivers.contract import Emit, ValueKind
from drivers.opcua import services
from drivers.opcua.client import Link
from drivers.opcua.device import Device
from drivers.opcua.faults import NoAnswerError, StatusError
from drivers.opcua.nodes import NodeFinder
from drivers.opcua.pieces import in_pieces
from drivers.opcua.services import Item

_FLOAT, _DOUBLE, _GUID = 10, 11, 14
_SIGNED, _LONG = frozenset({2, 4, 6, 8}), frozenset({8, 9})
_TEXTS = frozenset({12, 16, 20, 21})
_OPAQUE = frozenset({15, 17, 18, 22, 23, 25})
_CHUNK = 500


async def survey(device: Device, link: Link, finder: NodeFinder, emit: Emit) -> None:
    """Read DataType and ValueRank of every node found, and tell what does not fit, once each."""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(StatusError, NoAnswerError):
        await _compare(device, link, finder, found)
    for complaint, tags in found.items():
        if complaint not in device.surveyed:
            device.surveyed.add(complaint)
            await emit(device.events.type_mismatch(device.clock.wall_ns(), tags, complaint))


async def _compare(
    device: Device, link: Link, finder: NodeFinder, found: dict[str, list[str]]
) -> None:
    size = min(_CHUNK, finder.surroundings.limits.nodes_per_read or _CHUNK)
    items: list[Item] = list(finder.items.values())
    async for piece, (types, ranks) in in_pieces(items, size, partial(services.read_types, link)):
        for item, data_type, rank in zip(piece, types, ranks, strict=True):
            if item.handle in device.fellows:
                _judge_fields(device, item.handle, found)
                continue
            address = device.points[item.handle].address
            array = rank is not None and rank >= 0 and not address.index
            complaint = "are arrays: name an element in column `index`" if array else None
            if complaint is None and data_type is not None:
                complaint = judge(address.kind(), *data_type)
            if complaint is not None:
                found.setdefault(complaint, []).append(device.points[item.handle].tag)


def _judge_fields(device: Device, watched: int, found: dict[str, list[str]]) -> None:
    """Compare the fields of a structure, as far as its definition tells what they are."""
    for handle, reader in device.fields.readers(watched):
        complaint = judge(device.points[handle].address.kind(), 0, reader.built_in)
        if complaint is not None:
            found.setdefault(complaint, []).append(device.points[handle].tag)


def judge(kind: ValueKind, namespace: int, number: int | None) -> str | None:
    """Say what is wrong with reading a data type as this kind; None where nothing is known.

    namespace, number: the type's node id; number None where that is no number.
    """
    if namespace or number is None or kind is ValueKind.TEXT:
        return None
    if number in _LONG and kind is ValueKind.FLOAT:
        return "are 64-bit integers, which lose bits as float: declare them int or uint"
    if number in _TEXTS or number == _GUID:
        return "are texts: declare them text"
    if number in _OPAQUE:
        return "are of a type that gives no value (bytes, node ids, structures)"
    if number in _SIGNED and kind is ValueKind.UINT:
        return "are signed integers: declare them int"
    if number in (_FLOAT, _DOUBLE) and kind in (ValueKind.INT, ValueKind.UINT):
        return "are floating: declare them float, or fractions are bad"
    return None


__all__ = ["judge", "survey"]

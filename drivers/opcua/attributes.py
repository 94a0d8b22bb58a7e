"""Decodes answers to Read of DataType and ValueRank in one pass. Pure.

Guarantees: one entry for each node, None where the server gives none or something else; hostile
bytes raise CodecError only. asyncua builds some ten objects for each answer; a site has 20,000.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from drivers.opcua.wire import NODE_ID, VARIANT, CodecError, Cursor

_INT32 = 6
T = TypeVar("T")


def read_type_numbers(cursor: Cursor, nodes: int) -> list[tuple[int, int | None] | None]:
    """Read an array of DataValues with NodeIds: namespace index, and number where it is numeric."""
    return _read(cursor, nodes, NODE_ID, Cursor.node_id)


def read_ranks(cursor: Cursor, nodes: int) -> list[int | None]:
    """Read an array of DataValues with Int32."""
    return _read(cursor, nodes, _INT32, Cursor.i32)


def _read(cursor: Cursor, nodes: int, built_in: int, read: Callable[[Cursor], T]) -> list[T | None]:
    count = cursor.count(1)
    if count != nodes:
        raise CodecError(f"{count} values for {nodes} nodes")
    return [_read_one(cursor, built_in, read) for _ in range(count)]


def _read_one(cursor: Cursor, built_in: int, read: Callable[[Cursor], T]) -> T | None:
    start = cursor.position
    value = None
    if cursor.u8() & 0x01:
        encoding = cursor.u8()
        while encoding == VARIANT:  # a Variant in a Variant says what the inner one does
            encoding = cursor.u8()
        if encoding == built_in:
            value = read(cursor)
    cursor.position = start
    cursor.skip_data_value(0)
    return value


__all__ = ["read_ranks", "read_type_numbers"]

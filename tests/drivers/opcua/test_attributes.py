"""Our reading of DataType and ValueRank against asyncua's encoding, and against hostile bytes."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import asyncua.ua
import pytest
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.opcua.attributes import read_ranks, read_type_numbers
from drivers.opcua.wire import CodecError, Cursor

ua: Any = asyncua.ua
V = ua.VariantType
NODES = st.one_of(
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1)),
    st.tuples(st.integers(0, 0xFFFF), st.text(min_size=1, max_size=5)),
    st.none(),
)


def encode(values: list[tuple[object, object]]) -> bytes:
    parts = [
        struct_to_binary(
            ua.DataValue(ua.Variant(value, kind) if value is not None else None, ua.StatusCode(0))
        )
        for value, kind in values
    ]
    return struct.pack("<i", len(parts)) + b"".join(parts)


@given(st.lists(NODES, max_size=20))
def test_type_numbers_are_those_of_asyncua(nodes: list[tuple[int, int | str] | None]) -> None:
    rows: list[tuple[object, object]] = [
        (None if node is None else ua.NodeId(node[1], node[0]), V.NodeId) for node in nodes
    ]
    told = read_type_numbers(Cursor(encode(rows)), len(nodes))
    assert told == [
        None if n is None else (n[0], n[1] if isinstance(n[1], int) else None) for n in nodes
    ]


@given(st.lists(st.one_of(st.none(), st.integers(-3, 2**31 - 1)), max_size=20))
def test_ranks_are_those_of_asyncua(ranks: list[int | None]) -> None:
    assert read_ranks(Cursor(encode([(r, V.Int32) for r in ranks])), len(ranks)) == ranks


def test_another_type_is_nothing_and_stops_nothing() -> None:
    body = encode([("x", V.String), (1, V.Int32), ([1, 2], V.Int32)])
    assert read_ranks(Cursor(body), 3) == [None, 1, None]
    with pytest.raises(CodecError, match="3 values for 2 nodes"):
        read_ranks(Cursor(body), 2)


@given(st.binary(max_size=60), st.integers(0, 3))
@example(struct.pack("<i", 1) + b"\x01\x11", 1)
def test_hostile_bytes_raise_only_the_named_error(body: bytes, nodes: int) -> None:
    for read in (read_ranks, read_type_numbers):
        with contextlib.suppress(CodecError):
            assert len(read(Cursor(body), nodes)) == nodes


def test_a_variant_in_a_variant_says_what_the_inner_one_does() -> None:
    twice = b"\x03\x18\x18\x06\x02\x00\x00\x00" + bytes(4)
    assert read_ranks(Cursor(struct.pack("<i", 1) + twice), 1) == [2]

"""Decoding: case data, every type and order against struct and against pymodbus, bad blocks."""

from __future__ import annotations

import math
import struct
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin

from drivers.contract import Quality, ValueKind, quality_word
from drivers.modbus import decode
from drivers.modbus.codec import Area
from drivers.modbus.config import TYPE_REGISTERS
from drivers.modbus.decode import Column, Decoder, Layout, Value
from drivers.modbus.plan import Block, Limits, Span, plan

CASES = Path(decode.__file__).parent / "cases" / "values.toml"
FORMATS = {"u16": "H", "s16": "h", "u32": "I", "s32": "i", "f32": "f",
           "u64": "Q", "s64": "q", "f64": "d"}  # fmt: skip
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
ORACLE = {
    "u16": ModbusClientMixin.DATATYPE.UINT16, "s16": ModbusClientMixin.DATATYPE.INT16,
    "u32": ModbusClientMixin.DATATYPE.UINT32, "s32": ModbusClientMixin.DATATYPE.INT32,
    "f32": ModbusClientMixin.DATATYPE.FLOAT32, "u64": ModbusClientMixin.DATATYPE.UINT64,
    "s64": ModbusClientMixin.DATATYPE.INT64, "f64": ModbusClientMixin.DATATYPE.FLOAT64,
}  # fmt: skip


def _decoder(values: Sequence[Value], image: bytes) -> tuple[Decoder, list[Block]]:
    """Decoder whose buffer holds what a device with this memory image would answer."""
    layout = Layout(values)
    blocks = plan(layout.spans(), Limits(max_gap=0))
    decoder = Decoder(layout, blocks)
    for block, offset in zip(blocks, decoder.offsets, strict=True):
        part = image[2 * block.start : 2 * block.end]
        if block.area.bits:
            bits = np.unpackbits(np.frombuffer(image, np.uint8), bitorder="little")
            part = np.packbits(bits[block.start : block.end], bitorder="little").tobytes()
        decoder.buffer[offset : offset + len(part)] = part
    return decoder, blocks


def _by_id(columns: Sequence[Column]) -> dict[int, tuple[Any, int]]:
    return {
        point: (values, quality)
        for ids, column, marks in columns
        for point, values, quality in zip(
            ids.tolist(), np.asarray(column).tolist(), marks.tolist(), strict=True
        )
    }


def _in_order(raw: bytes, order: str) -> bytes:
    """Bytes of a big-endian value as a device with this order sends them."""
    words = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    if order in {"CDAB", "DCBA"}:
        words.reverse()
    if order in {"BADC", "DCBA"}:
        words = [word[::-1] for word in words]
    return b"".join(words)


@pytest.mark.parametrize("case", tomllib.loads(CASES.read_text(encoding="utf-8"))["value"], ids=str)
def test_cases(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["registers"])
    span = Span(Area.HOLDING, 0, len(raw) // 2)
    assert TYPE_REGISTERS[case["type"]] == span.count
    decoder, _ = _decoder([Value(1, span, case["type"], case.get("order", "ABCD"))], raw)
    value, quality = _by_id(decoder.decode({}))[1]
    assert quality_word(quality) == case.get("quality", "good")
    if "value" in case:
        assert value == case["value"]
    else:
        assert math.isnan(value)


@given(st.data())
def test_any_mixture_agrees_with_struct(data: st.DataObject) -> None:
    """Types, orders and addresses at random over one memory image, sparse or dense."""
    image = data.draw(st.binary(min_size=400, max_size=400))
    values, expected = [], {}
    for number in range(1, data.draw(st.integers(1, 60)) + 1):
        kind = data.draw(st.sampled_from(sorted(FORMATS)))
        order = data.draw(st.sampled_from(ORDERS))
        width = TYPE_REGISTERS[kind]
        start = data.draw(st.integers(0, 200 - width))
        area = data.draw(st.sampled_from([Area.HOLDING, Area.INPUT]))
        values.append(Value(number, Span(area, start, width), kind, order))
        raw = _in_order(image[2 * start : 2 * (start + width)], order)
        expected[number] = struct.unpack(">" + FORMATS[kind], raw)[0]
    decoder, _ = _decoder(values, image)
    decoded = _by_id(decoder.decode({}))
    for number, value in expected.items():
        found, quality = decoded[number]
        if isinstance(value, float) and not math.isfinite(value):
            assert math.isnan(found)
            assert quality == Quality.BAD_SENSOR_FAULT
        else:
            assert found == value
            assert quality == Quality.GOOD


@given(
    st.sampled_from(sorted(ORACLE)),
    st.sampled_from(["ABCD", "CDAB"]),
    st.lists(st.integers(0, 65535), min_size=4, max_size=4),
)
def test_agrees_with_pymodbus(kind: str, order: str, registers: list[int]) -> None:
    width = TYPE_REGISTERS[kind]
    theirs = ModbusClientMixin.convert_from_registers(
        registers[:width], ORACLE[kind], word_order="little" if order == "CDAB" else "big"
    )
    image = struct.pack(">4H", *registers)
    decoder, _ = _decoder([Value(1, Span(Area.HOLDING, 0, width), kind, order)], image)
    ours, _ = _by_id(decoder.decode({}))[1]
    assert isinstance(theirs, int | float)
    assert ours == theirs or not math.isfinite(theirs)


@given(st.binary(min_size=50, max_size=50), st.sets(st.integers(0, 399), min_size=1, max_size=80))
def test_bits_of_coils_and_registers(image: bytes, bits: set[int]) -> None:
    coils = [Value(bit + 1, Span(Area.COIL, bit, 1), "bool", "ABCD") for bit in bits]
    fields = [
        Value(bit + 1001, Span(Area.HOLDING, bit // 16, 1), f"bit{bit % 16}", "ABCD")
        for bit in bits
    ]
    decoder, _ = _decoder([*coils, *fields], image)
    decoded = _by_id(decoder.decode({}))
    for bit in bits:
        assert decoded[bit + 1] == (image[bit // 8] >> (bit % 8) & 1, Quality.GOOD)
        word = image[bit // 16 * 2] << 8 | image[bit // 16 * 2 + 1]
        assert decoded[bit + 1001] == (word >> (bit % 16) & 1, Quality.GOOD)


def test_order_of_points_does_not_depend_on_the_plan() -> None:
    values = [Value(at + 1, Span(Area.HOLDING, at, 1), "u16", "ABCD") for at in range(300)]
    layout = Layout(values)
    bad = {Span(Area.HOLDING, 7, 1), Span(Area.HOLDING, 200, 1)}
    blocks = plan(layout.spans(), Limits(), bad)
    columns = Decoder(layout, blocks).decode({})
    assert columns[0][0] is layout.points[ValueKind.FLOAT]
    assert columns[0][0].tolist() == list(range(1, 301))
    refused = [at for at in range(300) if columns[0][2][at]]
    assert refused == [7, 200]
    assert set(columns[0][2][refused].tolist()) == {Quality.BAD_ILLEGAL_ADDRESS}
    assert np.isnan(np.asarray(columns[0][1])[refused]).all()


def test_a_failed_block_carries_no_value_of_an_earlier_poll() -> None:
    values = [
        Value(1, Span(Area.HOLDING, 0, 1), "u16", "ABCD"),
        Value(2, Span(Area.HOLDING, 100, 4), "s64", "ABCD"),
        Value(3, Span(Area.HOLDING, 104, 4), "u64", "ABCD"),
        Value(4, Span(Area.HOLDING, 108, 2), "f32", "ABCD"),
    ]
    decoder, blocks = _decoder(values, bytes(range(220)))
    assert len(blocks) == 2
    before = _by_id(decoder.decode({}))
    assert all(quality == Quality.GOOD for _, quality in before.values())
    after = _by_id(decoder.decode({1: Quality.BAD_COMM_FAILURE}))
    assert after[1] == before[1]
    assert after[2] == (0, Quality.BAD_COMM_FAILURE)
    assert after[3] == (0, Quality.BAD_COMM_FAILURE)
    assert math.isnan(after[4][0])
    assert after[4][1] == Quality.BAD_COMM_FAILURE
    assert _by_id(decoder.decode({})) == before


def test_values_that_cannot_be_added_are_judged_one_by_one() -> None:
    """Infinities of both signs, and finite values whose sum is none."""
    image = struct.pack(">4d", math.inf, -math.inf, 1.7e308, 1.6e308)
    values = [Value(at + 1, Span(Area.HOLDING, 4 * at, 4), "f64", "ABCD") for at in range(4)]
    decoded = _by_id(_decoder(values, image)[0].decode({}))
    assert [quality for _, quality in decoded.values()] == [
        Quality.BAD_SENSOR_FAULT, Quality.BAD_SENSOR_FAULT, Quality.GOOD, Quality.GOOD,
    ]  # fmt: skip
    assert decoded[3][0] == 1.7e308


def test_quality_that_says_nothing_new_is_shared_and_values_are_not() -> None:
    decoder, _ = _decoder([Value(1, Span(Area.HOLDING, 0, 1), "u16", "ABCD")], b"\0\1")
    first, second = decoder.decode({})[0], decoder.decode({})[0]
    assert first[2] is second[2]
    assert first[1] is not second[1]


def test_a_device_without_a_legal_address_still_has_its_columns() -> None:
    values = [
        Value(1, Span(Area.COIL, 0, 1), "bool", "ABCD"),
        Value(2, Span(Area.HOLDING, 0, 2), "f32", "CDAB"),
        Value(3, Span(Area.HOLDING, 9, 1), "bcd16", "ABCD"),
    ]
    columns = Decoder(Layout(values), []).decode({})
    assert {quality for _, quality in _by_id(columns).values()} == {Quality.BAD_ILLEGAL_ADDRESS}
    assert np.isnan(columns[0][1]).all()


def test_all_bad_names_every_point() -> None:
    values = [
        Value(1, Span(Area.HOLDING, 0, 1), "u16", "ABCD"),
        Value(2, Span(Area.HOLDING, 4, 4), "s64", "ABCD"),
    ]
    columns = Layout(values).all_bad(Quality.BAD_NOT_CONNECTED)
    assert sorted(_by_id(columns)) == [1, 2]
    assert {quality for _, quality in _by_id(columns).values()} == {Quality.BAD_NOT_CONNECTED}

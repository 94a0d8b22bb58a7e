"""Strings in registers, and text beside numbers in one poll."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import DriverPoint, Quality, ValueKind
from drivers.modbus import DRIVER, ModbusAddress, ModbusConfig
from drivers.modbus.codec import Area
from drivers.modbus.decode import Decoder, Layout, Value
from drivers.modbus.plan import Limits, Span, plan
from tests.drivers.modbus.rig import ModbusServer, holding, make, running


def _read(registers: bytes, word: str, order: str = "ABCD") -> tuple[str, int]:
    layout = Layout([Value(7, Span(Area.HOLDING, 0, len(registers) // 2), word, order)])
    decoder = Decoder(layout, plan(layout.spans(), Limits()))
    decoder.buffer[: len(registers)] = registers
    ((points, values, quality),) = decoder.decode({})
    assert points.tolist() == [7]
    assert isinstance(values, tuple)
    return values[0], int(quality[0])


@pytest.mark.parametrize(
    ("registers", "word", "order", "text"),
    [
        (b"AB-123", "text:6", "ABCD", "AB-123"),
        (b"BA1-32", "text:6", "BADC", "AB-123"),
        (b"AB-12\xff", "text:5", "ABCD", "AB-12"),  # an odd length leaves the last byte out
        (b"AB\0\xff\xff\xff", "text:6", "ABCD", "AB"),
        (b"AB    ", "text:6", "ABCD", "AB"),
        (b"\0\0\0\0\0\0", "text:6", "ABCD", ""),
    ],
)
def test_strings(registers: bytes, word: str, order: str, text: str) -> None:
    assert _read(registers, word, order) == (text, Quality.GOOD)


def test_bytes_that_are_no_characters_are_a_fault() -> None:
    assert _read(b"\xff\xff\xff\xff", "text:4") == ("", Quality.BAD_SENSOR_FAULT)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=250))
def test_any_printable_text_comes_back(text: str) -> None:
    registers = text.encode() + b"\0" * (len(text) % 2)
    assert _read(registers, f"text:{len(text)}") == (text, Quality.GOOD)


def test_the_column_is_text() -> None:
    assert DRIVER.kind(ModbusAddress(area="holding", address="0", type="text:10")) is ValueKind.TEXT


@pytest.mark.parametrize("word", ["text", "text:0", "text:251", "text:-1", "text:9999"])
def test_lengths_that_cannot_be(word: str) -> None:
    with pytest.raises(ValueError, match="is unknown"):
        ModbusAddress(area="holding", address="0", type=word)


@pytest.mark.parametrize(
    ("columns", "keys", "words"),
    [
        ({"order": "CDAB"}, {}, "ABCD, or BADC"),
        ({}, {"max_registers": 4}, "takes 5 registers, one request 4"),
    ],
)
def test_mistakes_around_text(columns: dict[str, str], keys: dict[str, object], words: str) -> None:
    address = ModbusAddress.model_validate(
        {"area": "holding", "address": "0", "type": "text:10", **columns}
    )
    config = ModbusConfig.model_validate({"host": "plc", **keys})
    (problem,) = DRIVER.check(config, [DriverPoint(1, "serial", address, 2)])
    assert words in problem.message


async def test_text_beside_numbers_and_where_it_is_illegal() -> None:
    def text(at: int, address: str) -> DriverPoint[ModbusAddress]:
        columns = ModbusAddress(area="holding", address=address, type="text:4")
        return DriverPoint(at, f"text-{address}", columns)

    async with ModbusServer(100) as server:
        server.device.holding[50:52] = [0x4142, 0x4300]
        server.device.forbid("holding", 60, 62)
        points = [*holding(10), text(11, "50"), text(12, "60")]
        async with running(make(server.port, points)) as sink:
            await sink.until(lambda: "device.illegal_address" in sink.kinds())
            seen = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > seen + 2)
            server.drop()
            await sink.until(lambda: bool(sink.errors))
    texts = [batch for batch in sink.batches if isinstance(batch.values, tuple)]
    assert ("ABC", "") in [batch.values for batch in texts]
    good = next(batch for batch in texts if batch.values == ("ABC", ""))
    assert good.points.tolist() == [11, 12]
    assert good.quality.tolist() == [Quality.GOOD, Quality.BAD_ILLEGAL_ADDRESS]
    assert any(b.quality.tolist() == [Quality.BAD_NOT_CONNECTED] * 2 for b in texts)
    assert all(batch.points is good.points for batch in texts)

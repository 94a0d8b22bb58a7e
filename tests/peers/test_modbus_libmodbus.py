"""The driver against libmodbus' unit-test-server: value by value with mbpoll, and its hostility."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drivers.contract import DriverPoint, Quality
from drivers.modbus import ModbusAddress
from drivers.modbus.client import ModbusDriver
from tests.drivers.modbus.rig import Sink, make, running
from tests.peers.libmodbus import UNIT, Server, build, mbpoll, require, serve

pytestmark = pytest.mark.peer

# Addresses of unit-test.h: first and count of each area.
COILS = (0x130, 0x25)
DISCRETE = (0x1C4, 0x16)
HOLDING = (0x160, 0x20)
INPUT = (0x108, 0x01)


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("gcc", "pkg-config", "mbpoll")
    return build(tmp_path_factory.mktemp("libmodbus"))


@pytest.fixture
async def server(binary: Path) -> AsyncIterator[Server]:
    async with serve(binary) as server:
        yield server


@pytest.fixture
def port(server: Server) -> int:
    return server.port


def _points(*rows: tuple[str, int, str]) -> list[DriverPoint[ModbusAddress]]:
    return [
        DriverPoint(
            at + 1,
            f"{area}-{address:#x}",
            ModbusAddress.model_validate({"area": area, "address": address, "type": kind}),
        )
        for at, (area, address, kind) in enumerate(rows)
    ]


def _driver(port: int, points: list[DriverPoint[ModbusAddress]], **keys: object) -> ModbusDriver:
    return make(port, points, unit=UNIT, **keys)


async def _read(driver: ModbusDriver, count: int) -> Sink:
    """Poll until every point has come."""
    async with running(driver) as sink:
        await sink.until(lambda: sink.kinds().count("link.up") == 1)
        await sink.until(lambda: len(sink.last()) == count)
    return sink


async def test_every_area_agrees_with_mbpoll(port: int) -> None:
    rows = [
        (area, first + at, kind)
        for area, (first, count), kind in [
            ("coil", COILS, "bool"), ("discrete", DISCRETE, "bool"),
            ("holding", HOLDING, "u16"), ("input", INPUT, "u16"),
        ]
        for at in range(count)
    ]  # fmt: skip
    sink = await _read(_driver(port, _points(*rows)), len(rows))
    theirs = [
        *await mbpoll(port, "0", *COILS), *await mbpoll(port, "1", *DISCRETE),
        *await mbpoll(port, "4", *HOLDING), *await mbpoll(port, "3", *INPUT),
    ]  # fmt: skip
    last = sink.last()
    assert {quality for _, quality in last.values()} == {Quality.GOOD}
    ours = [last[at + 1][0] for at in range(len(rows))]
    assert ours == [float(value) for value in theirs]
    assert len(set(ours)) > HOLDING[1]


async def test_wide_values_agree_with_the_registers_of_mbpoll(port: int) -> None:
    first, count = HOLDING
    rows = [("holding", first + at, "f32") for at in range(0, count, 2)]
    sink = await _read(_driver(port, _points(*rows)), len(rows))
    registers = [int(value) for value in await mbpoll(port, "4", first, count)]
    floats = struct.unpack(f">{count // 2}f", struct.pack(f">{count}H", *registers))
    assert [sink.last()[at + 1] for at in range(len(rows))] == [
        (value, Quality.GOOD) for value in floats
    ]


@pytest.mark.parametrize(
    ("address", "kind", "quality"),
    [
        (0x160, "u32", Quality.BAD_COMM_FAILURE),  # two registers asked for, one answered
        (0x170, "u16", Quality.BAD_DEVICE_EXCEPTION),  # exception 6, for ever
        (0x171, "u16", Quality.BAD_COMM_FAILURE),  # answer under another transaction id
        (0x173, "u16", Quality.BAD_COMM_FAILURE),  # byte by byte, of another unit
        (0x5000, "u16", Quality.BAD_ILLEGAL_ADDRESS),
    ],
)
async def test_a_hostile_register_is_bad_alone(
    port: int, address: int, kind: str, quality: Quality
) -> None:
    points = _points(("holding", address, kind), ("holding", 0x165, "u16"), ("input", 0x108, "u16"))
    driver = _driver(port, points, max_gap=0, timeout_ms=300, lost_after=100)
    expected = {2: (float((0x4123 + 0x1357 * 5) & 0xFFFF), Quality.GOOD), 3: (10.0, Quality.GOOD)}
    # The server ends with each connection and may refuse the first one while it starts again.
    async with running(driver) as sink:
        await sink.until(lambda: "link.up" in sink.kinds())
        await sink.until(lambda: sink.last().items() >= expected.items())
        await sink.until(lambda: sink.last()[1][1] == quality)
    assert "link.down" not in sink.kinds()[sink.kinds().index("link.up") :]


async def test_a_slow_register_is_waited_for(port: int) -> None:
    """The server sleeps 0.5 s before it answers 0x172."""
    points = _points(("holding", 0x172, "u16"), ("holding", 0x160, "u16"))
    sink = await _read(_driver(port, points, max_gap=0, timeout_ms=5000), 2)
    assert {quality for _, quality in sink.last().values()} == {Quality.GOOD}


async def test_a_killed_server_is_found_again(server: Server) -> None:
    points = _points(*[("holding", 0x160 + at, "u16") for at in range(8)])
    async with running(_driver(server.port, points)) as sink:
        await sink.until(lambda: "link.up" in sink.kinds())
        server.kill()
        await sink.until(lambda: sink.kinds().count("link.up") == 2)
    lost = [batch for batch in sink.batches if (batch.quality == Quality.BAD_NOT_CONNECTED).all()]
    assert lost
    assert {quality for _, quality in sink.last().values()} == {Quality.GOOD}

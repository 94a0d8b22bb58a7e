"""The driver against libmodbus' unit-test-server on a serial line, value by value with mbpoll."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drivers.contract import DriverPoint, Quality
from drivers.modbus import DRIVER, ModbusAddress, ModbusConfig
from drivers.modbus.client import ModbusDriver
from gateway.runtime.clock import SystemClock
from tests.drivers.modbus.rig import running
from tests.peers.libmodbus import UNIT, SerialPair, build, mbpoll_line, require, serve_line

pytestmark = pytest.mark.peer


@pytest.fixture(scope="session")
def rtu_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("gcc", "pkg-config", "mbpoll", "socat")
    return build(tmp_path_factory.mktemp("libmodbus-rtu"))


@pytest.fixture
async def line(rtu_binary: Path, tmp_path: Path) -> AsyncIterator[SerialPair]:
    async with serve_line(rtu_binary, tmp_path) as pair:
        yield pair


def _driver(line: SerialPair, rows: list[tuple[str, int, str]], **keys: object) -> ModbusDriver:
    points = [
        DriverPoint(
            at + 1,
            f"{area}-{address:#x}",
            ModbusAddress.model_validate({"area": area, "address": address, "type": kind}),
        )
        for at, (area, address, kind) in enumerate(rows)
    ]
    config = ModbusConfig.model_validate({
        "transport": "rtu", "serial": str(line.ours), "baud": 115_200, "unit": UNIT,
        "poll_ms": 20, "timeout_ms": 400, "lost_after": 100, **keys,
    })  # fmt: skip
    driver = DRIVER.open("rtu", config, points, SystemClock())
    assert isinstance(driver, ModbusDriver)
    return driver


async def test_every_area_agrees_with_mbpoll(line: SerialPair) -> None:
    areas = [("coil", 0x130, 0x25, "0"), ("discrete", 0x1C4, 0x16, "1"),
             ("holding", 0x163, 0x0D, "4"), ("input", 0x108, 1, "3")]  # fmt: skip
    rows = [
        (area, first + at, "bool" if area in {"coil", "discrete"} else "u16")
        for area, first, count, _ in areas
        for at in range(count)
    ]
    theirs: list[str] = []
    for _, first, count, kind in areas:
        theirs += await mbpoll_line(line.ours, kind, first, count)
    async with running(_driver(line, rows)) as sink:
        await sink.until(lambda: len(sink.last()) == len(rows))
        await sink.until(lambda: all(not quality for _, quality in sink.last().values()))
    assert [sink.last()[at + 1][0] for at in range(len(rows))] == [float(value) for value in theirs]


@pytest.mark.parametrize(
    ("address", "kind", "quality"),
    [
        (0x160, "u32", Quality.BAD_COMM_FAILURE),  # two registers asked for, one answered
        (0x170, "u16", Quality.BAD_DEVICE_EXCEPTION),  # exception 6, for ever
        (0x171, "u16", Quality.BAD_COMM_FAILURE),  # answer of another unit
        (0x5000, "u16", Quality.BAD_ILLEGAL_ADDRESS),
    ],
)
async def test_a_hostile_register_is_bad_alone(
    line: SerialPair, address: int, kind: str, quality: Quality
) -> None:
    rows = [("holding", address, kind), ("holding", 0x165, "u16"), ("input", 0x108, "u16")]
    expected = {2: (float((0x4123 + 0x1357 * 5) & 0xFFFF), Quality.GOOD), 3: (10.0, Quality.GOOD)}
    async with running(_driver(line, rows, max_gap=0)) as sink:
        await sink.until(lambda: 1 in sink.last() and sink.last()[1][1] == quality)
        await sink.until(lambda: sink.last().items() >= expected.items())
    assert not any(
        batch.quality[at] == Quality.GOOD
        for batch in sink.batches
        for at in (batch.points == 1).nonzero()[0]
    )


async def test_a_slow_register_is_waited_for(line: SerialPair) -> None:
    """The server sleeps 0.5 s before it answers 0x172."""
    rows = [("holding", 0x172, "u16"), ("holding", 0x163, "u16")]
    async with running(_driver(line, rows, max_gap=0, timeout_ms=5000)) as sink:
        await sink.until(lambda: len(sink.last()) == 2)
        await sink.until(lambda: all(not quality for _, quality in sink.last().values()))


async def test_an_unplugged_line_is_lost(line: SerialPair) -> None:
    async with running(_driver(line, [("holding", 0x163, "u16")])) as sink:
        await sink.until(lambda: "link.up" in sink.kinds())
        line.unplug()
        await sink.until(lambda: len(sink.errors) >= 1)
    assert "serial port" in str(sink.errors[0])
    assert sink.last()[1][1] == Quality.BAD_NOT_CONNECTED

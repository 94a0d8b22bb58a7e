"""The driver against a server of npm modbus-serial with several unit ids on one connection."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drivers.contract import DriverPoint, Quality
from drivers.modbus import ModbusAddress
from tests.drivers.modbus.rig import make, running
from tests.ports import own_port
from tests.waiting import LONGEST_S

pytestmark = pytest.mark.peer

_FOLDER = Path(__file__).parent / "modbus_serial"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    if shutil.which("node") is None or not (_FOLDER / "node_modules" / "modbus-serial").exists():
        message = "modbus-serial is missing; run make peers (needs Node.js 18 or later)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    chosen = own_port()
    process = await asyncio.create_subprocess_exec(
        "node", _FOLDER / "server.js", str(chosen), "1", "2", "5",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LONGEST_S):
            said = await process.stdout.readline()
        assert said == b"ready\n", f"{said!r}, exit code {process.returncode}; its words are above"
        yield chosen
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # asyncio closes the pipe later


def _points(units: tuple[int, ...]) -> list[DriverPoint[ModbusAddress]]:
    rows = [("holding", "u16"), ("input", "u16"), ("coil", "bool"), ("discrete", "bool")]
    return [
        DriverPoint(
            unit * 1000 + number * 100 + at,
            f"u{unit}-{area}-{at}",
            ModbusAddress.model_validate(
                {"area": area, "address": at, "type": kind, "unit_id": unit}
            ),
        )
        for unit in units
        for number, (area, kind) in enumerate(rows)
        for at in range(20)
    ]


async def test_every_unit_and_area(port: int) -> None:
    async with running(make(port, _points((1, 2, 5)), timeout_ms=30_000)) as sink:
        await sink.until(lambda: len(sink.last()) == 3 * 80)
    for unit in (1, 2, 5):
        for at in range(20):
            bit = (at + unit) % 3 == 0
            values = [unit * 1000 + at, unit * 1000 + at + 500, bit, not bit]
            got = [sink.last()[unit * 1000 + number * 100 + at] for number in range(4)]
            assert got == [(float(value), Quality.GOOD) for value in values]
    assert sink.kinds() == ["link.up"]


async def test_an_unknown_unit_is_silent_and_bad_alone(port: int) -> None:
    driver = make(
        port, _points((1, 3, 5)), timeout_ms=3000
    )  # a stall of node must not take as long

    def bad() -> set[int]:
        return {point // 1000 for point, (_, quality) in sink.last().items() if quality}

    async with running(driver) as sink:
        await sink.until(lambda: "link.down" in sink.kinds())
        polls, timeouts = driver.statistics()["polls"], driver.statistics()["timeouts"]
        await sink.until(lambda: driver.statistics()["polls"] >= polls + 20)
        assert 4 * (driver.statistics()["timeouts"] - timeouts) <= 20
        await sink.until(lambda: bad() == {3})
    assert not sink.errors

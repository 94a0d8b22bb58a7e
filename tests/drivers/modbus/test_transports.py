"""Every transport against a fake that speaks it, on asyncio and, where it matters, on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
import uvloop

from drivers.contract import DriverPoint, Quality
from drivers.modbus import DRIVER, ModbusAddress, ModbusConfig
from drivers.modbus.client import ModbusDriver
from gateway.runtime.clock import SystemClock
from tests.drivers.modbus.rig import ModbusServer, Sink, holding, make, running
from tests.fakes.modbus_line import Line, LineServer, crc16, dial_in
from tests.fakes.modbus_server import Device
from tests.fakes.modbus_udp import UdpServer
from tests.ports import own_port

GOOD = {at + 1: (float(at), Quality.GOOD) for at in range(200)}


def _open(points: list[DriverPoint[ModbusAddress]], **keys: object) -> ModbusDriver:
    config = ModbusConfig.model_validate({"poll_ms": 10, "timeout_ms": 20_000, "unit": 17, **keys})
    driver = DRIVER.open("plc", config, points, SystemClock())
    assert isinstance(driver, ModbusDriver)
    return driver


def _serial(line: LineServer, **keys: object) -> dict[str, object]:
    return {
        "transport": line.line.framing,
        "serial": line.path,
        "baud": 115_200,
        "data_bits": 8,
        **keys,
    }


def _good(sink: Sink) -> bool:
    return bool(sink.last()) and all(not quality for _, quality in sink.last().values())


def _bad(sink: Sink) -> set[int]:
    return {point for point, (_, quality) in sink.last().items() if quality}


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
async def test_a_serial_line_is_read(framing: str) -> None:
    async with (
        LineServer({17: Device(500)}, framing) as line,
        running(_open(holding(200), **_serial(line))) as sink,
    ):
        await sink.until(lambda: len(sink.batches) >= 3)
    assert sink.last() == GOOD
    assert not sink.errors


def test_a_serial_line_is_read_on_uvloop() -> None:
    async def read() -> Sink:
        async with (
            LineServer({17: Device(500)}) as line,
            running(_open(holding(200), **_serial(line))) as sink,
        ):
            await sink.until(lambda: len(sink.batches) >= 3)
        return sink

    sink = uvloop.run(read())
    assert sink.last() == GOOD


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
async def test_frames_of_a_line_over_tcp(framing: str) -> None:
    async with LineServer({17: Device(500)}, framing, tcp=True) as line:
        driver = make(line.port, holding(200), transport=f"{framing}-tcp", unit=17)
        async with running(driver) as sink:
            await sink.until(lambda: len(sink.batches) >= 3)
    assert sink.last() == GOOD


@pytest.mark.parametrize(
    ("fault", "value"),
    [
        ("echo", True),
        ("before", b"\xff\x00\x55"),
        ("before", b"\x11\x03"),
        ("before", b"\x00\x06\x00\x01\x00\x02" + crc16(b"\x00\x06\x00\x01\x00\x02")),  # broadcast
        ("before", b"\x05\x03\x02\x00\x07" + crc16(b"\x05\x03\x02\x00\x07")),  # of another unit
        ("after", b"\x00\xff\x11"),
    ],
)
async def test_what_else_is_on_the_line_does_not_matter(fault: str, value: object) -> None:
    async with LineServer({17: Device(500)}) as line:
        setattr(line.line.faults, fault, value)
        async with running(_open(holding(200), **_serial(line))) as sink:
            await sink.until(lambda: len(sink.batches) >= 5)
    assert sink.last() == GOOD
    assert all((b.quality == Quality.GOOD).all() for b in sink.batches)


async def test_a_garbled_answer_is_bad_for_one_poll_and_costs_no_time_out() -> None:
    async with LineServer({17: Device(500)}) as line:
        driver = _open(holding(200), **_serial(line, timeout_ms=5000))
        async with running(driver) as sink:
            await sink.until(lambda: len(sink.batches) >= 2)
            line.line.faults.garble = 1
            await sink.until(lambda: driver.statistics()["malformed_answers"] == 1)
            seen = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > seen + 1)
    bad = [b for b in sink.batches if b.quality.any()]
    assert len(bad) == 1
    assert set(bad[0].quality.tolist()) == {Quality.GOOD, Quality.BAD_COMM_FAILURE}
    assert driver.statistics()["timeouts"] == 0
    assert sink.last() == GOOD


async def test_an_answer_that_comes_too_late_is_never_another_value() -> None:
    """Two blocks of equal length: only what was asked tells their answers apart."""
    points = [*holding(10), *[
        DriverPoint(at + 11, f"x{at}", ModbusAddress(area="holding", address=str(300 + at),
                                                     type="u16"))
        for at in range(10)
    ]]  # fmt: skip
    async with LineServer({17: Device(500)}) as line:
        driver = _open(points, **_serial(line, timeout_ms=250, lost_after=50))
        async with running(driver) as sink:
            await sink.until(lambda: _good(sink))
            before = driver.statistics()["timeouts"]  # a machine that stalled may have had some
            line.line.faults.late = 1
            await sink.until(lambda: driver.statistics()["timeouts"] > before)
            await sink.until(lambda: _good(sink))
    right = {at: float(at - 1 if at <= 10 else 300 + at - 11) for at in range(1, 21)}
    for batch in sink.batches:
        for point, value, quality in zip(
            batch.points.tolist(), batch.values, batch.quality.tolist(), strict=True
        ):
            assert quality or value == right[point]


async def test_an_unplugged_converter_is_a_lost_link() -> None:
    async with (
        LineServer({17: Device(100)}) as line,
        running(_open(holding(20), **_serial(line))) as sink,
    ):
        await sink.until(lambda: _good(sink))
        line.unplug()
        await sink.until(lambda: len(sink.errors) >= 2)
    assert "serial port" in str(sink.errors[0])
    assert "cannot be opened: No such file or directory" in str(sink.errors[1])
    assert {q for _, q in sink.last().values()} == {Quality.BAD_NOT_CONNECTED}


async def test_a_port_in_use_is_named() -> None:
    async with (
        LineServer({17: Device(100)}) as line,
        running(_open(holding(20), **_serial(line))) as sink,
        running(_open(holding(20), **_serial(line))) as second,
    ):
        await sink.until(lambda: _good(sink))
        await second.until(lambda: bool(second.errors))
    assert "another program uses it" in str(second.errors[0])


async def test_many_units_on_a_line_with_a_dead_one() -> None:
    points = [
        DriverPoint(
            unit * 100 + at,
            f"u{unit}-{at}",
            ModbusAddress(area="input", address=str(at), type="s16", unit_id=unit),
        )
        for unit in (1, 2, 3)
        for at in range(5)
    ]
    async with LineServer({1: Device(100), 3: Device(100)}) as line:
        driver = _open(points, **_serial(line, timeout_ms=250))
        async with running(driver) as sink:
            await sink.until(lambda: "link.down" in sink.kinds())
            timeouts, polls = driver.statistics()["timeouts"], driver.statistics()["polls"]
            await sink.until(lambda: driver.statistics()["polls"] >= polls + 40)
            assert 4 * (driver.statistics()["timeouts"] - timeouts) <= 40
            await sink.until(lambda: _bad(sink) == set(range(200, 205)))
            assert sink.last()[304] == (1004.0, Quality.GOOD)
    assert not sink.errors


async def test_udp() -> None:
    async with UdpServer(Device(500)) as server:
        driver = make(server.port, holding(200), transport="udp", timeout_ms=300)
        async with running(driver) as sink:
            await sink.until(lambda: len(sink.batches) >= 3)
            server.garbage = True
            await sink.until(lambda: bool(sink.errors))
            server.garbage = False
            await sink.until(lambda: _good(sink))
    assert sink.last() == GOOD
    assert "no answer" in str(sink.errors[0])


async def test_the_backup_is_used_while_the_first_is_away_and_the_first_after_that() -> None:
    async with ModbusServer(50) as first, ModbusServer(50) as second:
        driver = make(first.port, holding(20), backup=f"127.0.0.1:{second.port}")
        async with running(driver) as sink:
            await sink.until(lambda: _good(sink))
            assert (first.accepted, second.accepted) == (1, 0)
            await first.stop()
            await sink.until(lambda: sink.kinds().count("link.up") == 2)
            assert second.accepted == 1
            assert f"through backup 127.0.0.1:{second.port}" in sink.events[-1].text
            await first.start()
            await second.stop()
            await sink.until(lambda: sink.kinds().count("link.up") == 3)
            assert first.accepted == 2
    assert driver.statistics()["endpoint_switches"] >= 2


async def test_a_connection_can_be_made_for_each_poll() -> None:
    async with ModbusServer(50) as server:
        driver = make(server.port, holding(20), close_after_poll=True, pause_after_connect_ms=5)
        async with running(driver) as sink:
            await sink.until(lambda: len(sink.batches) >= 4)
        assert server.accepted >= 4
    assert sink.kinds() == ["link.up"]
    assert not sink.errors


async def test_requests_keep_their_distance() -> None:
    async with ModbusServer(500) as server:
        driver = make(server.port, holding(500), pause_between_requests_ms=20, poll_ms=10)
        async with running(driver) as sink:
            await sink.until(lambda: len(sink.batches) >= 3)
    # of the four pauses, the first poll has none before it
    assert driver.statistics()["achieved_period_ms"] >= 3 * 20
    assert _good(sink)


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
async def test_a_dtu_dials_in_with_registration_and_heartbeats(framing: str) -> None:
    line = Line({17: Device(100)}, framing)
    port = own_port()
    driver = _open(
        holding(20),
        transport=f"{framing}-tcp",
        listen=f"127.0.0.1:{port}",
        dial_in_ignore=["DTU-0001", "hex:00ff"],
    )
    async with running(driver) as sink:
        dtu = await dial_in(port, line, b"DTU-0001\x00\xff")
        await sink.until(lambda: _good(sink))
        dtu.write(b"DTU-0001")
        seen = len(sink.batches)
        await sink.until(lambda: len(sink.batches) > seen + 2)
        dtu.abort()
        await sink.until(lambda: bool(sink.errors))
        again = await dial_in(port, line, b"DTU-0001")
        await sink.until(lambda: sink.kinds().count("link.up") == 2)
        again.abort()
    assert all(not b.quality.any() for b in sink.batches[: seen + 1])


async def test_of_two_that_dial_in_at_once_one_is_served() -> None:
    line = Line({17: Device(100)}, "rtu")
    port = own_port()
    driver = _open(holding(20), transport="rtu-tcp", listen=f"127.0.0.1:{port}")
    async with running(driver) as sink:
        while True:  # both wait to be accepted in the same turn of the loop
            try:
                first, second = (socket.create_connection(("127.0.0.1", port)) for _ in "12")
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
        with second:
            dtu = await dial_in(port, line, taken=first)
            await sink.until(lambda: _good(sink))
            second.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(second.recv, 1) == b""
            seen = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > seen + 2)
        dtu.abort()
    assert all(not batch.quality.any() for batch in sink.batches[: seen + 2])
    assert sink.kinds().count("link.up") == 1


@pytest.mark.parametrize("stage", range(0, 40, 5))
async def test_cancelled_anywhere_a_serial_port_is_free_again(stage: int) -> None:
    async with LineServer({17: Device(100)}) as line:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_open(holding(20), **_serial(line)).run(Sink()))
            for _ in range(stage):
                await asyncio.sleep(0)
            task.cancel()
        async with running(_open(holding(20), **_serial(line))) as sink:
            await sink.until(lambda: _good(sink))
        assert not sink.errors

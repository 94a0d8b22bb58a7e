"""The whole driver against devices on a pty and behind TCP: cut, silent, rubbish, late."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from drivers.contract import DeviceError, DriverPoint, Quality, SourceEvent
from drivers.serial_line import DRIVER
from drivers.serial_line.client import LineLostError, open_line
from drivers.serial_line.config import SerialAddress, SerialLineConfig
from gateway.runtime.clock import SystemClock
from tests.background import background, until_lost
from tests.conformance.inlet import Inlet
from tests.fakes.serial_device import GasDetectors, SerialDevice, gas_frame, gas_request
from tests.waiting import until

CASES = Path(__file__).parents[3] / "drivers" / "serial_line" / "cases"
STABLE = b"ST,GS,+%7.1fkg\r\n"


def config(device: SerialDevice, case: str, **keys: Any) -> SerialLineConfig:
    place: dict[str, Any] = (
        {"host": "127.0.0.1", "port": device.port} if device.port else {"serial": device.path}
    )
    return SerialLineConfig.model_validate(
        {"frame": CASES / f"{case}.toml", "poll_ms": 10, "timeout_ms": 20_000, **place, **keys}
    )


def point(number: int, field: str, kind: str = "float", at: str = "") -> DriverPoint[SerialAddress]:
    keys = {"field": field, "type": kind, "address": at}
    return DriverPoint(number, f"P{number}", SerialAddress.model_validate(keys), number + 1)


def numbers(inlet: Inlet, number: int) -> list[float]:
    """Values of a point, bad ones left out."""
    return [float(b.values[0]) for b in inlet.batches if b.points[0] == number and not b.quality[0]]


def latest(inlet: Inlet, number: int) -> tuple[object, int] | None:
    found = None
    for batch in inlet.batches:
        for at, one in enumerate(batch.points.tolist()):
            if one == number:
                found = batch.values[at], int(batch.quality[at])
    return found


def events(inlet: Inlet) -> list[str]:
    return [item.kind for item in inlet.items if isinstance(item, SourceEvent)]


def running(
    driver: Any, inlet: Inlet
) -> AbstractAsyncContextManager[asyncio.Task[DeviceError | None]]:
    return background(until_lost(driver, inlet))


def gas(device: SerialDevice, *addresses: str, **keys: Any) -> Any:
    points = [point(at, "gas", at=address) for at, address in enumerate(addresses, 1)]
    return DRIVER.open("gas", config(device, "gas_example", **keys), points, SystemClock())


def scale(device: SerialDevice, **keys: Any) -> Any:
    points = [point(1, "weight"), point(2, "kind", "text"), point(3, "state")]
    return DRIVER.open("scale", config(device, "weighing_example", **keys), points, SystemClock())


@pytest.mark.parametrize("tcp", [False, True])
async def test_detectors_are_asked_and_nothing_but_their_requests_is_sent(tcp: bool) -> None:
    async with SerialDevice(GasDetectors("01", "02"), tcp=tcp) as device:
        inlet = Inlet()
        async with running(gas(device, "01", "02"), inlet):
            await inlet.until(lambda: inlet.good() >= 20)
        one, two = gas_request("01"), gas_request("02")
        rounds = len(device.received) // len(one + two) + 1
        assert ((one + two) * rounds).startswith(bytes(device.received))
    assert inlet.bad() == []
    assert events(inlet) == ["link.up"]


def test_on_uvloop() -> None:
    async def read() -> Inlet:
        async with SerialDevice(GasDetectors("01")) as device:
            inlet = Inlet()
            async with running(gas(device, "01"), inlet):
                await inlet.until(lambda: inlet.good() >= 5)
            assert device.users() == 0
            return inlet

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(read()).bad() == []


async def test_rubbish_echo_and_wrong_check_sums_are_counted_and_never_values() -> None:
    detectors = GasDetectors("01")
    detectors.echo = True
    detectors.noise = b"\x00\xff\x03\x0201N99" + gas_frame("07", "N", 7000, 0)
    async with SerialDevice(detectors) as device:
        driver = gas(device, "01", timeout_ms=2000, lost_after=100)
        inlet = Inlet()
        async with running(driver, inlet):
            await inlet.until(lambda: inlet.good() >= 3)
            detectors.garble = 2
            await inlet.until(lambda: len(inlet.bad()) >= 1)
            good = inlet.good()
            await inlet.until(lambda: inlet.good() > good + 2)
        counts = driver.statistics()
    assert 0 < counts["round_trip_ms"] < 2000
    assert counts["achieved_period_ms"] > 0
    sent = {tenths / 10 for tenths in range(1, detectors.asked["01"] + 1)}
    values = [b.values[0] for b in inlet.batches if not b.quality[0]]
    assert set(values) <= sent
    assert counts["checksum_errors"] == 2
    assert counts["malformed_frames"] >= 3
    assert counts["echoes"] >= 3
    assert inlet.bad() == [1], "once, however long it lasts"


async def test_a_late_answer_is_not_taken_for_another_devices() -> None:
    detectors = GasDetectors("01", "02")
    async with SerialDevice(detectors) as device:
        inlet = Inlet()
        async with running(gas(device, "01", "02", timeout_ms=2000, lost_after=100), inlet):
            await inlet.until(lambda: inlet.good() >= 4)
            detectors.late = 1
            await inlet.until(lambda: len(inlet.bad()) == 1)
            good = inlet.good()
            await inlet.until(lambda: inlet.good() >= good + 6)
    for number, address in ((1, "01"), (2, "02")):
        values = [round(value * 10) for value in numbers(inlet, number)]
        assert values == sorted(set(values))
        assert values[-1] <= detectors.asked[address]


async def test_one_dead_detector_is_bad_and_the_other_goes_on() -> None:
    detectors = GasDetectors("01", "02")
    detectors.silent = {"02"}
    async with SerialDevice(detectors) as device:
        inlet = Inlet()
        driver = gas(device, "01", "02", timeout_ms=1000, lost_after=2)
        async with running(driver, inlet) as task:
            await inlet.until(lambda: "link.down" in events(inlet) and inlet.good() >= 20)
            assert not task.done()
            assert driver.statistics()["stations_down"] == 1
            assert detectors.asked["02"] < detectors.asked["01"]
            detectors.silent = set()
            await inlet.until(
                lambda: latest(inlet, 2) != (None, 0) and events(inlet)[-1] != "link.down"
            )
        assert inlet.bad() == [2]
    assert events(inlet) == ["link.up", "link.down", "link.up"]


async def test_silence_of_all_is_a_lost_device_that_can_come_back() -> None:
    detectors = GasDetectors("01")
    async with SerialDevice(detectors) as device:
        driver = gas(device, "01", timeout_ms=1000, lost_after=2)
        inlet = Inlet()
        async with running(driver, inlet) as task:
            await inlet.until(lambda: inlet.good() >= 1)
            detectors.silent = {"01"}
            await asyncio.wait([task])
        assert "no answer" in str(task.result())
        assert inlet.bad() == [1]
        assert latest(inlet, 1) is not None
        assert inlet.batches[-1].quality[0] == Quality.BAD_COMM_FAILURE
        detectors.silent = set()
        good = inlet.good()
        async with running(driver, inlet):
            await inlet.until(lambda: inlet.good() > good)
        assert device.users() == 0
    assert events(inlet) == ["link.up", "link.down", "link.up"]


async def test_a_wrong_baud_rate_is_said_as_frames_that_cannot_be_read() -> None:
    async with SerialDevice(lambda _chunk: b"\x02 rubbish \x03 at \x03") as device:
        with pytest.raises(DeviceError, match="frames that are wrong"):
            await gas(device, "01", timeout_ms=30, lost_after=2).run(Inlet())


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_scale_that_talks_is_listened_to_and_nothing_is_sent(tcp: bool) -> None:
    async with SerialDevice(tcp=tcp) as device:
        driver = scale(device)
        inlet = Inlet()
        async with running(driver, inlet):
            number = 0
            while inlet.good() < 15:
                device.send(b"+ 999.9kg\r\n" if not number else STABLE % (number / 10))
                number += 1
                await asyncio.sleep(0.005)
        assert device.received == b""
    assert latest(inlet, 2) == ("GS", 0)
    weights = numbers(inlet, 1)
    assert weights == sorted(weights)
    assert max(weights) < 900
    assert driver.statistics()["frames"] >= 5


async def test_a_scale_that_falls_silent_is_bad_and_what_it_said_last_comes_before() -> None:
    async with SerialDevice() as device:
        inlet = Inlet()
        async with running(scale(device, poll_ms=60_000, timeout_ms=1000), inlet) as task:
            await until(lambda: device.users() > 0)
            device.send(b"x\r\n" + STABLE % 1.0)
            await asyncio.wait([task])
        assert "silent for 1000 ms" in str(task.result())
    seen = [(b.values[0], int(b.quality[0])) for b in inlet.batches if b.points[0] == 1]
    assert [one[1] for one in seen] == [0, Quality.BAD_COMM_FAILURE]
    assert inlet.bad() == [1, 2, 3]


async def test_a_flood_that_nobody_reads_does_not_grow_and_the_newest_is_read_after() -> None:
    async with SerialDevice(tcp=True) as device:
        driver = scale(device)
        inlet = Inlet()
        async with running(driver, inlet):
            while inlet.good() < 3:
                device.send(STABLE % 1.0)
                await asyncio.sleep(0.005)
            inlet.close()
            device.send(STABLE % 2.0)
            await inlet.until_waiting()
            for _ in range(30):
                device.send((STABLE % 3.0) * 300)
                await asyncio.sleep(0.001)
            for _ in range(50):  # so that the driver's side has taken all of it
                await asyncio.sleep(0.001)
            inlet.open()
            while latest(inlet, 1) != (4.0, 0):
                device.send(STABLE % 4.0)
                await asyncio.sleep(0.005)
        assert driver.statistics()["overflows"] >= 1


async def test_a_port_is_locked_and_a_missing_one_is_said() -> None:
    async with SerialDevice() as device:
        settings = config(device, "weighing_example")
        line = await open_line(settings, frozenset())
        with pytest.raises(LineLostError, match="another program uses it"):
            await open_line(settings, frozenset())
        line.close()
        assert device.users() == 0
        await device.unplug()
        with pytest.raises(DeviceError, match="No such file"):
            await scale(device).run(Inlet())


async def test_the_guard_refuses_every_other_frame() -> None:
    async with SerialDevice() as device:
        line = await open_line(config(device, "gas_example", address="01"), frozenset({b"?\r"}))
        for frame in (b"", b"?", b"?\r?\r", b"!\r", gas_request("01")):
            with pytest.raises(ValueError, match="refused"):
                line.send(frame)
        line.send(b"?\r")
        await until(lambda: bool(device.received))
        line.close()
        with pytest.raises(LineLostError):
            line.send(b"?\r")
        assert device.received == b"?\r"


async def test_a_converter_that_refuses_is_said() -> None:
    async with SerialDevice(tcp=True) as device:
        driver = scale(device)
        await device.unplug()
        with pytest.raises(DeviceError, match="no TCP connection"):
            await driver.run(Inlet())


async def test_rs485_that_a_port_cannot_do_is_said() -> None:
    async with SerialDevice() as device:
        with pytest.raises(DeviceError, match="cannot be set up"):
            await scale(device, rs485=True).run(Inlet())
        assert device.users() == 0

"""The driver with a profile, against a fake device on the wire."""

from __future__ import annotations

import math

import pytest

from drivers.contract import DriverPoint, Quality
from drivers.modbus import ModbusAddress, ModbusConfig
from tests.drivers.modbus.rig import make, running
from tests.fakes.modbus_server import ModbusServer

XCD: dict[str, object] = {"profile": "honeywell-sensepoint-xcd", "gas_unit": "%vol", "unit": 1}


def _points(keys: dict[str, object]) -> dict[str, DriverPoint[ModbusAddress]]:
    config = ModbusConfig.model_validate({"host": "h", **keys})
    rows, problems = config.own_rows(())
    assert problems == []
    return {row.tag: DriverPoint(at, row.tag, row.address) for at, row in enumerate(rows, start=1)}


def _xcd(server: ModbusServer, state: int = 1) -> None:
    server.device.holding[:] = 0
    server.device.holding[2:4] = [0x41A7, 0x3333]
    server.device.holding[6], server.device.holding[10] = state, 3


async def test_quality_follows_the_state_of_the_device() -> None:
    points = _points(XCD)
    gas = points["gas"].id
    async with ModbusServer(100) as server:
        _xcd(server, 2)
        async with running(make(server.port, list(points.values()), **XCD)) as sink:
            await sink.until(lambda: gas in sink.last())
            assert sink.last()[gas][1] == Quality.UNCERTAIN_WARM_UP
            assert sink.last()[gas][0] == pytest.approx(20.9)
            server.device.holding[6] = 1
            await sink.until(lambda: sink.last()[gas][1] == Quality.GOOD)
            server.device.holding[5] = 0x20  # fault
            await sink.until(lambda: sink.last()[gas][1] == Quality.BAD_SENSOR_FAULT)
            assert math.isnan(sink.last()[gas][0])
    assert sink.batches[0].points is sink.batches[-1].points


async def test_a_state_that_cannot_be_read_makes_the_value_uncertain() -> None:
    points = _points(XCD)
    async with ModbusServer(100) as server:
        _xcd(server)
        server.device.forbid("holding", 6, 7)
        async with running(make(server.port, list(points.values()), **XCD)) as sink:
            await sink.until(lambda: "device.illegal_address" in sink.kinds())
            seen = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > seen + 1)
    last = sink.last()
    assert last[points["gas.state"].id][1] == Quality.BAD_ILLEGAL_ADDRESS
    assert last[points["gas"].id][1] == Quality.UNCERTAIN
    assert last[points["gas"].id][0] == pytest.approx(20.9)
    assert last[points["gas.alarm_1"].id] == (0.0, Quality.GOOD)


async def test_a_foreign_unit_is_one_event_and_no_value() -> None:
    points = _points(XCD)
    gas = points["gas"].id
    async with ModbusServer(100) as server:
        _xcd(server)
        server.device.holding[10] = 5
        async with running(make(server.port, list(points.values()), **XCD)) as sink:
            await sink.until(lambda: len(sink.batches) > 3)
            assert sink.last()[gas][1] == Quality.BAD_CONFIG_ERROR
            server.device.holding[10] = 3
            await sink.until(lambda: sink.last()[gas][1] == Quality.GOOD)
            await sink.until(lambda: "device.unit_agrees" in sink.kinds())
    assert sink.kinds().count("device.unit_mismatch") == 1
    event = next(event for event in sink.events if event.kind == "device.unit_mismatch")
    assert "the device says %LEL (code 5), the catalogue %vol" in event.text
    assert event.attributes == {"tags": "gas", "count": 1}


async def test_a_lost_device_is_bad_for_that_reason_whatever_its_state_was() -> None:
    points = _points(XCD)
    async with ModbusServer(100) as server:
        _xcd(server, 3)
        async with running(make(server.port, list(points.values()), **XCD)) as sink:
            await sink.until(lambda: len(sink.batches) > 1)
            await server.stop()
            await sink.until(lambda: "link.down" in sink.kinds())
    assert {quality for _, quality in sink.last().values()} <= {
        Quality.BAD_NOT_CONNECTED,
        Quality.BAD_COMM_FAILURE,
    }


async def test_transmitters_on_one_bus_are_units_of_one_device() -> None:
    keys = {**XCD, "count": 2, "tags": "AT-{n:03}"}
    points = _points(keys)
    assert {point.address.unit_id for point in points.values()} == {1, 2}

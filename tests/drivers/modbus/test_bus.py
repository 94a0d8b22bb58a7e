"""Many units behind one connection: a dead one costs the others next to nothing."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.contract import DriverPoint, Quality
from drivers.modbus import DRIVER, ModbusAddress, ModbusConfig
from tests.bench.modbus_bus import compare
from tests.drivers.modbus.rig import ModbusServer, Sink, make, running
from tests.fakes.modbus_server import Device


def _points(units: range, count: int = 8) -> list[DriverPoint[ModbusAddress]]:
    """Ids are unit * 100 + register."""
    return [
        DriverPoint(
            unit * 100 + at,
            f"u{unit}-{at}",
            ModbusAddress(area="holding", address=str(at), type="u16", unit_id=unit),
        )
        for unit in units
        for at in range(count)
    ]


def _devices(units: range) -> dict[int, Device]:
    devices = {unit: Device(100) for unit in units}
    for unit, device in devices.items():
        device.holding[:] += unit * 1000
    return devices


def _qualities(sink: Sink, unit: int) -> set[int]:
    return {quality for point, (_, quality) in sink.last().items() if point // 100 == unit}


async def test_every_unit_is_read_over_one_connection() -> None:
    async with ModbusServer(100) as server:
        server.units = _devices(range(1, 11))
        driver = make(server.port, _points(range(1, 11)))
        async with running(driver) as sink:
            await sink.until(lambda: driver.statistics()["polls"] >= 3)
        assert server.accepted == 1
    assert sink.last() == {
        unit * 100 + at: (float(unit * 1000 + at), Quality.GOOD)
        for unit in range(1, 11)
        for at in range(8)
    }
    assert sink.kinds() == ["link.up"]
    assert [batch.sequence for batch in sink.batches] == list(range(len(sink.batches)))
    statistics = driver.statistics()
    assert statistics["units"] == statistics["requests_per_poll"] == 10
    assert statistics["registers_per_poll"] == 80
    assert statistics["unit_polls{unit=7}"] >= 2


async def test_a_point_without_a_unit_belongs_to_the_unit_of_the_device() -> None:
    bare = DriverPoint(1, "t", ModbusAddress(area="holding", address="5", type="u16"))
    async with ModbusServer(100) as server:
        server.units = _devices(range(3, 5))
        async with running(make(server.port, [bare, *_points(range(4, 5))], unit=3)) as sink:
            await sink.until(lambda: len(sink.last()) == 9)
    assert sink.last()[1] == (3005.0, Quality.GOOD)


async def test_a_dead_unit_is_bad_alone_and_costs_one_time_out_a_period() -> None:
    async with ModbusServer(100) as server:
        server.units = _devices(range(1, 6))
        dead = server.units[3]
        driver = make(server.port, _points(range(1, 6)), timeout_ms=250)
        async with running(driver) as sink:
            await sink.until(lambda: "link.up" in sink.kinds())
            dead.faults.silent = True
            await sink.until(lambda: "link.down" in sink.kinds())
            asked, polls = dead.requests, driver.statistics()["polls"]
            await sink.until(lambda: driver.statistics()["polls"] >= polls + 40)
            assert 4 * (dead.requests - asked) <= 40  # polls each 10 ms, probes after 2 s, 4 s, …
            assert _qualities(sink, 3) == {Quality.BAD_COMM_FAILURE}
            await sink.until(  # a machine that stalls may cost one of them an answer, once
                lambda: all(_qualities(sink, unit) == {Quality.GOOD} for unit in (1, 2, 4, 5))
            )
            assert (
                driver.statistics()["units_down"] == driver.statistics()["unit_down{unit=3}"] == 1
            )
            dead.faults.silent = False
            await sink.until(lambda: sink.kinds().count("link.up") == 2)
            await sink.until(lambda: _qualities(sink, 3) == {Quality.GOOD})
        assert server.accepted == 1
    assert not sink.errors
    assert sink.kinds() == ["link.up", "link.down", "link.up"]
    assert [dict(event.attributes) for event in sink.events[1:]] == [{"unit": 3}, {"unit": 3}]
    for batch in sink.batches:
        good = batch.quality == Quality.GOOD
        points = batch.points[good]
        assert np.array_equal(np.asarray(batch.values)[good], points // 100 * 1000 + points % 100)


async def test_an_unknown_unit_never_answers_and_the_link_stays() -> None:
    async with ModbusServer(100) as server:
        server.units = _devices(range(1, 3))
        driver = make(server.port, _points(range(1, 4)), timeout_ms=250)
        async with running(driver) as sink:
            await sink.until(lambda: "link.down" in sink.kinds())
            await sink.until(lambda: _qualities(sink, 1) == _qualities(sink, 2) == {Quality.GOOD})
        assert server.accepted == 1
    assert "unit 3) does not answer" in next(e.text for e in sink.events if e.kind == "link.down")


async def test_a_bus_on_which_nobody_answers_is_a_lost_link() -> None:
    async with ModbusServer(100) as server:
        server.units = _devices(range(1, 4))
        driver = make(server.port, _points(range(1, 4)), timeout_ms=250)
        async with running(driver) as sink:
            await sink.until(lambda: "link.up" in sink.kinds())
            for device in server.units.values():
                device.faults.silent = True
            await sink.until(lambda: bool(sink.errors))
            assert "no answer to several requests" in str(sink.errors[0])
            for device in server.units.values():
                device.faults.silent = False
            await sink.until(lambda: all(_qualities(sink, u) == {Quality.GOOD} for u in (1, 2, 3)))
    assert sink.kinds() == ["link.up", "link.down", "link.up"]


async def test_a_gateway_that_cannot_reach_a_unit_is_asked_for_it_more_rarely() -> None:
    async with ModbusServer(100) as server:
        server.units = _devices(range(1, 4))
        server.units[2].forbid("holding", 0, 100, code=11)
        driver = make(server.port, _points(range(1, 4)))
        async with running(driver) as sink:
            await sink.until(lambda: "link.down" in sink.kinds())
            asked, polls = server.units[2].requests, driver.statistics()["polls"]
            await sink.until(lambda: driver.statistics()["polls"] >= polls + 40)
            assert 4 * (server.units[2].requests - asked) <= 40
    assert _qualities(sink, 2) == {Quality.BAD_COMM_FAILURE}
    assert not sink.errors


async def test_a_block_that_is_never_answered_does_not_hide_the_rest_of_its_unit() -> None:
    class Deaf(Device):
        """Answers nothing that reads register 0."""

        def answer(self, frame: bytes) -> bytes:
            self.faults.silent = frame[8:10] == b"\0\0"
            return super().answer(frame)

    points = [p for p in _points(range(1, 3), 80) if p.id % 100 in {0, 50, 51, 79}]
    async with ModbusServer(100) as server:
        server.units = _devices(range(1, 2)) | {2: Deaf(100)}
        driver = make(server.port, points, timeout_ms=250, max_gap=4)
        async with running(driver) as sink:
            await sink.until(lambda: len(sink.last()) == 8)
            await sink.until(lambda: sink.last()[279][1] == Quality.GOOD)
            await sink.until(lambda: driver.statistics()["unit_polls{unit=2}"] >= 4)
            timeouts, polls = driver.statistics()["timeouts"], driver.statistics()["polls"]
            await sink.until(lambda: driver.statistics()["polls"] >= polls + 40)
            assert 4 * (driver.statistics()["timeouts"] - timeouts) <= 40
            heard = [(50.0, 0), (51.0, 0), (79.0, 0)]
            await sink.until(lambda: [sink.last()[at] for at in (250, 251, 279)] == heard)
            assert sink.last()[200][1] == Quality.BAD_COMM_FAILURE
    assert not sink.errors


async def test_illegal_addresses_are_of_their_unit() -> None:
    async with ModbusServer(100) as server:
        server.units = _devices(range(1, 4))
        server.units[2].forbid("holding", 4, 5)
        driver = make(server.port, _points(range(1, 4)))
        async with running(driver) as sink:
            await sink.until(lambda: "device.illegal_address" in sink.kinds())
            await sink.until(lambda: driver.statistics()["polls"] >= 4)
    event = next(e for e in sink.events if e.kind == "device.illegal_address")
    assert event.attributes == {"tags": "u2-4", "count": 1, "unit": 2}
    bad = {point for point, (_, quality) in sink.last().items() if quality}
    assert bad == {204}


async def test_the_connection_closes_and_every_unit_comes_back() -> None:
    async with ModbusServer(100) as server:
        server.units = _devices(range(1, 4))
        async with running(make(server.port, _points(range(1, 4)))) as sink:
            await sink.until(lambda: len(sink.last()) == 24)
            server.drop()
            await sink.until(lambda: bool(sink.errors))
            assert {q for _, q in sink.last().values()} == {Quality.BAD_NOT_CONNECTED}
            await sink.until(lambda: all(_qualities(sink, u) == {Quality.GOOD} for u in (1, 2, 3)))
    assert sink.kinds() == ["link.up", "link.down", "link.up"]


def test_thirty_units_at_9600_baud_hardly_notice_a_dead_one() -> None:
    """In simulated time: the other 29 keep 98 % of their rate over ten minutes."""
    alive, with_dead = compare(seconds=600)
    assert with_dead.period_ms <= 1.02 * alive.period_ms
    assert with_dead.slowest_unit_ms <= 1.02 * alive.slowest_unit_ms
    assert with_dead.timeouts <= 2 + 600 / 60 + 6  # two to find out, 2, 4, … 32 s, then each minute


@pytest.mark.parametrize(
    ("unit", "found"),
    [(1, "begins inside a"), (2, "")],
)
def test_overlaps_count_within_a_unit_only(unit: int, found: str) -> None:
    def point(at: int, of_unit: int, address: str) -> DriverPoint[ModbusAddress]:
        columns = ModbusAddress(area="holding", address=address, type="u32", unit_id=of_unit)
        return DriverPoint(at, "ab"[at], columns, row=at + 2)

    problems = DRIVER.check(ModbusConfig(host="h"), [point(0, 1, "0"), point(1, unit, "1")])
    assert [found in p.message for p in problems] == ([True] if found else [])

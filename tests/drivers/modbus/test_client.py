"""Client against the fake device: values, every fault, reconnection, cancellation."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace

import numpy as np
import pytest
import uvloop

from drivers.contract import Batch, DriverPoint, Quality, Receipt, SourceEvent
from drivers.modbus import ModbusAddress
from tests.drivers.modbus.rig import Sink, holding, make, running
from tests.fakes.modbus_server import ModbusServer
from tests.ports import own_port


async def test_reads_every_point_with_its_own_value() -> None:
    async with ModbusServer(1000) as server, running(make(server.port, holding(1000))) as sink:
        await sink.until(lambda: len(sink.batches) >= 3)
    assert sink.last() == {at + 1: (float(at), Quality.GOOD) for at in range(1000)}
    assert sink.batches[0].points is sink.batches[1].points
    assert [batch.sequence for batch in sink.batches] == list(range(len(sink.batches)))
    assert sink.kinds() == ["link.up"]


async def test_ten_illegal_addresses_make_ten_bad_points_and_no_value_under_a_wrong_tag() -> None:
    illegal = {0, 7, 8, 124, 125, 333, 500, 501, 777, 999}
    async with ModbusServer(1000) as server:
        for address in illegal:
            server.device.forbid("holding", address, address + 1)
        async with running(make(server.port, holding(1000))) as sink:
            await sink.until(lambda: "device.illegal_address" in sink.kinds())
            seen = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > seen + 1)
    last = sink.last()
    bad = {point - 1 for point, (_, quality) in last.items() if quality}
    assert bad == illegal
    assert {last[at + 1][1] for at in illegal} == {Quality.BAD_ILLEGAL_ADDRESS}
    for batch in sink.batches:
        good = batch.quality == Quality.GOOD
        assert (batch.values[good] == batch.points[good] - 1).all()


def _qualities(sink: Sink) -> set[int]:
    return {quality for _, quality in sink.last().values()}


async def test_types_orders_and_areas_together() -> None:
    rows = [
        ("coil", "3", "bool", "ABCD"), ("discrete", "4", "bool", "ABCD"),
        ("holding", "0", "f32", "CDAB"), ("holding", "2", "u64", "ABCD"),
        ("holding", "6", "bit2", "ABCD"), ("input", "9", "s16", "ABCD"),
    ]  # fmt: skip
    points = [
        DriverPoint(at + 1, f"t{at}", ModbusAddress(area=a, address=n, type=t, order=o))  # type: ignore[arg-type]  # literals in a table
        for at, (a, n, t, o) in enumerate(rows)
    ]
    async with ModbusServer(100) as server:
        server.device.holding[:7] = [0x3333, 0x41A7, 0xFFFF, 0, 0, 1, 4]
        server.device.input[9] = 0xFFFF
        async with running(make(server.port, points)) as sink:
            await sink.until(lambda: len(sink.last()) == 6)
    last = sink.last()
    assert {quality for _, quality in last.values()} == {Quality.GOOD}
    assert [round(last[at + 1][0], 4) for at in range(6)] == [
        1.0, 1.0, 20.9, 0xFFFF_0000_0000_0001, 1.0, -1.0,
    ]  # fmt: skip
    assert {type(batch.values[0]).__name__ for batch in sink.batches[:2]} == {"float64", "uint64"}


async def test_runs_on_uvloop_too() -> None:
    """The transports of uvloop are no subclasses of asyncio's, which has broken other clients."""

    async def read() -> dict[int, tuple[float, int]]:
        async with ModbusServer(20) as server, running(make(server.port, holding(20))) as sink:
            await sink.until(lambda: len(sink.batches) >= 2)
        return sink.last()

    last = await asyncio.to_thread(lambda: uvloop.run(read()))
    assert last == {at + 1: (float(at), Quality.GOOD) for at in range(20)}


@pytest.mark.parametrize("in_flight", [1, 4])
async def test_fragmented_answers(in_flight: int) -> None:
    async with ModbusServer(300) as server:
        server.device.faults.fragment = 7
        driver = make(server.port, holding(300), in_flight=in_flight)
        async with running(driver) as sink:
            await sink.until(lambda: len(sink.batches) >= 3)
    assert sink.last() == {at + 1: (float(at), Quality.GOOD) for at in range(300)}


async def test_a_device_that_takes_fewer_registers_is_read_in_smaller_requests() -> None:
    async with ModbusServer(200) as server:
        server.device.faults.max_count = 40
        async with running(make(server.port, holding(200))) as sink:
            await sink.until(lambda: _qualities(sink) == {Quality.GOOD})
            seen = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > seen + 1)
    assert sink.last() == {at + 1: (float(at), Quality.GOOD) for at in range(200)}
    assert sink.kinds() == ["link.up"]


async def test_an_illegal_register_in_a_gap_makes_no_point_bad() -> None:
    points = [*holding(3), *holding(3, first=6)]
    points = [replace(point, id=at + 1) for at, point in enumerate(points)]
    async with ModbusServer(100) as server:
        server.device.forbid("holding", 4, 5)
        async with running(make(server.port, points)) as sink:
            await sink.until(lambda: _qualities(sink) == {Quality.GOOD})
    assert [value for value, _ in sink.last().values()] == [0.0, 1.0, 2.0, 6.0, 7.0, 8.0]


async def test_a_search_that_a_period_is_too_short_for_goes_on_in_the_next() -> None:
    illegal = set(range(5, 250, 9))
    async with ModbusServer(500) as server:
        server.device.faults.delay_ms = 2
        for address in illegal:
            server.device.forbid("holding", address, address + 1)
        driver = make(server.port, holding(500))
        async with running(driver) as sink:
            await sink.until(lambda: "device.illegal_address" in sink.kinds())
            during = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > during + 1)
    assert during >= 3  # the other half was read meanwhile
    assert (sink.batches[0].quality[250:] == Quality.GOOD).all()
    assert {point - 1 for point, (_, quality) in sink.last().items() if quality} == illegal
    for batch in sink.batches:
        good = batch.quality == Quality.GOOD
        assert (batch.values[good] == batch.points[good] - 1).all()


async def test_a_busy_answer_ends_a_search_without_a_lesson() -> None:
    async with ModbusServer(100) as server:
        server.device.forbid("holding", 30, 31, code=4)
        driver = make(server.port, holding(100), busy_retries=0)
        async with running(driver) as sink:
            await sink.until(lambda: "link.up" in sink.kinds())
            server.device.faults.busy = 3
            await sink.until(lambda: len(sink.batches) >= 6)
    last = sink.last()
    assert [at for at in last if last[at][1]] == [31]
    assert last[31][1] == Quality.BAD_DEVICE_EXCEPTION


async def test_the_event_names_the_tags() -> None:
    async with ModbusServer(50) as server:
        server.device.forbid("holding", 20, 22)
        async with running(make(server.port, holding(50))) as sink:
            await sink.until(lambda: "device.illegal_address" in sink.kinds())
    event = next(event for event in sink.events if event.kind == "device.illegal_address")
    assert event.attributes == {"tags": "t20,t21", "count": 2}
    assert "does not have the addresses of t20, t21." in event.text


async def test_illegal_addresses_are_asked_again_after_a_reconnection() -> None:
    async with ModbusServer(50) as server:
        server.device.forbid("holding", 20, 22)
        async with running(make(server.port, holding(50))) as sink:
            await sink.until(lambda: Quality.BAD_ILLEGAL_ADDRESS in _qualities(sink))
            server.device.allow_all()
            server.drop()
            await sink.until(lambda: "device.legal_address" in sink.kinds())
            await sink.until(lambda: _qualities(sink) == {Quality.GOOD})
    assert sink.kinds().count("device.illegal_address") == 1


async def test_a_busy_device_is_asked_again_within_the_poll() -> None:
    async with ModbusServer(300) as server:
        server.device.faults.busy = 2
        async with running(make(server.port, holding(300))) as sink:
            await sink.until(lambda: len(sink.batches) >= 1)
    assert (sink.batches[0].quality == Quality.GOOD).all()
    assert np.array_equal(sink.batches[0].values, sink.batches[0].points - 1)


async def test_a_register_that_is_always_busy_does_not_hide_the_illegal_one_beside_it() -> None:
    async with ModbusServer(40) as server:
        server.device.forbid("holding", 30, 31)
        server.device.forbid("holding", 5, 6, code=6)
        async with running(make(server.port, holding(40), busy_retries=0)) as sink:
            await sink.until(lambda: "device.illegal_address" in sink.kinds())
            seen = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > seen + 1)
    last = sink.last()
    bad = {point - 1: quality for point, (_, quality) in last.items() if quality}
    assert bad == {5: Quality.BAD_DEVICE_EXCEPTION, 30: Quality.BAD_ILLEGAL_ADDRESS}
    assert all(last[at + 1][0] == at for at in range(40) if at not in bad)


async def test_a_failed_block_is_bad_and_its_neighbours_are_not() -> None:
    points = holding(250)
    async with ModbusServer(300) as server:
        server.device.forbid("holding", 130, 135, code=10)  # gateway path unavailable
        server.device.forbid("holding", 10, 11, code=1)
        async with running(make(server.port, points)) as sink:
            await sink.until(lambda: len(sink.batches) >= 1)
            assert set(sink.batches[0].quality[125:].tolist()) == {Quality.BAD_COMM_FAILURE}
            assert set(sink.batches[0].quality[:125].tolist()) == {Quality.BAD_DEVICE_EXCEPTION}
            server.device.allow_all()
            await sink.until(lambda: _qualities(sink) == {Quality.GOOD})
    assert sink.kinds() == ["link.up"]


async def test_one_lost_answer_is_one_bad_block_for_one_poll() -> None:
    async with ModbusServer(250) as server:
        driver = make(server.port, holding(250), timeout_ms=3000, poll_ms=20)
        async with running(driver) as sink:
            await sink.until(lambda: len(sink.batches) >= 1)
            server.device.faults.skip = 1
            await sink.until(lambda: driver.statistics()["timeouts"] == 1)
            seen = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > seen + 2)
    bad = [batch for batch in sink.batches if batch.quality.any()]
    assert len(bad) == 1
    assert int((bad[0].quality == Quality.BAD_COMM_FAILURE).sum()) == 125
    good = bad[0].quality == Quality.GOOD
    assert (bad[0].values[good] == bad[0].points[good] - 1).all()
    assert not sink.errors


@pytest.mark.parametrize(
    ("fault", "quality"),
    [
        ("silent", Quality.BAD_COMM_FAILURE),
        ("wrong_transaction", Quality.BAD_COMM_FAILURE),
        ("garbage", Quality.BAD_NOT_CONNECTED),
    ],
)
async def test_a_device_that_makes_no_sense_is_lost_and_comes_back(
    fault: str, quality: Quality
) -> None:
    async with ModbusServer(250) as server:
        driver = make(server.port, holding(250), timeout_ms=500)
        async with running(driver) as sink:
            await sink.until(lambda: len(sink.batches) >= 2)
            setattr(server.device.faults, fault, True)
            await sink.until(lambda: bool(sink.errors))
            assert _qualities(sink) == {quality}
            setattr(server.device.faults, fault, False)
            await sink.until(lambda: _qualities(sink) == {Quality.GOOD})
    assert sink.last() == {at + 1: (float(at), Quality.GOOD) for at in range(250)}
    assert sink.kinds() == ["link.up", "link.down", "link.up"]
    assert "plc (127.0.0.1:" in str(sink.errors[0])


@pytest.mark.parametrize("fault", ["wrong_unit", "wrong_function", "short"])
async def test_an_answer_that_does_not_fit_is_bad_and_never_a_value(fault: str) -> None:
    async with ModbusServer(250) as server:
        setattr(server.device.faults, fault, True)
        async with running(make(server.port, holding(250))) as sink:
            await sink.until(lambda: len(sink.batches) >= 2)
            assert _qualities(sink) == {Quality.BAD_COMM_FAILURE}
            setattr(server.device.faults, fault, False)
            await sink.until(lambda: _qualities(sink) == {Quality.GOOD})
    assert not sink.errors


async def test_late_answers_are_never_taken_for_another_request() -> None:
    """Answers come after their time-out; f(address) would show each mistaken one."""
    async with ModbusServer(500) as server:
        server.device.faults.delay_ms = 90
        driver = make(server.port, holding(500), timeout_ms=60, lost_after=100)
        async with running(driver) as sink:
            await sink.until(lambda: driver.statistics()["unmatched_answers"] >= 8)
            server.device.faults.delay_ms = 0
            await sink.until(lambda: _qualities(sink) == {Quality.GOOD})
    for batch in sink.batches:
        good = batch.quality == Quality.GOOD
        assert (batch.values[good] == batch.points[good] - 1).all()


async def test_the_link_closes_in_the_middle_of_a_poll() -> None:
    async with ModbusServer(500) as server:
        server.device.faults.close_after = 6
        async with running(make(server.port, holding(500))) as sink:
            await sink.until(lambda: bool(sink.errors))
            server.device.faults.close_after = -1
            await sink.until(lambda: _qualities(sink) == {Quality.GOOD})
    partial = sink.batches[1]
    assert int((partial.quality == Quality.GOOD).sum()) == 250
    assert (sink.batches[2].quality == Quality.BAD_NOT_CONNECTED).all()
    for batch in sink.batches:
        good = batch.quality == Quality.GOOD
        assert (batch.values[good] == batch.points[good] - 1).all()


async def test_nobody_listens_then_somebody_does() -> None:
    port = own_port()
    driver = make(port, holding(20))
    async with running(driver) as sink:
        await sink.until(lambda: len(sink.errors) >= 2)
        assert _qualities(sink) == {Quality.BAD_NOT_CONNECTED}
        assert sink.kinds() == ["link.down"]  # once, not at each attempt
        async with ModbusServer(20, port=port):
            await sink.until(lambda: _qualities(sink) == {Quality.GOOD})
    assert sink.kinds()[:2] == ["link.down", "link.up"]
    assert [batch.sequence for batch in sink.batches] == list(range(len(sink.batches)))


async def test_a_poll_slower_than_its_period_is_told_and_nothing_overlaps() -> None:
    async with ModbusServer(500) as server:
        server.device.faults.delay_ms = 50
        driver = make(server.port, holding(500), poll_ms=150)
        async with running(driver) as sink:
            await sink.until(lambda: "device.period" in sink.kinds())
            statistics = driver.statistics()
            server.device.faults.delay_ms = 0
            await sink.until(lambda: sink.kinds().count("device.period") == 2)
    assert statistics["late_polls"] >= 5
    assert statistics["achieved_period_ms"] > 150
    assert statistics["requests"] <= 4 * statistics["polls"]
    assert [e.attributes["slow"] for e in sink.events if e.kind == "device.period"] == [True, False]


async def test_a_device_that_demands_alignment_is_read_and_searched_in_its_cells() -> None:
    rows = [("holding", "1", "u16"), ("holding", "3", "u32"), ("holding", "9", "u16"),
            ("holding", "13", "u16"), ("coil", "5", "bool")]  # fmt: skip
    table = [
        DriverPoint(
            at, f"t{at}", ModbusAddress.model_validate({"area": a, "address": n, "type": k})
        )
        for at, (a, n, k) in enumerate(rows, start=1)
    ]
    frames: list[bytes] = []
    async with ModbusServer(500) as server:
        server.device.frames = frames
        server.device.forbid("holding", 12, 13)
        driver = make(server.port, table, align=4)
        async with running(driver) as sink:
            await sink.until(lambda: driver.statistics()["illegal_values"] == 1)
            seen = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > seen + 1)
        asked = [struct.unpack(">HH", frame[8:12]) for frame in frames if frame[7] == 3]
    good = {at: value for at, (value, quality) in sink.last().items() if not quality}
    assert good == {1: 1.0, 2: 3 * 65536 + 4.0, 3: 9.0, 5: 0.0}
    assert sink.last()[4][1] == Quality.BAD_ILLEGAL_ADDRESS  # a register of its cell is refused
    assert all(start % 4 == count % 4 == 0 for start, count in asked), asked


async def test_exceptions_are_counted_by_code() -> None:
    async with ModbusServer(500) as server:
        server.device.forbid("holding", 10, 11)
        driver = make(server.port, holding(20))
        async with running(driver) as sink:
            await sink.until(lambda: driver.statistics()["illegal_values"] == 1)
            server.device.faults.busy = 1
            await sink.until(lambda: "exceptions_by_code{code=6}" in driver.statistics())
        counted = driver.statistics()
    by_code = {key: n for key, n in counted.items() if key.startswith("exceptions_by_code")}
    assert set(by_code) == {"exceptions_by_code{code=2}", "exceptions_by_code{code=6}"}
    assert counted["exceptions"] == sum(by_code.values())
    assert by_code["exceptions_by_code{code=6}"] == 1


async def test_statistics_add_up() -> None:
    async with ModbusServer(500) as server:
        driver = make(server.port, holding(500), in_flight=3)
        async with running(driver) as sink:
            await sink.until(lambda: len(sink.batches) >= 5)
        statistics = driver.statistics()
        assert statistics["requests"] == server.device.requests
    assert statistics["requests_per_poll"] == 4
    assert statistics["round_trip_ms"] > 0
    assert statistics["timeouts"] == statistics["exceptions"] == statistics["illegal_values"] == 0


async def test_only_reading_functions_are_ever_sent_whatever_goes_wrong() -> None:
    async with ModbusServer(300, record=True) as server:
        device = server.device
        driver = make(server.port, holding(300), timeout_ms=50, lost_after=1)
        async with running(driver) as sink:
            for fault, value in [
                ("busy", 5), ("short", True), ("wrong_unit", True), ("wrong_transaction", True),
                ("garbage", True), ("silent", True), ("fragment", 5), ("max_count", 30),
                ("close_after", 3),
            ]:  # fmt: skip
                before, requests = getattr(device.faults, fault), device.requests
                setattr(device.faults, fault, value)
                await sink.until(lambda least=requests: device.requests > least + 6)  # type: ignore[misc]  # mypy and defaults
                setattr(device.faults, fault, before)
            device.forbid("holding", 30, 33)
            await sink.until(lambda: "device.illegal_address" in sink.kinds())
        assert device.frames
        assert {frame[7] for frame in device.frames} == {3}
        assert {len(frame) for frame in device.frames} == {12}


@pytest.mark.parametrize("stage", range(0, 60, 3))
async def test_cancelled_anywhere_it_leaves_nothing_behind(stage: int) -> None:
    """Cancel after so many turns of the loop: in connecting, exchanging, searching, sleeping."""
    async with ModbusServer(300) as server:
        server.device.forbid("holding", 30, 33)
        server.device.faults.busy = 1
        sink = Sink()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(make(server.port, holding(300)).run(sink))
            for _ in range(stage):
                await asyncio.sleep(0)
            task.cancel()
        assert task.cancelled()
        async with asyncio.timeout(60):
            while server.connections:  # noqa: ASYNC110  # the far end notices by itself
                await asyncio.sleep(0.001)


async def test_a_slow_buffer_holds_the_poll_back() -> None:
    class Slow(Sink):
        async def __call__(self, item: Batch | SourceEvent) -> Receipt:
            await asyncio.sleep(0.05)
            return await super().__call__(item)

    async with ModbusServer(20) as server:
        sink, driver = Slow(), make(server.port, holding(20))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(driver.run(sink))
            await sink.until(lambda: len(sink.batches) >= 4)
            task.cancel()
        assert server.device.requests <= len(sink.batches) + 2
    assert driver.statistics()["late_polls"] >= 2

"""Client against the fake device: values, every fault, reconnection, cancellation."""

from __future__ import annotations

from drivers.contract import Quality
from tests.drivers.modbus.rig import holding, make, running
from tests.fakes.modbus_server import ModbusServer


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

"""A redundant set of servers: another takes over without a gap and without a value twice."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.contract import DeviceError
from drivers.opcua import DRIVER
from drivers.opcua.config import OpcUaConfig
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_collector import Collector, points, running
from tests.fakes.opcua_server import OpcUaServer
from tests.waiting import until

START_NS = 1_700_000_000_000_000_000


def config(*servers: OpcUaServer) -> OpcUaConfig:
    return OpcUaConfig.model_validate(
        {"endpoints": [server.endpoint for server in servers], "security": "None"}
        | {"insecure": True, "publish_ms": 50, "timeout_ms": 15_000, "history": False}
    )


async def set_both(number: int, *servers: OpcUaServer) -> None:
    for server in servers:
        await server.set("D0", float(number), source_ns=START_NS + number * 10**9)


def numbers(emit: Collector) -> list[Any]:
    return [value for value, quality, _ in emit.samples(100) if quality == 0]


@pytest.mark.parametrize("how", ["stop", "level"])
async def test_another_server_takes_over(how: str) -> None:
    emit = Collector()
    async with OpcUaServer(1) as first, OpcUaServer(1) as second:
        driver = DRIVER.open(
            "dcs", config(first, second), points((OpcUaServer.node("D0"), "float")), SystemClock()
        )
        await set_both(1, first, second)
        async with running(driver, emit) as task:
            await until(lambda: numbers(emit)[-1:] == [1.0])
            await set_both(2, first, second)
            await until(lambda: numbers(emit)[-1:] == [2.0])
            if how == "stop":
                await first.stop()
            else:
                await first.set_service_level(50)
            await until(lambda: "opcua.failover" in emit.kinds())
            await until(lambda: emit.kinds()[-1] == "link.up")
            await set_both(3, second)
            await until(lambda: numbers(emit)[-1:] == [3.0])
            assert not task.done()
    assert numbers(emit) == [1.0, 2.0, 3.0]
    assert "link.down" not in emit.kinds()
    assert driver.statistics()["failovers"] == 1


async def test_a_poor_server_is_better_than_none_and_none_is_said() -> None:
    emit = Collector()
    async with OpcUaServer(1) as first, OpcUaServer(1) as second:
        driver = DRIVER.open(
            "dcs", config(first, second), points((OpcUaServer.node("D0"), "float")), SystemClock()
        )
        await first.set_service_level(50)
        await second.stop()
        async with running(driver, emit):
            await until(lambda: bool(numbers(emit)))
        await first.stop()
        with pytest.raises(DeviceError, match="nobody listens"):
            await driver.run(emit)
    assert "link.down" in emit.kinds()


@pytest.mark.parametrize("how", ["other better", "suspended"])
async def test_of_two_poor_servers_the_better_one_is_read(how: str) -> None:
    """The level of the one that is read stays: what changes is the other, or the server's state."""
    emit = Collector()
    async with OpcUaServer(1) as first, OpcUaServer(1) as second:
        driver = DRIVER.open(
            "dcs", config(first, second), points((OpcUaServer.node("D0"), "float")), SystemClock()
        )
        if how == "other better":
            await first.set_service_level(100)
            await second.set_service_level(100)
        await set_both(1, first, second)
        async with running(driver, emit):
            await until(lambda: numbers(emit)[-1:] == [1.0])
            if how == "other better":
                await second.set_service_level(150)
            else:
                await first.set_state(3)
            await until(lambda: "opcua.failover" in emit.kinds())
            await set_both(2, second)
            await until(lambda: numbers(emit)[-1:] == [2.0])
    assert [e.attributes["endpoint"] for e in emit.events if e.kind == "opcua.failover"] == [
        second.endpoint
    ]
    assert "link.down" not in emit.kinds()

"""The simulated OPC UA server, read and subscribed to by asyncua's own client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaStatusCodeError

from drivers.sim.opcua_server import OpcUaSimulator
from drivers.sim.signals import NAMESPACE, Plant

PLANT = Plant(20, 1)


class Changes:
    """Collects notifications; asyncua calls these names."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Any]] = {}
        self.came = asyncio.Event()

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        del data
        self.seen.setdefault(str(node.nodeid.Identifier), []).append(value)
        self.came.set()


async def test_values_are_read_and_changes_notified() -> None:
    async with OpcUaSimulator(PLANT, 0) as server, Client(server.endpoint, timeout=60) as client:
        index = await client.get_namespace_index(NAMESPACE)
        nodes = [client.get_node(f"ns={index};s={signal.tag}") for signal in PLANT.signals]
        read = await client.read_values(nodes)
        assert [float(value) for value in read] == PLANT.values(0).tolist()
        assert [type(value) for value in read].count(bool) == 2
        changes = Changes()
        subscription = await client.create_subscription(50, changes)
        await subscription.subscribe_data_change(nodes)
        later = PLANT.values(60)
        changed = int((later != PLANT.values(0)).sum())
        assert await server.show(later) == changed
        assert await server.show(later) == 0
        async with asyncio.timeout(120):
            while sum(len(values) - 1 for values in changes.seen.values()) < changed:
                changes.came.clear()
                await changes.came.wait()
        assert [float(changes.seen[s.tag][-1]) for s in PLANT.signals] == later.tolist()
        await subscription.delete()
        assert (await client.read_values(nodes)) == [v[-1] for v in changes.seen.values()]


async def test_nobody_can_write() -> None:
    async with OpcUaSimulator(PLANT, 0) as server, Client(server.endpoint, timeout=60) as client:
        index = await client.get_namespace_index(NAMESPACE)
        node = client.get_node(f"ns={index};s={PLANT.signals[0].tag}")
        with pytest.raises(UaStatusCodeError):
            await node.write_value(1.0)


async def test_source_times_are_given() -> None:
    async with OpcUaSimulator(PLANT, 0) as server, Client(server.endpoint, timeout=60) as client:
        index = await client.get_namespace_index(NAMESPACE)
        node = client.get_node(f"ns={index};s={PLANT.signals[0].tag}")
        before = (await node.read_data_value()).SourceTimestamp
        await server.show(PLANT.values(50))
        after = (await node.read_data_value()).SourceTimestamp
        assert after is not None
        assert before is None or before <= after

"""Gaps that wait for history: a server that loses without end takes no memory without end."""

from __future__ import annotations

import asyncio

import numpy as np

from drivers.opcua.backfill import MOST_GAPS, Backfiller
from drivers.opcua.batches import BatchMaker
from drivers.opcua.client import Link
from drivers.opcua.config import OpcUaConfig
from drivers.opcua.device import Device
from drivers.opcua.events import EventMaker
from drivers.opcua.items import ItemKeeper
from drivers.opcua.ledger import Ledger
from drivers.opcua.nodes import NodeFinder
from drivers.opcua.state import Gap, State
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_collector import Collector, points
from tests.waiting import until


async def test_gaps_beyond_the_most_are_told_and_not_kept() -> None:
    table = points(("i=1", "float"), ("i=2", "float"))
    config = OpcUaConfig.model_validate(
        {"endpoint": "opc.tcp://127.0.0.1:1", "security": "None", "insecure": True}
        | {"history": False}
    )
    emit = Collector()
    device = Device(
        name="dcs", config=config, points=tuple(table), clock=SystemClock(),
        batches=BatchMaker(table, stamp_here=False), events=EventMaker("dcs", ""),
        state=State(None, "dcs", table),
    )  # fmt: skip
    link = Link(config, config.endpoint, "test")
    finder = NodeFinder(device, link)
    keeper = ItemKeeper(device, link, finder, emit)
    backfiller = Backfiller(device, link, finder, emit, Ledger(device.state, device.counters))
    for number in range(1, 201):
        since = np.array([number, 0])
        backfiller.open(Gap(since, np.zeros(2, np.int64), number, "notifications lost", 1))
        assert len(device.state.gaps) <= MOST_GAPS
    device.first_ns[:] = 1_000_000
    keeper.complete.set()
    task = asyncio.get_running_loop().create_task(backfiller.run(keeper))
    try:
        await until(lambda: not device.state.gaps)
    finally:
        task.cancel()
        await asyncio.wait([task])
    told = [one.attributes for one in emit.events if one.kind == "opcua.gap"]
    assert sum(int(one["count"]) for one in told) == 200, "each lost notification is told"
    [given_up] = [one for one in told if one["cause"] == "too many gaps to be filled"]
    assert (given_up["from_ns"], given_up["points"]) == (2, 1)

"""Rows of OPC UA: what a value costs, alone and through the whole gateway (3 minutes).

The server is node-opcua in a process of its own, on the same machine; its cost is not in the
figures of CPU, but it competes for the cores. Beside what was acknowledged stands how many values
the server itself has made in the same window: on a busy machine its own timer falls behind.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from drivers.opcua.client import Link
from drivers.opcua.config import OpcUaConfig
from drivers.opcua.services import VALUE, Place, read_attributes, surroundings
from gateway.runtime.clock import SystemClock
from tests.bench.flow import stored_values
from tests.bench.machine import usage
from tests.bench.opcua_client import compare
from tests.bench.table import Row
from tests.e2e.world import World, until
from tests.fakes.opcua_node import NAMESPACE, node, serving

ITEMS = 20_000
WARM_UP_S = 15
WINDOW_S = 20


@dataclass(frozen=True, slots=True)
class Whole:
    """What the whole gateway did: shares of a core, values a second, resident MB."""

    gateway_share: float
    receiver_share: float
    made_per_s: float
    acknowledged_per_s: float
    resident_mb: float


async def _changes(config: OpcUaConfig) -> int:
    """How many times the server has changed its values (server.js: D0 counts them)."""
    link = Link(config, config.endpoint, "plantgate bench")
    try:
        await link.open(SystemClock().wall_ns())
        around = await surroundings(link)
        place = Place(around.namespaces.index(NAMESPACE), "D0")
        [(value, _)] = await read_attributes(link, [place], VALUE)
        return int(value)
    finally:
        await link.close()


def whole(folder: Path, items: int) -> Whole:
    """Run receiver and gateway against one server, and measure over the window."""
    with (
        serving(folder / "server", period=1000, items=items, anonymous=True, perCall=1000) as peer,
        World(folder / "world") as world,
    ):
        lines = ["name,node", *(f"D{i},{node(f'D{i}')}" for i in range(items))]
        (world.folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        world.write_site(f"""
[[device]]
name = "dcs"
driver = "opcua"
endpoint = "{peer.endpoint}"
security = "None"
insecure = true
publish_ms = 500
sampling_ms = 0
points = "points.csv"
""")
        receiver, gateway = world.start_receiver(), world.start_gateway()
        until(lambda: stored_values(world) >= 2 * items, limit_s=120, what="values arrive")
        time.sleep(WARM_UP_S)
        asked = asyncio.run(_changes(peer.plain()))
        before, stored = [usage(p.pid) for p in (gateway, receiver)], stored_values(world)
        began = time.monotonic()
        time.sleep(WINDOW_S)
        passed = time.monotonic() - began
        after, values = [usage(p.pid) for p in (gateway, receiver)], stored_values(world) - stored
        made = (asyncio.run(_changes(peer.plain())) - asked) * items
        shares = [(b.cpu_s - a.cpu_s) / passed for a, b in zip(before, after, strict=True)]
        gateway.terminate()
        gateway.wait(timeout=30)
        return Whole(
            shares[0], shares[1], made / passed, values / passed, after[0].resident_bytes / 1e6
        )


def rows(folder: Path) -> list[Row]:
    """All rows of OPC UA."""
    folder.mkdir(parents=True, exist_ok=True)
    found = compare(folder / "clients", ITEMS, 8.0, secure=False)
    driver, peer, decode = found["driver, uvloop"], found["asyncua"], found["decode"]
    cost_us = driver["us_per_value"]
    versus = (
        f"{cost_us / peer['us_per_value']:.3f} of asyncua's own handler"
        f" ({peer['us_per_value']:.1f} µs, {peer['values_per_second']:,.0f} values/s);"
        f" {cost_us / decode['us_per_value']:.1f} x decoding alone"
        f" ({decode['us_per_value']:.3f} µs)"
    )
    alone = (
        f"{driver['values_per_second']:,.0f} values/s, {driver['core_percent']:.1f} % of a core,"
        f" driver's process {driver['resident_mb']:.0f} MB (asyncua's {peer['resident_mb']:.0f})"
    )
    flow = whole(folder / "whole", ITEMS)
    through = (
        f"the server made {flow.made_per_s:,.0f}/s, acknowledged {flow.acknowledged_per_s:,.0f}/s;"
        f" receiver {flow.receiver_share:.1%} of a core"
    )
    whole_us = flow.gateway_share / flow.acknowledged_per_s * 1e6
    return [
        Row("20,000 OPC UA items at 1 Hz: CPU a value, socket to column", cost_us, "µs", 1.2,
            limit=versus, detail=alone),
        Row("20,000 OPC UA items at 1 Hz, whole gateway: CPU", flow.gateway_share * 100,
            "% core", 4,
            detail=through),
        Row("20,000 OPC UA items at 1 Hz, whole gateway: CPU a value", whole_us, "µs", 3),
        Row("20,000 OPC UA items at 1 Hz, whole gateway: resident", flow.resident_mb, "MB",
            200),
    ]  # fmt: skip

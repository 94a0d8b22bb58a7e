"""Rows of OPC UA: what a value costs, alone and through the whole gateway; fail-over and return.

Servers are node-opcua in processes of their own, on the same machine; their cost is not in the
figures of CPU, but they compete for the cores, which the seconds of fail-over feel.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.flow import stored_values
from tests.bench.machine import usage
from tests.bench.opcua_client import compare
from tests.bench.opcua_return import come_back, fail_over, freeze, kill, lower
from tests.bench.table import Row
from tests.e2e.world import World, until
from tests.fakes.opcua_node import node, serving

ITEMS = 20_000
RETURN_ITEMS = 2_000
WARM_UP_S = 15
WINDOW_S = 20
_BAR_S = 10


def whole(folder: Path, items: int) -> tuple[float, float, float, float]:
    """Core share, acknowledged values a second, resident MB, receiver's core share."""
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
        before, stored = [usage(p.pid) for p in (gateway, receiver)], stored_values(world)
        began = time.monotonic()
        time.sleep(WINDOW_S)
        passed = time.monotonic() - began
        after, values = [usage(p.pid) for p in (gateway, receiver)], stored_values(world) - stored
        shares = [(b.cpu_s - a.cpu_s) / passed for a, b in zip(before, after, strict=True)]
        gateway.terminate()
        gateway.wait(timeout=30)
        return shares[0], values / passed, after[0].resident_bytes / 1e6, shares[1]


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
    share, per_s, resident_mb, receiver = whole(folder / "whole", ITEMS)
    through = f"asked {ITEMS:,}/s, acknowledged {per_s:,.0f}/s; receiver {receiver:.1%} of a core"
    table = [
        Row("20,000 OPC UA items at 1 Hz: CPU a value, socket to column", cost_us, "µs", 1.2,
            limit=versus, detail=alone),
        Row("20,000 OPC UA items at 1 Hz, whole gateway: CPU", share * 100, "% core", 4,
            detail=through),
        Row("20,000 OPC UA items at 1 Hz, whole gateway: CPU a value", share / per_s * 1e6, "µs",
            3),
        Row("20,000 OPC UA items at 1 Hz, whole gateway: resident", resident_mb, "MB", 200),
    ]  # fmt: skip
    for name, harm in (("killed", kill), ("frozen", freeze), ("ServiceLevel 50", lower)):
        seconds, gaps = fail_over(folder / name.replace(" ", "-"), RETURN_ITEMS, harm)
        table.append(
            Row(f"redundant OPC UA server {name}: {RETURN_ITEMS:,} items from the other", seconds,
                "s", _BAR_S, detail=f"{gaps} gaps told, the rest read from history")
        )  # fmt: skip
    seconds, gaps = come_back(folder / "return", RETURN_ITEMS)
    what = f"OPC UA server back after 8 s: {RETURN_ITEMS:,} items back"
    table.append(Row(what, seconds, "s", _BAR_S, detail=f"{gaps} gaps told; no history there"))
    return table

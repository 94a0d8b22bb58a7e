"""Rows of Modbus: what a decoded transaction costs beside a raw client, and a bus with a dead unit.

The first is CPU of the client process, 50 connections, 125 registers a request, decoded and in
columns, against a client on the same loop that discards what it reads. The second runs the driver
on a simulated line, in simulated time.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench import modbus_bus, modbus_client
from tests.bench.table import Row

CONNECTIONS = 50
TRANSACTIONS = 20_000
REPEAT = 3
_BAR = 0.6


def rows(folder: Path) -> list[Row]:
    """Rows of Modbus."""
    del folder
    found: list[Row] = []
    with modbus_client.devices(CONNECTIONS, modbus_client.BLOCK * 8) as ports:
        for loop in ("uvloop", "asyncio"):
            for blocks in (8, 1):
                costs = modbus_client.compare(loop, ports, blocks, TRANSACTIONS, REPEAT)
                found.append(_client(loop, blocks, costs))
    alive, with_dead = modbus_bus.compare()
    ratio = with_dead.slowest_unit_ms / alive.slowest_unit_ms
    bar = modbus_bus.BAR_RATIO
    found.append(
        Row("9600 baud, 30 units x 16 points, one dead: period of others", ratio, "x", bar,
            limit=f"{with_dead.slowest_unit_ms:.0f} ms, with all alive {alive.slowest_unit_ms:.0f}"
                  f" ms; {with_dead.timeouts} time-outs in 600 s (simulated line)")
    )  # fmt: skip
    return found


def _client(loop: str, blocks: int, costs: dict[str, float]) -> Row:
    raw, driver = costs["raw"], costs["driver"]
    return Row(
        f"Modbus, 50 devices, {blocks} x 125 registers a poll, {loop}", raw / driver,
        "of raw", _BAR, more_is_better=True,
        limit=f"{driver:.1f} µs a transaction; raw client {raw:.1f}, bare {costs['bare']:.1f}",
    )  # fmt: skip

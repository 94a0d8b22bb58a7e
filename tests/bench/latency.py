"""Row of the alarm: from the change of a register to the alarm's commit at the receiver.

The device runs in this process, so the moment of each change is known exactly; the receiver stores
the moment of its commit. Both are wall-clock times of one machine.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from pathlib import Path

from gateway.model.alarm import AlarmChange
from tests.bench.table import Row
from tests.e2e.world import World, until
from tests.fakes.modbus_server import ModbusServer

POLL_MS = 100
POINTS = 5000
CHANGES = 150
LIMIT = 500


async def _change_registers(world: World) -> list[int]:
    """Serve the device, start the gateway, and raise one register after the other."""
    async with ModbusServer(registers=POINTS) as server:
        server.device.holding[:] = 0
        write_site(world, server.port)
        world.start_gateway()
        await asyncio.sleep(8)
        changed_ns = []
        for number in range(CHANGES):
            await asyncio.sleep(0.13)  # no multiple of the poll period
            server.device.holding[number] = LIMIT + 1
            changed_ns.append(time.time_ns())
        await asyncio.sleep(1)
        return changed_ns


def write_site(world: World, port: int) -> None:
    """One device of POINTS u16 registers; the first CHANGES of them have a limit."""
    lines = ["name,area,address,type,high"]
    lines += [f"r{i},holding,{i},u16,{LIMIT if i < CHANGES else ''}" for i in range(POINTS)]
    (world.folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    world.write_site(
        f"""
[[device]]
name = "gds"
driver = "modbus"
host = "127.0.0.1"
port = {port}
unit = 1
poll_ms = {POLL_MS}
points = "points.csv"
"""
    )


def _received(world: World) -> dict[str, int]:
    """Source to wall-clock ns at which the receiver committed its alarm."""
    connection = sqlite3.connect(f"file:{world.store / 'receiver.db'}?mode=ro", uri=True)
    try:
        query = "SELECT payload, received_ns FROM records WHERE (id >> 40) % 4 = 0"
        found = [(AlarmChange.decode(p), ns) for p, ns in connection.execute(query)]
    finally:
        connection.close()
    return {change.source: ns for change, ns in found}


def rows(folder: Path) -> list[Row]:
    """The latency row: p99 against poll period + 30 ms."""
    with World(folder) as world:
        world.start_receiver()
        changed_ns = asyncio.run(_change_registers(world))
        until(lambda: len(_received(world)) >= CHANGES, limit_s=30, what="all alarms arrive")
        received = _received(world)
    delays_ms = sorted(
        (received[f"gds/r{i}"] - changed) / 1e6 for i, changed in enumerate(changed_ns)
    )
    p99 = delays_ms[round(0.99 * (CHANGES - 1))]
    return [
        Row(f"register change to alarm at the receiver, p99 (poll {POLL_MS} ms)", p99, "ms",
            POLL_MS + 30,
            detail=f"p50 {statistics.median(delays_ms):.1f} ms, most {delays_ms[-1]:.1f} ms, "
                   f"{CHANGES} alarms among {POINTS} points at {POLL_MS} ms"),
    ]  # fmt: skip

"""Rows of the flow: registers/s from the wire to the receiver's commit, and what a value costs.

One run starts simulated devices, a receiver (mutual TLS) and a gateway as separate processes, warms
up, and then measures over a window: CPU and memory of the gateway from /proc, bytes from the
kernel's own TCP counters, values from the receiver's store. Simulated devices and receiver share
the machine; their cost is shown beside the gateway's and is not in it.
"""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import sent_to, usage
from tests.bench.table import Row
from tests.e2e.world import World, listens, until
from tests.ports import ports_in_a_row

WARM_UP_S = 12
WINDOW_S = 30
BLOCK = 125


@dataclass(frozen=True, slots=True)
class Flow:
    """What one run measured over its window."""

    asked_per_s: float
    acknowledged_per_s: float
    gateway_core_share: float
    gateway_resident_mb: float
    receiver_core_share: float
    devices_core_share: float
    raw_core_share: float
    bytes_per_value: float
    bare_bytes_per_value: float


def write_devices(world: World, ports: list[int], registers: int, poll_ms: int) -> None:
    """One device a port, each with `registers` u16 points."""
    lines = ["name,area,address,type,scale"]
    lines += [f"r{i},holding,{i},u16,0.1" for i in range(registers)]
    (world.folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    world.write_site(
        "".join(
            f"""
[[device]]
name = "plc{number}"
driver = "modbus"
host = "127.0.0.1"
port = {port}
unit = 1
poll_ms = {poll_ms}
points = "points.csv"
"""
            for number, port in enumerate(ports)
        )
    )


def run_flow(folder: Path, *, devices: int, registers: int, poll_ms: int) -> Flow:
    """Run one flow and measure it."""
    with World(folder) as world:
        ports = list(ports_in_a_row(devices))
        plant = world.start_modbus(ports[0], registers, "--devices", str(devices), mode="signal")
        until(lambda: all(listens(port) for port in ports), limit_s=30, what="devices listen")
        write_devices(world, ports, registers, poll_ms)
        receiver = world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: stored_values(world) > 0, limit_s=60, what="values arrive")
        time.sleep(WARM_UP_S)
        before = [usage(p.pid) for p in (gateway, receiver, plant)]
        sent_before, stored_before = sent_to(world.uplink_port), stored_values(world)
        began = time.monotonic()
        time.sleep(WINDOW_S)
        passed = time.monotonic() - began
        after = [usage(p.pid) for p in (gateway, receiver, plant)]
        sent_after, stored_after = sent_to(world.uplink_port), stored_values(world)
        shares = [(b.cpu_s - a.cpu_s) / passed for a, b in zip(before, after, strict=True)]
        values = stored_after - stored_before
        gateway.terminate()
        gateway.wait(timeout=30)
        raw = raw_share(ports, registers, poll_ms)
        return Flow(
            asked_per_s=devices * registers * 1000 / poll_ms,
            acknowledged_per_s=values / passed,
            gateway_core_share=shares[0],
            gateway_resident_mb=after[0].resident_bytes / 1e6,
            receiver_core_share=shares[1],
            devices_core_share=shares[2],
            raw_core_share=raw,
            bytes_per_value=(sent_after.wire_bytes - sent_before.wire_bytes) / max(values, 1),
            bare_bytes_per_value=bare_bytes_per_value(world),
        )


def bare_bytes_per_value(world: World) -> float:
    """Bytes a value that the newest stored records cost on a bare TCP connection.

    Each record goes alone, as it was committed, and is answered by one byte before the next.
    """
    with contextlib.closing(_open(world)) as database:
        records = database.execute(
            "SELECT payload, samples FROM records WHERE (id >> 40) % 4 = 2"
            " ORDER BY id DESC LIMIT ?", (WINDOW_S,)
        ).fetchall()  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as line, server.accept()[0] as other:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            before = sent_to(port)
            for payload, _ in records:
                line.sendall(payload)
                other.recv(len(payload), socket.MSG_WAITALL)
                other.sendall(b"a")
                line.recv(1)
            sent = sent_to(port).wire_bytes - before.wire_bytes
    values: int = sum(samples for _, samples in records)
    return sent / max(values, 1)


def _open(world: World) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{world.store / 'receiver.db'}?mode=ro", uri=True)


def raw_share(ports: list[int], registers: int, poll_ms: int) -> float:
    """Core share of a bare client that only reads the same blocks (no decode, no store)."""
    command = [sys.executable, "-m", "tests.bench.raw_client", str(ports[0]), str(len(ports)),
               str(registers), str(poll_ms), "10"]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout)


def stored_values(world: World) -> int:
    """Values that the receiver has committed."""
    if not (world.store / "receiver.db").exists():
        return 0
    connection = _open(world)
    try:
        query = "SELECT coalesce(sum(samples), 0) FROM records WHERE (id >> 40) % 4 = 2"
        return int(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def detail(flow: Flow) -> str:
    """One line of what surrounds the figure."""
    return (
        f"asked {flow.asked_per_s:,.0f}/s, acknowledged {flow.acknowledged_per_s:,.0f}/s; "
        f"receiver {flow.receiver_core_share:.1%}, devices {flow.devices_core_share:.1%} of a core"
    )


def versus_raw(flow: Flow) -> str:
    """Compare with the bare client of the same run."""
    times = flow.gateway_core_share / flow.raw_core_share if flow.raw_core_share else float("nan")
    bare = f"a bare asyncio client that only reads the blocks ({flow.raw_core_share:.2%})"
    return f"{times:.1f} x {bare}"


def versus_bare(flow: Flow) -> str:
    """Compare with the same records over bare TCP."""
    times = flow.bytes_per_value / flow.bare_bytes_per_value
    return f"{times:.2f} x the same records over bare TCP ({flow.bare_bytes_per_value:.2f} B)"


def rows(folder: Path) -> list[Row]:
    """All rows of the flow."""
    small = run_flow(folder / "f5k", devices=1, registers=5000, poll_ms=1000)
    large = run_flow(folder / "f100k", devices=20, registers=5000, poll_ms=1000)
    most = run_flow(folder / "most", devices=20, registers=5000, poll_ms=MOST_POLL_MS)
    cost_us = most.gateway_core_share / most.acknowledged_per_s * 1e6
    return [
        Row("5,000 Modbus registers/s: CPU", small.gateway_core_share * 100, "% core", 2,
            limit=versus_raw(small), detail=detail(small)),
        Row("5,000 Modbus registers/s: resident", small.gateway_resident_mb, "MB", 120),
        Row("5,000 points at 1 s: bytes a value on the uplink, TCP and TLS",
            small.bytes_per_value, "B", 1.0, limit=versus_bare(small)),
        Row("100,000 Modbus registers/s: CPU", large.gateway_core_share * 100, "% core", 10,
            limit=versus_raw(large), detail=detail(large)),
        Row("100,000 Modbus registers/s: resident", large.gateway_resident_mb, "MB", 200),
        Row("most on this box, wire to acknowledged", most.acknowledged_per_s, "/s", 1_000_000,
            more_is_better=True, limit=versus_raw(most), detail=detail(most)),
        Row("whole path: CPU a value at the most", cost_us, "µs", 3),
    ]  # fmt: skip


MOST_POLL_MS = 80
"""Asks for 1.25 million registers/s; what is acknowledged is the figure."""

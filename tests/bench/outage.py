"""Rows of the long outage: 72 h of 5,000 points at 1 s, then the receiver comes back.

The 72 hours are written by the real buffer with a clock that the bench moves (real records, real
commits, real bytes on disk); then the real gateway continues that log with a live device, and a
real receiver (mutual TLS) appears. Lateness of live data is the receiver's commit time less the
gateway's, from the first second on; both are wall-clock times of one machine.

`python -m tests.bench outage`; PLANTGATE_OUTAGE_HOURS makes it shorter, for a try.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import time
import urllib.request
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from buffer.contract import Stream
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.model.catalogue import decode_ids
from gateway.model.event import gap_event
from gateway.sources.build import POINT_IDS_STATE
from gateway.wire.v1 import uplink_pb2 as wire
from tests.bench.bare_line import bytes_per_s
from tests.bench.flow import write_devices
from tests.bench.machine import usage
from tests.bench.signals import seconds
from tests.bench.table import Row
from tests.e2e.world import World, free_port, stop, until

POINTS = 5000
HOURS = float(os.environ.get("PLANTGATE_OUTAGE_HOURS", "72"))
LIVE_S = 20  # how long the drained gateway is watched on
DRAIN_LIMIT_S = 1200
EMMC_BYTES = 32e9  # the disk that the arithmetic is made for
EMMC_CYCLES = 3000  # rewrites of MLC cells; JEDEC and vendors' sheets say 3,000 to 10,000
BOOT_BEFORE = bytes(range(16))  # the outage lies before a reboot: what it left is history
_SECOND_NS = 10**9


@dataclass
class MovedClock:
    """A clock that goes one second a batch."""

    wall: int
    monotonic: int = _SECOND_NS

    def wall_ns(self) -> int:
        """Wall-clock time, ns since 1970 UTC."""
        return self.wall

    def monotonic_ns(self) -> int:
        """Monotonic time, ns."""
        return self.monotonic

    def step(self) -> None:
        """One second passes."""
        self.wall += _SECOND_NS
        self.monotonic += _SECOND_NS


@dataclass(frozen=True, slots=True)
class Filled:
    """What the outage left on the disk."""

    records: int
    payload_bytes: int
    file_bytes: int
    written_bytes: int
    took_s: float


def _written_bytes() -> int:
    """Bytes this process had written to the disk; proc_pid_io(5), write_bytes."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


async def fill(data: Path, hours: float) -> Filled:
    """Continue the log of a stopped gateway by an outage of `hours`, one commit a second."""
    clock = MovedClock(time.time_ns() - int(hours * 3600) * _SECOND_NS)
    log = Buffer.open(
        data, BufferConfig(commit_bytes=1), clock=clock, boot_id=BOOT_BEFORE, encode_gap=gap_event
    )
    ids = sorted(decode_ids(log.state(POINT_IDS_STATE)).values())
    points, good = np.array(ids, np.int32), np.zeros(len(ids), np.uint16)
    began, written = time.monotonic(), _written_bytes()
    async with log:
        log.set_catalogue(next(iter(log.catalogue_records())))
        first = log.bounds(Stream.TELEMETRY).next
        for values in islice(seconds(len(ids)), int(hours * 3600)):
            await log.add_batch(points, values, good, clock.wall, clock.wall)
            clock.step()
        records = log.bounds(Stream.TELEMETRY).next - first
        used = log.capacity(Stream.TELEMETRY).used_bytes
    written = _written_bytes() - written
    took_s = time.monotonic() - began
    size = (data / "telemetry.db").stat().st_size
    return Filled(records, used, size, written, took_s)


def backlog(world: World) -> float:
    """Records the gateway still has to bring to the receiver, from its metrics."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{world.metrics_port}/metrics", timeout=5
        ) as answer:
            text = answer.read().decode()
    except OSError:
        return float("inf")
    for line in text.splitlines():
        if "backlog_records" in line and not line.startswith("#"):
            return float(line.rsplit(" ", 1)[1])
    return float("inf")


def _payloads(world: World, query: str) -> list[tuple[bytes]]:
    connection = sqlite3.connect(f"file:{world.store / 'receiver.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def _read(world: World, query: str) -> list[tuple[int, ...]]:
    connection = sqlite3.connect(f"file:{world.store / 'receiver.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def _lateness_ms(world: World, since_ns: int) -> list[float]:
    """Of each telemetry record committed since then: receiver's commit less gateway's, ms.

    since_ns: wall clock at which the session opened.  In order of the gateway's commit.
    """
    query = (
        "SELECT time_ns, received_ns - time_ns FROM records"
        " WHERE (id >> 40) % 4 = 2 AND historical = 0 ORDER BY time_ns"
    )
    return [late_ns / 1e6 for time_ns, late_ns in _read(world, query) if time_ns >= since_ns]


def _opened_ns(world: World) -> int:
    """Gateway's wall clock at the last link.up, ns; what was committed before it is backlog."""
    events = [
        wire.Event.FromString(payload)
        for (payload,) in _payloads(world, "SELECT payload FROM records WHERE (id >> 40) % 4 = 1")
    ]
    return max(event.time_ns for event in events if event.kind == "link.up")


def _held(world: World) -> tuple[int, int, int]:
    """Telemetry at the receiver: records, lowest and highest sequence."""
    query = (
        "SELECT count(*), min(id & 0xFFFFFFFFFF), max(id & 0xFFFFFFFFFF) FROM records"
        " WHERE (id >> 40) % 4 = 2"
    )
    count, first, last = _read(world, query)[0]
    return count, first, last


def rows(folder: Path) -> list[Row]:
    """Stored size, time to drain, lateness of live data, bytes written a day."""
    with World(folder) as world:
        port = free_port()
        world.start_modbus(port, POINTS, mode="signal")
        write_devices(world, [port], POINTS, 1000)
        gateway = world.start_gateway()
        until(lambda: backlog(world) < float("inf"), limit_s=60, what="the gateway runs")
        time.sleep(3)
        stop(gateway)
        filled = asyncio.run(fill(world.data, HOURS))
        gateway = world.start_gateway()
        until(lambda: 0 < backlog(world) < float("inf"), limit_s=60, what="the gateway runs")
        resident_before = usage(gateway.pid).resident_bytes
        time.sleep(5)
        receiver = world.start_receiver()
        connected = time.monotonic()
        before = [usage(process.pid) for process in (gateway, receiver)]
        until(lambda: backlog(world) <= 2, limit_s=DRAIN_LIMIT_S, what="the backlog is gone")
        drain_s = time.monotonic() - connected
        after = [usage(process.pid) for process in (gateway, receiver)]
        time.sleep(LIVE_S)
        stop(gateway, signal.SIGTERM)
        in_order_ms, (count, first, last) = _lateness_ms(world, _opened_ns(world)), _held(world)
        slow_s = [
            float(found)
            for log in world.folder.glob("receiver-*.log")
            for found in re.findall(r'"seconds": ([0-9.]+)', log.read_text(encoding="utf-8"))
        ]
        bare = {
            kind: bytes_per_s(kind, filled.payload_bytes, world.folder / "certs")
            for kind in ("tcp", "grpc")
        }
    late_ms = sorted(in_order_ms)
    lost = last - first + 1 - count
    p99 = late_ms[round(0.99 * (len(late_ms) - 1))]
    values = filled.records * POINTS
    shares = [(b.cpu_s - a.cpu_s) / drain_s for a, b in zip(before, after, strict=True)]
    day_bytes = filled.written_bytes / HOURS * 24
    years = EMMC_BYTES * EMMC_CYCLES / day_bytes / 365
    rate = filled.payload_bytes / drain_s
    return [
        Row(f"{HOURS:g} h outage: time to drain", drain_s, "s", 300,
            limit=f"{rate / bare['tcp']:.3f} of the same bytes over a bare TCP socket "
                  f"({bare['tcp'] / 1e6:,.0f} MB/s), {rate / bare['grpc']:.3f} over a bare "
                  f"grpc.aio stream with mutual TLS ({bare['grpc'] / 1e6:,.0f} MB/s)",
            detail=f"{filled.records:,} records, {filled.payload_bytes / 1e6:,.0f} MB: "
                   f"{rate / 1e6:.1f} MB/s, "
                   f"{values / drain_s / 1e6:.1f} M values/s; gateway {shares[0]:.0%}, receiver "
                   f"{shares[1]:.0%} of a core; gateway resident {resident_before / 1e6:.0f} MB "
                   f"before, {after[0].resident_bytes / 1e6:.0f} MB after"),
        Row("the same: live data late from the session's first second on, most", late_ms[-1], "ms",
            1000,
            detail=f"p50 {late_ms[len(late_ms) // 2]:.0f} ms, p99 {p99:.0f} ms of "
                   f"{len(late_ms)} live records, the first "
                   f"{', '.join(f'{one:.0f}' for one in in_order_ms[:3])} ms; "
                   f"{sum(one > 1000 for one in late_ms)} later than 1 s; the receiver's "
                   f"commits over 1 s: {', '.join(f'{one:.1f} s' for one in slow_s) or 'none'}; "
                   f"records lost {lost}, at the receiver {count:,}"),
        Row("the same: bytes stored a value", filled.file_bytes / values, "B", 0.66,
            detail=f"file {filled.file_bytes / 1e6:,.0f} MB; payload and row overhead "
                   f"{filled.payload_bytes / values:.3f} B a value; written in "
                   f"{filled.took_s:.0f} s"),
        Row("written to disk a day at one commit a second", day_bytes / 1e9, "GB", 5,
            detail=f"a 32 GB eMMC of {EMMC_CYCLES:,} cycles lasts {years:,.0f} years of it, were "
                   "its own write amplification 1; at 4 a quarter of that"),
    ]  # fmt: skip

"""Rows of the alarm: from the change of a register to the alarm's commit at the receiver.

The device runs in this process, so the moment of each change is known exactly; gateway and receiver
store the moments of their commits. All are wall-clock times of one machine. Two rounds, of CHANGES
alarms among POINTS points: with nothing else, and while a backlog drains that the real buffer wrote
with a moved clock (tests/bench/outage.py). Of each round the stages are shown: until the register
was read, until the gateway's commit began, and from there to the receiver's commit (so both syncs
and the line are in the last one), beside what a sync of this disk takes in that very round.

The line of the second round is limited (`rate_bytes_per_s`) so that the backlog lasts DRAINING_S:
else a backlog that is cheap to write is gone before enough alarms are measured.

`python -m tests.bench latency` takes 3 to 4 minutes; PLANTGATE_BACKLOG_HOURS sizes the backlog.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.model.alarm import AlarmChange
from tests.bench.outage import backlog, fill
from tests.bench.table import Row
from tests.e2e.plant import Plant
from tests.e2e.world import World, stop, until

POLL_MS = 100
POINTS = 5000
CHANGES = 150
LIMIT = 500
HOURS = float(os.environ.get("PLANTGATE_BACKLOG_HOURS", "24"))
DRAINING_S = 60  # CHANGES alarms take 20 s, and live data have their part of the line
STEP_S = 0.13  # no multiple of the poll period
DRAINED = 10  # records: live data are always under way
ALARMS = "SELECT payload, time_ns, received_ns FROM records WHERE (id >> 40) % 4 = 0"


@dataclass(slots=True)
class Syncs:
    """What an fsync of a small file took while a round ran, ms."""

    took_ms: list[float] = field(default_factory=list)


@contextmanager
def syncing(folder: Path) -> Iterator[Syncs]:
    """Sync a few bytes beside the logs, four times a second."""
    syncs, over = Syncs(), threading.Event()

    def run() -> None:
        with (folder / "sync").open("wb", buffering=0) as file:
            while not over.wait(0.25):
                file.write(b"x" * 512)
                began = time.perf_counter()
                os.fsync(file.fileno())
                syncs.took_ms.append((time.perf_counter() - began) * 1e3)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield syncs
    finally:
        over.set()
        thread.join()


def write_site(world: World, port: int, rate_bytes_per_s: int = 0) -> None:
    """One device of POINTS u16 registers; the first CHANGES of them have a limit."""
    lines = ["name,area,address,type,high"]
    lines += [f"r{i},holding,{i},u16,{LIMIT if i < CHANGES else ''}" for i in range(POINTS)]
    (world.folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    world.write_site(
        f"""rate_bytes_per_s = {rate_bytes_per_s}

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


def _raise_alarms(plant: Plant, going_on: Callable[[], bool]) -> list[int]:
    """Raise one register after the other while `going_on`; wall clock of each, ns."""
    changed_ns = []
    for number in range(CHANGES):
        if not going_on():
            break
        time.sleep(STEP_S)
        plant.set(number, LIMIT + 1)
        changed_ns.append(time.time_ns())
    return changed_ns


def received(world: World) -> dict[str, tuple[AlarmChange, int, int]]:
    """By source: the alarm, when its commit began at the gateway, and at the receiver, ns."""
    connection = sqlite3.connect(f"file:{world.store / 'receiver.db'}?mode=ro", uri=True)
    try:
        found = [(AlarmChange.decode(p), *times) for p, *times in connection.execute(ALARMS)]
    finally:
        connection.close()
    return {one[0].source: one for one in found}


def _p99(times_ms: list[float]) -> float:
    return sorted(times_ms)[round(0.99 * (len(times_ms) - 1))]


def _words(times_ms: list[float]) -> str:
    most = max(times_ms)
    return f"p50 {statistics.median(times_ms):.1f}, p99 {_p99(times_ms):.1f}, most {most:.1f} ms"


def _row(world: World, what: str, changed_ns: list[int], syncs: Syncs, beside: str) -> Row:
    until(lambda: len(received(world)) >= len(changed_ns), limit_s=60, what="all alarms arrive")
    arrived = received(world)
    whole: list[float] = []
    stages: dict[str, list[float]] = {
        "set to read": [],
        "read to commit": [],
        "commit to commit": [],
    }
    for number, set_ns in enumerate(changed_ns):
        change, stored_ns, received_ns = arrived[f"gds/r{number}"]
        moments = (set_ns, change.gateway_time_ns, stored_ns, received_ns)
        whole.append((received_ns - set_ns) / 1e6)
        for name, began, ended in zip(stages, moments, moments[1:], strict=False):
            stages[name].append((ended - began) / 1e6)
    said = "; ".join(f"{name} {_words(times)}" for name, times in stages.items())
    return Row(
        what, _p99(whole), "ms", POLL_MS + 30,
        limit=f"one fsync of this disk meanwhile: {_words(syncs.took_ms)}",
        detail=f"{len(changed_ns)} alarms among {POINTS} points at {POLL_MS} ms: {_words(whole)};"
               f" {said}{beside}",
    )  # fmt: skip


def rows(folder: Path) -> list[Row]:
    """Two rows: p99 against poll period + 30 ms, with nothing else and beside a backlog."""
    return [_alone(folder / "alone"), _draining(folder / "draining")]


def _alone(folder: Path) -> Row:
    with World(folder) as world, Plant(POINTS) as plant:
        world.start_receiver()
        write_site(world, plant.port)
        world.start_gateway()
        until(lambda: backlog(world) <= DRAINED, limit_s=60, what="the gateway runs")
        time.sleep(5)
        with syncing(folder) as syncs:
            changed_ns = _raise_alarms(plant, lambda: True)
        what = f"register change to alarm at the receiver, p99 (poll {POLL_MS} ms)"
        return _row(world, what, changed_ns, syncs, "")


def _draining(folder: Path) -> Row:
    with World(folder) as world, Plant(POINTS) as plant:
        write_site(world, plant.port)
        gateway = world.start_gateway()
        until(lambda: 0 < backlog(world) < float("inf"), limit_s=60, what="the gateway runs")
        stop(gateway)
        filled = asyncio.run(fill(world.data, HOURS))
        rate_bytes_per_s = filled.payload_bytes // DRAINING_S
        write_site(world, plant.port, rate_bytes_per_s)
        world.start_gateway()
        until(lambda: 0 < backlog(world) < float("inf"), limit_s=60, what="the gateway runs")
        time.sleep(3)
        world.start_receiver()
        before = backlog(world)
        until(lambda: backlog(world) < before, limit_s=60, what="the backlog goes")
        began = time.monotonic()
        with syncing(folder) as syncs:
            changed_ns = _raise_alarms(plant, lambda: backlog(world) > DRAINED)
        took_s, left = time.monotonic() - began, backlog(world)
        what = "the same while a backlog drains, p99"
        beside = (
            f"; backlog {filled.records:,} records, {filled.payload_bytes / 1e6:.0f} MB, on a line"
            f" limited to {rate_bytes_per_s / 1e3:.0f} kB/s,"
            f" {left:,.0f} left after {took_s:.0f} s"
        )
        return _row(world, what, changed_ns, syncs, beside)

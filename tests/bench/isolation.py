"""Rows of isolation: acquisition and alarms while the process of a camera crashes or hangs.

One gateway polls POINTS registers every POLL_MS and watches CAMERAS cameras (a clip, each analysed
at FPS, so that vision takes what is left of the cores); a receiver over mutual TLS. Windows one
after the other, each of CHANGES alarms STEP_S apart:

- undisturbed, before;
- every camera's process is sent SIGSEGV, what a crash in native code ends with;
- every one is sent SIGKILL, what the kernel's out-of-memory killer sends;
- every one is stopped (SIGSTOP): it hangs, is found after 10 s of silence and started again;
- undisturbed, after.

Alarm latency is from the change of a register to the commit at the receiver, as in
tests/bench/latency.py. Poll jitter is by how much the time between two polls, as stored with the
values of one point, differs from the period. The bars are the alarm's own (poll period + 30 ms) and
the jitter of the undisturbed window plus 10 ms.

`python -m tests.bench isolation` takes about 3 minutes.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from gateway.model.alarm import AlarmChange
from tests.bench.latency import LIMIT, received
from tests.bench.table import Row
from tests.bench.vision import children, make_clip, read_metrics
from tests.e2e.plant import Plant
from tests.e2e.world import World, until

POINTS, POLL_MS = 5000, 100
CAMERAS, FPS = 3, 8.0
CHANGES, STEP_S = 60, 0.43
SETTLE_S = 5
ALARM_BAR_MS = POLL_MS + 30
JITTER_BAR_MS = 10
FAULTS = (
    ("undisturbed, before", None),
    ("SIGSEGV", signal.SIGSEGV),
    ("SIGKILL (out of memory)", signal.SIGKILL),
    ("hang (SIGSTOP)", signal.SIGSTOP),
    ("undisturbed, after", None),
)


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of the run. changes: register and moment of each alarm, wall clock ns."""

    name: str
    began_ns: int
    ended_ns: int
    changes: tuple[tuple[int, int], ...]
    restarts: int


def rows(folder: Path) -> list[Row]:
    """Two rows a window: alarm latency and poll jitter."""
    clip = make_clip(folder / "clip.mp4")
    with World(folder / "world") as world, Plant(POINTS) as plant:
        world.start_receiver()
        _write_site(world, plant.port, clip)
        gateway = world.start_gateway()
        until(lambda: _watching(world), limit_s=90, what="all cameras deliver")
        time.sleep(SETTLE_S)
        windows = [_window(world, plant, gateway.pid, n) for n in range(len(FAULTS))]
        expected = sum(len(window.changes) for window in windows)
        until(lambda: len(received(world)) >= expected, limit_s=60, what="all alarms arrive")
        alarms, polls = received(world), _polls(world)
    calm = _p99(_jitter(windows[0], polls))
    return [row for window in windows for row in _rows(window, alarms, polls, calm)]


def _write_site(world: World, port: int, clip: Path) -> None:
    alarming = CHANGES * len(FAULTS)
    lines = ["name,area,address,type,high"]
    lines += [f"r{i},holding,{i},u16,{LIMIT if i < alarming else ''}" for i in range(POINTS)]
    (world.folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    device = f"""
[[device]]
name = "gds"
driver = "modbus"
host = "127.0.0.1"
port = {port}
unit = 1
poll_ms = {POLL_MS}
points = "points.csv"
"""
    cameras = [
        f"""
[[camera]]
name = "cam{number}"
source = "{clip}"
analyse_fps = {FPS}
motion_floor_s = 0.0
[[camera.zone]]
name = "hot-work-1"
polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]
"""
        for number in range(CAMERAS)
    ]
    world.write_site(device + "".join(cameras))


def _watching(world: World) -> bool:
    try:
        found = read_metrics(world)
    except OSError:
        return False
    return all(found.get(f"cam{n}", {}).get("frames_decoded", 0) > 2 for n in range(CAMERAS))


def _starts(world: World) -> int:
    found = read_metrics(world)
    return int(sum(found[f"cam{number}"]["starts"] for number in range(CAMERAS)))


def _window(world: World, plant: Plant, gateway: int, number: int) -> Window:
    name, fault = FAULTS[number]
    before, began_ns = _starts(world), time.time_ns()
    if fault is not None:
        for worker in children(gateway):
            os.kill(worker, fault)
    changes = []
    for register in range(number * CHANGES, (number + 1) * CHANGES):
        time.sleep(STEP_S)
        plant.set(register, LIMIT + 1)
        changes.append((register, time.time_ns()))
    ended_ns = time.time_ns()
    if fault is not None:
        until(lambda: _starts(world) >= before + CAMERAS, limit_s=60, what="cameras start again")
        until(lambda: _watching(world), limit_s=60, what="all cameras deliver")
    return Window(name, began_ns, ended_ns, tuple(changes), _starts(world) - before)


def _polls(world: World) -> list[int]:
    """When one point was read, ns, in order."""
    found = world.query("--point", f"gds/r{POINTS - 1}")
    return [round(datetime.fromisoformat(row.time).timestamp() * 1e9) for row in found]


def _jitter(window: Window, polls: list[int]) -> list[float]:
    """Difference of each period from POLL_MS, ms."""
    mine = [at for at in polls if window.began_ns <= at <= window.ended_ns]
    periods = [(after - before) / 1e6 for before, after in pairwise(mine)]
    return [abs(period - POLL_MS) for period in periods]


def _rows(
    window: Window, alarms: dict[str, tuple[AlarmChange, int, int]], polls: list[int], calm: float
) -> list[Row]:
    took = [(alarms[f"gds/r{n}"][2] - set_ns) / 1e6 for n, set_ns in window.changes]
    jitter = _jitter(window, polls)
    seconds = (window.ended_ns - window.began_ns) / 1e9
    said = f"{window.restarts} processes of cameras started again" if window.restarts else "none"
    return [
        Row(
            f"vision {window.name}: register change to alarm at the receiver, p99",
            _p99(took), "ms", ALARM_BAR_MS, detail=f"{len(took)} alarms: {_words(took)}; {said}",
        ),
        Row(
            f"vision {window.name}: poll jitter, p99",
            _p99(jitter), "ms", calm + JITTER_BAR_MS,
            detail=f"{len(jitter)} polls of {POINTS} registers in {seconds:.0f} s at {POLL_MS} ms:"
            f" {_words(jitter)}",
        ),
    ]  # fmt: skip


def _p99(values: list[float]) -> float:
    return sorted(values)[round(0.99 * (len(values) - 1))]


def _words(values: list[float]) -> str:
    ordered = sorted(values)
    return (
        f"p50 {ordered[len(ordered) // 2]:.1f}, p99 {_p99(values):.1f}, most {ordered[-1]:.1f} ms"
    )

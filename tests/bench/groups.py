"""Rows of groups: cameras with a process each, and the same cameras in one process.

640x360 H.264 at 25 frames a second, 2 of them analysed, people walking; the cameras' processes
alone, without gateway and receiver, run by the very CameraSource. Memory is resident and, because
processes share pages of libraries, proportional (PSS of proc_pid_smaps(5)); CPU time from
/proc, over the same window. `python -m tests.bench groups` takes about a minute.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from drivers.contract import Quality
from gateway.runtime.clock import SystemClock
from gateway.sources.camera import CameraSource
from gateway.sources.camera_groups import CameraGroups
from tests.bench.machine import usage
from tests.bench.table import Row
from tests.bench.vision import FPS, make_clip
from tests.vision.recorder import Recorder, camera, points_of

CAMERAS, SETTLE_S, WINDOW_S = 8, 5, 12


@dataclass(frozen=True, slots=True)
class Cost:
    """Of all processes together. fps: of all cameras; least_fps: of the slowest."""

    processes: int
    resident_mb: float
    proportional_mb: float
    cpu_share: float
    fps: float
    least_fps: float


def rows(folder: Path) -> list[Row]:
    """Memory and CPU of CAMERAS cameras, first alone, then in a group."""
    clip = make_clip(folder / "clip.mp4")
    alone = asyncio.run(_measure(clip, CAMERAS, ""))
    one = asyncio.run(_measure(clip, 1, "g"))
    group = asyncio.run(_measure(clip, CAMERAS, "g"))
    further = (group.proportional_mb - one.proportional_mb) / (CAMERAS - 1)
    return [
        _row(f"{CAMERAS} cameras, a process each", alone, 1.0, ""),
        _row(f"{CAMERAS} cameras in one process", group,
             group.proportional_mb / alone.proportional_mb,
             f"; {further:.0f} MB for each further camera, {one.proportional_mb:.0f} MB the first"),
    ]  # fmt: skip


def _row(name: str, cost: Cost, ratio: float, more: str) -> Row:
    return Row(
        f"{name}: proportional memory", cost.proportional_mb, "MB", 0,
        limit=f"{ratio:.2f} x a process each",
        detail=f"{cost.processes} processes, resident {cost.resident_mb:.0f} MB in all;"
        f" {cost.cpu_share:.2f} of a core, {cost.cpu_share / cost.fps * 1e3:.0f} ms a frame; least"
        f" {cost.least_fps:.2f} of {FPS:g} fps{more}",
    )  # fmt: skip


async def _measure(clip: Path, count: int, group: str) -> Cost:
    groups, clock = CameraGroups(SystemClock()), SystemClock()
    cameras = []
    for number in range(count):
        config = camera(str(clip), name=f"cam{number}", group=group, analyse_fps=FPS)
        start = groups.of(group).member if group else None
        cameras.append(Recorder(CameraSource(config, points_of(config), clock, start=start)))
    async with asyncio.TaskGroup() as running:
        tasks = [running.create_task(one.run()) for one in cameras]
        for one in cameras:
            await one.until(lambda one=one: Quality.GOOD in one.qualities())  # type: ignore[misc]  # bound now
        await asyncio.sleep(SETTLE_S)
        pids = sorted({one.source.pid or 0 for one in cameras})
        before = sum(usage(pid).cpu_s for pid in pids)
        await asyncio.sleep(WINDOW_S)
        after = sum(usage(pid).cpu_s for pid in pids)
        cost = Cost(
            processes=len(pids),
            resident_mb=sum(usage(pid).resident_bytes for pid in pids) / 1e6,
            proportional_mb=sum(_proportional_bytes(pid) for pid in pids) / 1e6,
            cpu_share=(after - before) / WINDOW_S,
            fps=sum(float(one.batches[-1].values[-1]) for one in cameras),
            least_fps=min(float(one.batches[-1].values[-1]) for one in cameras),
        )
        for task in tasks:
            task.cancel()
    return cost


def _proportional_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    (line,) = [line for line in text.splitlines() if line.startswith("Pss:")]
    return int(line.split()[1]) * 1024

"""A camera's process crashes, is killed, hangs: polls and alarms go on, the camera comes back.

One camera has a process alone, two share one.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.bench.latency import received
from tests.bench.vision import children, read_metrics
from tests.clips import find_clip
from tests.e2e.plant import Plant
from tests.e2e.world import World, until

pytestmark = pytest.mark.e2e
CAMERAS = ("cam", "left", "right")
FAULTS = (signal.SIGSEGV, signal.SIGKILL, signal.SIGSTOP)
LIMIT_S = 90  # a bound against hanging, never an expectation


def least(world: World, statistic: str) -> float:
    """The least of the cameras' numbers; 0 while the gateway does not answer."""
    try:
        found = read_metrics(world)
    except OSError:
        return 0.0
    return min(found.get(camera, {}).get(statistic, 0.0) for camera in CAMERAS)


def starts(world: World) -> float:
    """How often each camera's process was started."""
    return least(world, "starts")


def judged(world: World) -> float:
    return least(world, "frames_decoded")


def _goes_on(world: World, plant: Plant, number: int, asked: int) -> None:
    """The alarm of a register arrives, polls go on, the camera's process is started again."""
    until(lambda: f"gds/r{number}" in received(world), limit_s=LIMIT_S, what="the alarm arrives")
    until(lambda: plant.requests > asked + 10, limit_s=LIMIT_S, what="polls go on")
    until(lambda: starts(world) > number, limit_s=LIMIT_S, what="it starts again")


@pytest.mark.timeout(600)
def test_a_crash_a_kill_and_a_hang_of_vision_leave_acquisition_and_alarms_alone(
    tmp_path: Path,
) -> None:
    clip = find_clip()
    assert clip is not None, "vtest.avi is missing: make peers"
    registers = 200
    cameras = [
        f"""
[[camera]]
name = "{name}"
source = "{clip}"
analyse_fps = 2
group = "{"" if name == "cam" else "yard"}"
[[camera.zone]]
name = "all"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
"""
        for name in CAMERAS
    ]
    with World(tmp_path / "world") as world, Plant(registers) as plant:
        lines = ["name,area,address,type,high"]
        lines += [f"r{i},holding,{i},u16,500" for i in range(registers)]
        (world.folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        world.write_site(
            f"""
[[device]]
name = "gds"
driver = "modbus"
host = "127.0.0.1"
port = {plant.port}
unit = 1
poll_ms = 200
timeout_ms = 20000
points = "points.csv"
"""
            + "".join(cameras)
        )
        world.start_receiver()
        gateway = world.start_gateway()
        for number, fault in enumerate(FAULTS, 1):
            until(lambda: judged(world) > 1, limit_s=LIMIT_S, what="the camera is analysed")
            assert starts(world) == number
            workers = children(gateway.pid)
            assert len(workers) == 2
            asked = plant.requests
            for worker in workers:
                os.kill(worker, fault)
            plant.set(number, 501)
            _goes_on(world, plant, number, asked)
        until(lambda: judged(world) > 1, limit_s=LIMIT_S, what="the camera is analysed")
        assert plant.connections == 1
        rows = world.query("--point", "gds/r0")
        assert {row.quality for row in rows} == {"good"}, "no poll failed"
        assert starts(world) == 4

"""Rows of vision: what the pipeline adds to its parts, and eight cameras beside acquisition.

The second runs the product as it is: one `plantgate run` with eight cameras and a Modbus device of
5,000 registers at 1 s, a receiver over mutual TLS, the simulated device. The eight processes of the
cameras are bound to one core, everything else is left to the scheduler. The cameras are one file,
640x360, H.264, 25 frames a second, played in a loop at its own pace: every frame is decoded, as
with a camera, but nothing comes over a network. What each analysed is read at the receiver, what
the device was polled from the gateway's own page.

The clip is made with ffmpeg of the people walking in vtest.avi (tests/clips.py says where that is
looked for).
"""

from __future__ import annotations

import os
import re
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import usage
from tests.bench.table import Row
from tests.bench.vision_overhead import Overhead, measure
from tests.clips import clip_or_exit
from tests.e2e.world import World, free_port, until

CAMERAS = 8
FPS = 2.0
LEAST_FPS = 1.9
REGISTERS = 5000
LEAST_POLL_SHARE = 0.99
OVERHEAD_FRAMES, OVERHEAD_ROUNDS = 30, 5
SETTLE_S = 3
WINDOW_S = 12
_METRIC = re.compile(r'^plantgate_source_(\w+)\{name="([^"]+)"\} (\S+)$', re.MULTILINE)

Numbers = dict[str, dict[str, float]]
"""Statistic by name of a source and name of the statistic."""


@dataclass(frozen=True, slots=True)
class Eight:
    """What the cameras and the gateway did over the window. cpu_share: of one core, all eight."""

    cpu_share: float
    fps: tuple[float, ...]
    late: int
    resident_mb: float
    gateway_share: float
    poll_period_ms: float
    polls_late: int


def rows(folder: Path) -> list[Row]:
    """All rows of vision."""
    clip = make_clip(folder / "clip.mp4")
    overhead = measure(clip, OVERHEAD_FRAMES, OVERHEAD_ROUNDS)
    eight = run_eight(folder / "eight", clip)
    return [overhead_row(overhead), *eight_rows(eight, overhead)]


def make_clip(target: Path) -> Path:
    """640x360 at 25 frames a second, a key frame every 2 s, no frame that needs a later one."""
    source = clip_or_exit()
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-t", "20", "-an",
         "-vf", "crop=768:432,scale=640:360,fps=25", "-pix_fmt", "yuv420p",
         "-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", "50", "-b:v", "600k",
         str(target)],
        check=True,
    )  # fmt: skip
    return target


def run_eight(folder: Path, clip: Path) -> Eight:
    """Run the gateway with eight cameras and measure."""
    with World(folder) as world:
        port = free_port()
        world.start_modbus(port, REGISTERS, mode="signal")
        write_site(world, port, clip)
        world.start_receiver()
        gateway = world.start_gateway()
        cameras = [f"cam{number}" for number in range(CAMERAS)]
        until(lambda: decoding(world, cameras), limit_s=60, what="all cameras deliver")
        workers = children(gateway.pid)
        if len(workers) != CAMERAS:
            raise SystemExit(f"bench: {len(workers)} processes for {CAMERAS} cameras")
        core = max(os.sched_getaffinity(0))
        for worker in workers:
            command = ["taskset", "--all-tasks", "--pid", "--cpu-list", str(core), str(worker)]
            subprocess.run(command, check=True, capture_output=True)
        time.sleep(SETTLE_S)
        before, began = _snapshot(world, [gateway.pid, *workers]), time.monotonic()
        time.sleep(WINDOW_S)
        after, passed = _snapshot(world, [gateway.pid, *workers]), time.monotonic() - began
        fps = [world.query("--point", f"{name}/analysed_fps")[-1].value for name in cameras]
        resident = [usage(worker).resident_bytes for worker in workers]
        cpu = [(b - a) / passed for a, b in zip(before[1], after[1], strict=True)]

    def grown(source: str, key: str) -> int:
        return round(after[0][source][key] - before[0][source][key])

    return Eight(
        cpu_share=sum(cpu[1:]),
        fps=tuple(fps),
        late=sum(grown(camera, "frames_late") for camera in cameras),
        resident_mb=sum(resident) / len(resident) / 1e6,
        gateway_share=cpu[0],
        poll_period_ms=after[0]["plc"]["achieved_period_ms"],
        polls_late=grown("plc", "late_polls") + grown("plc", "skipped_polls"),
    )


def write_site(world: World, port: int, clip: Path) -> None:
    """One Modbus device and eight cameras, each with a zone that has a limit."""
    lines = ["name,area,address,type,scale"]
    lines += [f"r{i},holding,{i},u16,0.1" for i in range(REGISTERS)]
    (world.folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    device = f"""
[[device]]
name = "plc"
driver = "modbus"
host = "127.0.0.1"
port = {port}
unit = 1
poll_ms = 1000
points = "points.csv"
"""
    cameras = [
        f"""
[[camera]]
name = "cam{number}"
source = "{clip}"
analyse_fps = {FPS}
[[camera.zone]]
name = "hot-work-1"
polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]
max_people = 6
"""
        for number in range(CAMERAS)
    ]
    world.write_site(device + "".join(cameras))


def decoding(world: World, cameras: list[str]) -> bool:
    """Tell whether every camera has judged frames and the device has been polled."""
    try:
        found = read_metrics(world)
    except OSError:
        return False
    judged = all(found.get(camera, {}).get("frames_decoded", 0) > 2 for camera in cameras)
    return judged and found.get("plc", {}).get("polls", 0) > 2


def read_metrics(world: World) -> Numbers:
    """Statistics of all sources, from the gateway's own page."""
    url = f"http://127.0.0.1:{world.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        page = answer.read().decode()
    found: Numbers = {}
    for key, name, value in _METRIC.findall(page):
        found.setdefault(name, {})[key] = float(value)
    return found


def children(pid: int) -> list[int]:
    """Processes that were started by one; proc_pid_task(5)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text(encoding="utf-8").split()]


def _snapshot(world: World, pids: list[int]) -> tuple[Numbers, list[float]]:
    return read_metrics(world), [usage(pid).cpu_s for pid in pids]


def overhead_row(found: Overhead) -> Row:
    """Overhead over decoding and the network alone."""
    return Row(
        "vision: overhead over decode plus bare onnxruntime on the same frames",
        found.median * 100,
        "%",
        10,
        limit=f"{1 + found.median:.3f} x decode {found.decode_ms:.2f} ms"
        f" + onnxruntime {found.network_ms:.2f} ms, CPU a frame of 640x360",
        detail=f"everything {found.pipeline_ms:.2f} ms; {len(found.ratios)} rounds of"
        f" {OVERHEAD_FRAMES} frames, {min(found.ratios):.1%} to {max(found.ratios):.1%}",
    )


def eight_rows(found: Eight, parts: Overhead) -> list[Row]:
    """Eight cameras on one core: the share, the rate they reach, and acquisition beside them."""
    bare = CAMERAS * (FPS * parts.network_ms + 25 * parts.decode_ms) / 1000
    return [
        Row(
            "8 cameras 640x360 analysed at 2 fps on one core beside full acquisition",
            found.cpu_share,
            "core",
            1.0,
            limit=f"{found.cpu_share / bare:.2f} x decoding 25 fps and 2 bare inferences/s each"
            f" ({bare:.2f})",
            detail=f"{found.late} frames late; {found.resident_mb:.0f} MB resident each; the"
            f" gateway itself {found.gateway_share:.1%} of a core",
        ),
        Row(
            "8 cameras: least frames/s analysed by one of them",
            min(found.fps),
            "fps",
            LEAST_FPS,
            more_is_better=True,
            detail="over the last 10 s, as stored at the receiver",
        ),
        Row(
            "8 cameras: registers/s polled beside them",
            REGISTERS * 1000 / found.poll_period_ms,
            "/s",
            REGISTERS * LEAST_POLL_SHARE,
            more_is_better=True,
            detail=f"{found.polls_late} polls late or skipped",
        ),
    ]

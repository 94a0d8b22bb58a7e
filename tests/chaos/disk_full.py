"""A disk that is really full: a small ext4 on a loop device, or a tmpfs of limited size.

Run as `python -m tests.chaos.disk_full [--seconds S] [--mib M]` (root). A log writes telemetry that
does not compress and an alarm every tenth batch; a file beside it takes all but half of what
telemetry must leave free, then all of it, then gives it back. Checked: telemetry sheds with gap
records of exactly what was refused, alarms go on being stored from the reserve, and after the
space is back everything is stored again without a hand; chains, numbers and counts are whole.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from buffer.block import BlockDecoder
from buffer.contract import NotStoredError, Stream
from buffer.policy import MIB, BufferConfig
from buffer.store import Buffer
from gateway.runtime.clock import SystemClock, boot_id
from tests.chaos.aftermath import gaps_of, records_of
from tests.chaos.short_run import encode_gap

SAMPLES = 500
RESERVE_BYTES = 4 * MIB
MIN_FREE_BYTES = 6 * MIB
ALARM_BYTES = 2_000
PAUSE_S = 0.01


@dataclass
class Told:
    """What the log said: counts by phase, and numbers of what was taken."""

    taken: dict[str, list[int]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    alarms: dict[str, list[int]] = field(default_factory=dict)
    alarms_refused: dict[str, int] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)
    reserve_given_up: bool = False


@contextmanager
def small_disk(mib: int) -> Iterator[tuple[Path, str]]:
    """A mounted file system of that size, and what kind it is. Needs root."""
    with tempfile.TemporaryDirectory(prefix="plantgate-full-") as name:
        image, mount = Path(name, "disk.img"), Path(name, "disk")
        mount.mkdir()
        kind = "ext4 on a loop device"
        with image.open("wb") as file:
            file.truncate(mib * MIB)
        made = _done("mkfs.ext4", "-q", "-m", "0", str(image))
        if not made or not _done("mount", "-o", "loop", str(image), str(mount)):
            kind = "tmpfs"
            size = f"size={mib}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(mount)], check=True)
        try:
            yield mount, kind
        finally:
            subprocess.run(["umount", str(mount)], check=True)


def _done(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class Ballast:
    """A file that takes space."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def leave(self, free_bytes: int) -> None:
        """Grow until only so much is free."""
        with self._path.open("ab") as file:
            while (room := free(self._path.parent) - free_bytes) > 0:
                try:
                    file.write(bytes(min(room, 1 << 16)))
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    return

    def give_back(self) -> None:
        """Free all of it."""
        self._path.unlink(missing_ok=True)


def free(path: Path) -> int:
    """Bytes that a process may still write."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


async def load(log: Buffer, told: Told, phase: str, *, seconds: float, first: int) -> int:
    """Store for so long; gives the number that comes next."""
    points = np.arange(SAMPLES, dtype=np.int32)
    good = np.zeros(SAMPLES, np.uint16)
    clock = SystemClock()
    chance = np.random.default_rng(first)
    taken = told.taken.setdefault(phase, [])
    alarms = told.alarms.setdefault(phase, [])
    told.refused.setdefault(phase, 0)
    told.alarms_refused.setdefault(phase, 0)
    end = time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        values = chance.random(SAMPLES)
        values[0] = number
        try:
            await log.add_batch(points, values, good, clock.wall_ns(), clock.wall_ns())
            taken.append(number)
        except NotStoredError as failure:
            told.refused[phase] += 1
            told.reasons.add(str(failure).split(":")[0])
        if number % 10 == 0:
            try:
                await log.add_record(Stream.ALARM, str(number).encode().ljust(ALARM_BYTES))
                alarms.append(number)
            except NotStoredError as failure:
                told.alarms_refused[phase] += 1
                told.reasons.add(f"alarm: {failure}")
        number += 1
        await asyncio.sleep(PAUSE_S)
    return number


def opened(folder: Path) -> Buffer:
    """The log under test."""
    config = BufferConfig(
        commit_ms=5, reserve_bytes=RESERVE_BYTES, min_free_bytes=MIN_FREE_BYTES, key_every_s=2
    )
    return Buffer.open(
        folder, config, clock=SystemClock(), boot_id=boot_id(), encode_gap=encode_gap
    )


async def campaign(mount: Path, *, seconds: float) -> tuple[Told, list[str]]:
    """Fill, and give back; gives what was said and what is wrong."""
    told, wrong = Told(), []
    part = seconds / 4
    ballast = Ballast(mount / "ballast")
    folder = mount / "data"
    async with opened(folder) as log:
        log.set_destinations({"nobody": tuple(Stream)})  # so nothing may make room
        following = await load(log, told, "room", seconds=part, first=1)
        ballast.leave(MIN_FREE_BYTES // 2)
        following = await load(log, told, "nearly full", seconds=part, first=following)
        ballast.leave(0)
        following = await load(log, told, "full", seconds=part, first=following)
        healthy = log.health()[0]
        told.reserve_given_up = not (folder / "reserve").exists()
        ballast.give_back()
        await load(log, told, "room again", seconds=part, first=following)
        if healthy:
            wrong.append("health was green while the disk was full")
        if not log.health()[0]:
            wrong.append(f"health is not green again: {log.health()[1]}")
    async with opened(folder):
        pass
    async with opened(folder) as log:
        wrong += [f"the next start had to repair: {note}" for note in log.notes]
        found = {stream: await records_of(log, stream, wrong) for stream in Stream}
    return told, wrong + judge(told, found)


def judge(told: Told, found: dict[Stream, list[bytes]]) -> list[str]:
    """What is not as promised."""
    wrong = []
    gaps = gaps_of(found[Stream.EVENT])
    decoder = BlockDecoder()
    held = [
        int(batch.values[0]) for block in found[Stream.TELEMETRY] for batch in decoder.feed(block)
    ]
    taken = [number for numbers in told.taken.values() for number in numbers]
    if held != taken:
        wrong.append(f"{len(taken)} batches were taken, {len(held)} are there")
    alarms = [int(payload) for payload in found[Stream.ALARM]]
    if alarms != [number for numbers in told.alarms.values() for number in numbers]:
        wrong.append("alarms that were taken are not those that are there")
    refused = SAMPLES * sum(told.refused.values())
    counted = sum(gaps["TELEMETRY", cause] for cause in ("disk_full", "io_error"))
    if refused != counted:
        wrong.append(f"{refused} samples were refused, gap records say {counted}")
    lost = sum(told.alarms_refused.values())
    counted = sum(gaps["ALARM", cause] for cause in ("disk_full", "io_error"))
    if lost != counted:
        wrong.append(f"{lost} alarms were refused, gap records say {counted}")
    return wrong + _phases(told)


def _phases(told: Told) -> list[str]:
    wrong = []
    for phase, lost in told.alarms_refused.items():
        if lost:
            wrong.append(f"{lost} alarms were refused while {phase}")
    for phase in ("nearly full", "full"):
        if not told.refused[phase]:
            wrong.append(f"nothing was shed while {phase}")
    if not told.reserve_given_up:
        wrong.append("the reserve was not given up while full")
    if told.refused["room"]:
        wrong.append("telemetry was shed although there was room")
    wrong += [
        f"nothing was stored with {one}" for one in ("room", "room again") if not told.taken[one]
    ]
    return wrong


def main() -> None:
    """Run the campaign and print what happened; exit 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--mib", type=int, default=64)
    options = parser.parse_args()
    with small_disk(options.mib) as (mount, kind):
        told, wrong = asyncio.run(campaign(mount, seconds=options.seconds))
    print(f"{options.mib} MiB, {kind}, {options.seconds:.0f} s")
    print("| phase | batches taken | refused | alarms taken | refused |\n|---|---|---|---|---|")
    for phase, taken in told.taken.items():
        alarms = f"{len(told.alarms[phase])} | {told.alarms_refused[phase]}"
        print(f"| {phase} | {len(taken)} | {told.refused[phase]} | {alarms} |")
    print("reserve given up while full:", "yes" if told.reserve_given_up else "no")
    print("reasons:", *sorted(told.reasons), sep="\n  ")
    print("\n".join(wrong) or "as promised")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

"""What people who watch cost the gateway: its CPU with none and with two watchers, in one run.

`python -m tests.bench.watchers`: 5,000 points at 1 s, then 10,000 alarms at once; each with nobody
and with two readers of the control socket's `watch`. A watcher of a slow machine gets fewer lines,
so the ratio of CPU seconds is what is shown, never a time.
"""

from __future__ import annotations

import contextlib
import csv
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.control.client import NotAnsweredError, ask
from tests.e2e.plant import Plant
from tests.e2e.world import World, until

POINTS, MANY, QUIET_S = 5_000, 10_000, 20.0
WATCHERS = 2


def cpu_s(pid: int) -> float:
    """User and system time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def watching(data: Path, count: int) -> Iterator[list[int]]:
    """So many threads that read `watch` lines; gives bytes and lines read so far."""
    read, links = [0, 0], []

    def follow(link: socket.socket) -> None:
        with contextlib.suppress(OSError), link.makefile("rb") as lines:
            for line in lines:
                read[0] += len(line)
                read[1] += 1

    threads = []
    for _ in range(count):
        link = socket.socket(socket.AF_UNIX)
        link.connect(str(data / "control.sock"))
        link.sendall(b'{"ask":"watch"}\n')
        links.append(link)
        threads.append(threading.Thread(target=follow, args=(link,)))
        threads[-1].start()
    try:
        yield read
    finally:
        for link in links:
            link.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def running(points: int) -> Iterator[tuple[World, Plant, int]]:
    """A gateway that reads so many points of one device once a second, and a receiver."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        plant = stack.enter_context(Plant(points))
        world = stack.enter_context(World(Path(folder) / "w"))
        with (world.folder / "gds.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["name", "area", "address", "type", "unit", "high"])
            rows.writerows([f"XT-{n}", "holding", n, "u16", "kPa", 100] for n in range(points))
        world.write_site(
            f'[[device]]\nname = "gds"\ndriver = "modbus"\nhost = "127.0.0.1"\n'
            f'port = {plant.port}\nunit = 1\npoll_ms = 1000\npoints = "gds.csv"\n'
        )
        world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: _total(world.data) is not None, limit_s=60, what="the gateway answers")
        time.sleep(5)
        yield world, plant, gateway.pid


def _total(data: Path) -> int | None:
    try:
        return int(ask(data, {"ask": "alarm.list", "most": 1})["total"])
    except NotAnsweredError:
        return None


def quiet() -> None:
    """CPU seconds a second, 5,000 points at 1 s."""
    with running(POINTS) as (world, _, pid):
        for count in (0, WATCHERS, 0, WATCHERS):
            with watching(world.data, count) as read:
                time.sleep(1)
                before, began = cpu_s(pid), time.monotonic()
                time.sleep(QUIET_S)
                share = (cpu_s(pid) - before) / (time.monotonic() - began)
                lines, size = read[1] / max(1, count), read[0] / max(1, count)
            print(f"{POINTS} points, {count} watchers: {share:.2%} of a core;"
                  f" each {lines:.0f} lines, {size / 1000:.0f} kB in {QUIET_S:.0f} s")  # fmt: skip


def flood() -> None:
    """CPU seconds from the first to the last of 10,000 alarms and 5 s more."""
    for count in (0, WATCHERS):
        with running(MANY) as (world, plant, pid), watching(world.data, count) as read:
            before = cpu_s(pid)
            for register in range(MANY):
                plant.set(register, 200)
            until(lambda data=world.data: _total(data) == MANY, limit_s=120, what="all stand")  # type: ignore[misc]  # mypy and defaults
            time.sleep(5)
            print(f"{MANY} alarms, {count} watchers: {cpu_s(pid) - before:.2f} s of CPU;"
                  f" each {read[1] / max(1, count):.0f} lines,"
                  f" {read[0] / max(1, count) / 1000:.0f} kB")  # fmt: skip


if __name__ == "__main__":
    quiet()
    flood()

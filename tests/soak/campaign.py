"""The campaign: one fault after another, each seen and healed; what it cost in memory and tasks."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.soak.faults import Fault, act, kinds
from tests.soak.plant import Plant

LONGEST_S = 90.0  # a bound against hanging, never an expectation
GROWTH_BYTES = 8 * 2**20
"""Resident memory that the second half may have above the first: less than 6 KB a fault."""
_STEP_S = 0.02
_RESIDENT = Path("/proc/self/statm")


class UnseenError(AssertionError):
    """A fault did not show, or what it left did not heal."""


@dataclass(slots=True)
class Seen:
    """Times of one kind of fault, in s."""

    shown_s: list[float] = field(default_factory=list)
    healed_s: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """What a campaign found. Memory in bytes after each fault; tasks and descriptors left over."""

    seen: dict[str, Seen] = field(default_factory=lambda: defaultdict(Seen))
    resident: list[int] = field(default_factory=list)
    tasks: tuple[int, int] = (0, 0)
    descriptors: tuple[int, int] = (0, 0)
    samples: int = 0
    failures: int = 0
    unexpected: list[str] = field(default_factory=list)
    taken_s: float = 0.0

    @property
    def growth_bytes(self) -> int:
        """Median of the last fifth over that of the second fifth; the first warms up."""
        fifth = max(1, len(self.resident) // 5)
        return round(median(self.resident[-fifth:]) - median(self.resident[fifth : 2 * fifth]))


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(_RESIDENT.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open descriptors of this process, sockets among them."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(condition: Callable[[], bool], what: str, longest_s: float = LONGEST_S) -> float:
    """Poll; returns how long it took in s. Raises UnseenError."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > longest_s:
            raise UnseenError(what)
        await asyncio.sleep(_STEP_S)
    return time.monotonic() - began


async def run(count: int, seed: int, say: Callable[[str], None]) -> Result:
    """Run `count` faults, every kind equally often, in an order that the seed gives.

    SIGTERM ends it after the fault that is under way; what was seen so far is the result.
    """
    result, rng, began = Result(), random.Random(seed), time.monotonic()
    enough: list[int] = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, enough.append, 1)
    async with Plant() as plant:
        for source in plant.ids:
            await until(lambda: plant.good(source), f"{source} does not start")  # noqa: B023  # waited for here
        found = kinds(plant)
        await asyncio.sleep(1)  # what starts has ended
        before = (asyncio_tasks(), descriptors())
        turn: list[Fault] = []
        for number in range(count):
            turn = turn or rng.sample(found, len(found))
            fault = turn.pop()
            await _one(plant, fault, result)
            plant.trim()
            await _no_more_than(before, fault.name)
            result.resident.append(resident_bytes())
            if (number + 1) % 60 == 0:
                say(f"{number + 1} faults, {result.resident[-1] / 2**20:.1f} MB resident")
            if enough:
                break
        result.tasks = (before[0], asyncio_tasks())
        result.descriptors = (before[1], descriptors())
        result.samples = sum(watch.samples for watch in plant.watches.values())
        result.failures, result.unexpected = plant.failures, plant.unexpected
    result.taken_s = time.monotonic() - began
    return result


async def _one(plant: Plant, fault: Fault, result: Result) -> None:
    """Make one fault, see it, end it, see it healed."""
    watch = plant.watches[fault.source]
    if "device.period" in fault.events:  # said at each change: on a busy machine it is slow already
        await until(lambda: watch.events["device.period"] % 2 == 0, "the period is not kept")
    said = dict(watch.events)

    def shown() -> bool:
        told = all(watch.events[kind] > said.get(kind, 0) for kind in fault.events)
        return told and watch.each_in(fault.points, fault.qualities)

    name = f"{fault.source}: {fault.name}"
    await act(fault.begin)
    if fault.again:
        for _ in range(60):
            try:
                async with asyncio.timeout(1):
                    await until(shown, name)
                break
            except TimeoutError:
                await act(fault.begin)
    seen = result.seen[name]
    seen.shown_s.append(await until(shown, f"{name} does not show: {watch.quality}, {said}"))
    for other in plant.ids:
        if other != fault.source and not plant.good(other):
            theirs = plant.watches[other]
            what = f"{name} disturbs {other}: {theirs.quality}, {dict(theirs.events)}"
            await until(lambda: plant.good(other), what)  # noqa: B023  # waited for here
    await act(fault.end)
    healed = lambda: plant.good(fault.source)  # noqa: E731
    seen.healed_s.append(await until(healed, f"{name} does not heal: {watch.quality}"))


def asyncio_tasks() -> int:
    """Tasks that are alive."""
    return len(asyncio.all_tasks())


async def _no_more_than(before: tuple[int, int], name: str) -> None:
    """Wait until no task and no descriptor is left over."""
    await until(
        lambda: asyncio_tasks() <= before[0] and descriptors() <= before[1],
        f"left after {name}: {asyncio_tasks()} tasks of {before[0]}, {descriptors()} descriptors of"
        f" {before[1]}",
    )  # fmt: skip

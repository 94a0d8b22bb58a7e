"""The campaign: one fault after another, each seen and healed; what it cost in memory and tasks.

What is kept of each fault has its place before the first one, so that the campaign itself does not
grow in the memory that it measures.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.soak.faults import Fault, act, kinds
from tests.soak.flat import Trend, trend
from tests.soak.plant import Plant

LONGEST_S = 90.0  # a bound against hanging, never an expectation
_STEP_S = 0.02
_RESIDENT = Path("/proc/self/statm")


class UnseenError(AssertionError):
    """A fault did not show, or what it left did not heal."""


class Result:
    """What a campaign found.

    kinds: names of the kinds. For each fault so far: kind (its number there), shown_s, healed_s and
    resident memory in bytes after it. tasks, descriptors: before and after.
    """

    def __init__(self, kinds: list[str], count: int) -> None:
        self.kinds = kinds
        self.faults = 0
        self._kind = np.full(count, -1, np.int32)
        self._seconds = np.full((2, count), np.nan)
        self._resident = np.full(count, -1, np.int64)
        self.tasks = (0, 0)
        self.descriptors = (0, 0)
        self.samples = 0
        self.failures = 0
        self.unexpected: list[str] = []
        self.taken_s = 0.0

    def add(self, kind: str, shown_s: float, healed_s: float) -> None:
        """Note one fault, and the memory after it."""
        at = self.faults
        self._kind[at] = self.kinds.index(kind)
        self._seconds[:, at] = shown_s, healed_s
        self._resident[at] = resident_bytes()
        self.faults += 1

    def seen(self) -> dict[str, tuple[list[float], list[float]]]:
        """Times in s until each kind of fault showed, and until it had healed."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        for number, name in enumerate(self.kinds):
            shown, healed = self._seconds[:, self._kind == number].tolist()
            if shown:
                found[name] = (shown, healed)
        return found

    @property
    def resident(self) -> list[int]:
        """Resident memory in bytes after each fault."""
        return [int(each) for each in self._resident[: self.faults]]

    @property
    def trend(self) -> Trend:
        """How resident memory went on in the second half."""
        return trend(self.resident, len(self.kinds))


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
    rng, began = random.Random(seed), time.monotonic()
    enough: list[int] = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, enough.append, 1)
    async with Plant() as plant:
        for source in plant.ids:
            await until(lambda: plant.good(source), f"{source} does not start")  # noqa: B023  # waited for here
        found = kinds(plant)
        result = Result([_name(fault) for fault in found], count)
        await asyncio.sleep(1)  # what starts has ended
        before = (asyncio_tasks(), descriptors())
        turn: list[Fault] = []
        for number in range(count):
            turn = turn or rng.sample(found, len(found))
            fault = turn.pop()
            shown_s, healed_s = await _one(plant, fault)
            plant.trim()
            await _no_more_than(before, fault.name)
            result.add(_name(fault), shown_s, healed_s)
            if (number + 1) % 60 == 0:
                say(f"{number + 1} faults, {resident_bytes() / 2**20:.1f} MB resident")
            if enough:
                break
        result.tasks = (before[0], asyncio_tasks())
        result.descriptors = (before[1], descriptors())
        result.samples = sum(watch.samples for watch in plant.watches.values())
        result.failures, result.unexpected = plant.failures, plant.unexpected
    result.taken_s = time.monotonic() - began
    return result


def _name(fault: Fault) -> str:
    return f"{fault.source}: {fault.name}"


async def _one(plant: Plant, fault: Fault) -> tuple[float, float]:
    """Make one fault, see it, end it, see it healed; returns how long each took in s."""
    watch = plant.watches[fault.source]
    if "device.period" in fault.events:  # said at each change: on a busy machine it is slow already
        await until(lambda: watch.events["device.period"] % 2 == 0, "the period is not kept")
    said = dict(watch.events)

    def shown() -> bool:
        told = all(watch.events[kind] > said.get(kind, 0) for kind in fault.events)
        return told and watch.each_in(fault.points, fault.qualities)

    name = _name(fault)
    await act(fault.begin)
    if fault.again:
        for _ in range(60):
            try:
                async with asyncio.timeout(1):
                    await until(shown, name)
                break
            except TimeoutError:
                await act(fault.begin)
    shown_s = await until(shown, f"{name} does not show: {watch.quality}, {said}")
    for other in plant.ids:
        if other != fault.source and not plant.good(other):
            theirs = plant.watches[other]
            what = f"{name} disturbs {other}: {theirs.quality}, {dict(theirs.events)}"
            await until(lambda: plant.good(other), what)  # noqa: B023  # waited for here
    await act(fault.end)

    def healed() -> bool:
        return plant.good(fault.source)

    return shown_s, await until(healed, f"{name} does not heal: {watch.quality}")


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

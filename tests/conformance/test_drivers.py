"""One suite over every source: what drivers/contract.py promises, each on its real wire.

A new driver joins by a rig in rigs.py. No test here asserts on wall-clock time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from drivers.contract import Batch, DeviceError, Quality, SourceEvent
from tests.background import background, until_lost
from tests.conformance.inlet import Inlet
from tests.conformance.intake_rigs import INTAKES
from tests.conformance.rigs import RIGS, Rig

MOMENTS = {
    "modbus": [0, 1, 2, 3, 5, 8, 13, 30],
    "opcua": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 60],
    "serial_line": [0, 1, 2, 3, 5, 8, 30],
    "camera": [0, 2, 10],
    "intake_http": [0, 1, 2, 3, 5, 8, 13, 30],
    "intake_mqtt": [0, 1, 2, 3, 5, 8, 13, 30, 60],
    "intake_folder": [0, 1, 2, 3, 5, 8, 13, 30],
}
"""Turns of the loop after which a run is cancelled: while it connects, subscribes, reads."""

END_S, NAP_S = 6.0, 0.02  # a camera's process has 3 s to end, an OPC UA session about 4


@pytest.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with RIGS[request.param]() as made:
        yield made


@asynccontextmanager
async def running(rig: Rig, inlet: Inlet) -> AsyncIterator[asyncio.Task[DeviceError | None]]:
    """A run beside the block, cancelled after it; its result is the DeviceError that ended it."""
    async with background(until_lost(rig.driver, inlet)) as task:
        yield task


async def soon(condition: Callable[[], bool], what: str) -> None:
    """Poll a condition for a minute."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(what)


def sockets() -> int:
    """Sockets of this process, both ends."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += str(link.readlink()).startswith("socket:")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return count


def own_tasks() -> set[asyncio.Task[object]]:
    """Tasks but for those with which the loop and the OPC UA fake accept connections."""
    theirs = ("asyncua/server", "asyncio/selector_events")
    return {task for task in asyncio.all_tasks() if not any(one in _file(task) for one in theirs)}


def _file(task: asyncio.Task[object]) -> str:
    code = getattr(task.get_coro(), "cr_code", None)
    return str(getattr(code, "co_filename", ""))


def check_batches(batches: list[Batch]) -> None:
    """Columns of equal length and right type; sequences gapless from 0."""
    assert [batch.sequence for batch in batches] == list(range(len(batches)))
    for batch in batches:
        count = len(batch)
        assert batch.points.dtype == np.int32
        assert batch.quality.dtype == np.uint16
        assert len(batch.values) == len(batch.quality) == count
        assert batch.gateway_time_ns > 1_600_000_000_000_000_000
        if not isinstance(batch.source_time_ns, int):
            assert batch.source_time_ns.dtype == np.int64
            assert len(batch.source_time_ns) == count
        if isinstance(batch.values, np.ndarray) and batch.values.dtype == np.float64:
            assert np.isnan(batch.values[batch.quality & 0x8000 != 0]).all()


def check_events(items: list[Batch | SourceEvent]) -> None:
    for item in items:
        if isinstance(item, SourceEvent):
            assert "." in item.kind
            assert item.text.endswith((".", "…"))
            assert "\n" not in item.text


async def test_it_starts_and_emits_good_values_of_all_points(rig: Rig) -> None:
    inlet = Inlet()
    async with running(rig, inlet):
        await inlet.until(lambda: inlet.good() >= 2 * len(rig.ids) or _seen(inlet, rig))
    check_batches(inlet.batches)
    check_events(inlet.items)
    assert all(
        isinstance(name, str) and isinstance(count, int | float)
        for name, count in rig.driver.statistics().items()
    )


@pytest.mark.parametrize("name", ["modbus", "opcua", "serial_line"])
async def test_a_driver_that_asks_measures_how_it_is_answered(name: str) -> None:
    async with RIGS[name]() as rig:
        inlet = Inlet()
        async with running(rig, inlet):
            await inlet.until(lambda: inlet.good() >= 2 * len(rig.ids) or _seen(inlet, rig))
            await soon(lambda: rig.driver.statistics()["round_trip_ms"] > 0, "a round trip")
            await rig.stir(1)
            await soon(lambda: rig.driver.statistics()["achieved_period_ms"] > 0, "two periods")
        counted = rig.driver.statistics()
    assert counted["requests"] >= 2
    assert counted["timeouts"] >= 0


def _seen(inlet: Inlet, rig: Rig) -> bool:
    good = {
        point
        for batch in inlet.batches
        for point in batch.points[batch.quality == 0].tolist()
    }  # fmt: skip
    return good >= set(rig.ids)


@pytest.mark.parametrize("name", MOMENTS)
async def test_cancelled_at_any_moment_it_leaves_nothing_and_says_nothing_more(name: str) -> None:
    async with RIGS[name]() as rig:
        await asyncio.sleep(0)
        tasks, open_sockets = own_tasks(), sockets()
        for turns in [*MOMENTS[name], None]:
            inlet = Inlet()
            if turns is None:  # while it waits for room
                inlet.close()
            await cancelled_run(rig, inlet, turns)
            calls = inlet.calls
            when = f"after {turns} turns"
            await soon(rig.clean, f"the counterpart is not left alone {when}")
            await soon(lambda: own_tasks() <= tasks, f"a task is left {when}")
            await soon(lambda: sockets() <= open_sockets, f"a socket is left {when}")
            assert inlet.calls == calls
            assert inlet.waiting == 0


async def cancelled_run(rig: Rig, inlet: Inlet, turns: int | None) -> None:
    """Run, and cancel after so many turns of the loop, or once an item waits for room."""
    task = asyncio.get_running_loop().create_task(rig.driver.run(inlet))
    try:
        if turns is None:
            await inlet.until_waiting()
        else:
            for _ in range(turns):
                await asyncio.sleep(0)
    finally:
        task.cancel()
        for _ in range(round(END_S / NAP_S)):  # naps, not seconds: the machine may stall
            await asyncio.wait([task], timeout=NAP_S)
        hanging = not task.done()
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1)
    assert not hanging, (
        f"it does not end {END_S} s after its cancellation, {turns} turns after start"
    )
    assert task.cancelled(), f"after {turns} turns it ended with {task.exception()!r}"


async def test_a_lost_link_is_bad_quality_once_and_an_error_and_the_next_run_works(
    rig: Rig,
) -> None:
    inlet = Inlet()
    async with running(rig, inlet) as task:
        await inlet.until(lambda: _seen(inlet, rig))
        before = len(inlet.batches)
        if rig.ends:
            await rig.lose()
            await asyncio.wait([task])
    if not rig.ends:
        await rig.lose()
        before = len(inlet.batches)
        async with running(rig, inlet) as task:
            await asyncio.wait([task])
    error = task.result()
    assert isinstance(error, DeviceError)
    assert str(error).strip()
    assert "\n" not in str(error)
    assert inlet.bad(before) == rig.ids
    await soon(rig.clean, "something is left at the counterpart")

    await rig.restore()
    again = len(inlet.batches)
    async with running(rig, inlet):
        await inlet.until(lambda: inlet.good(again) >= len(rig.ids))
    check_batches(inlet.batches)
    check_events(inlet.items)


async def test_while_the_link_stays_lost_each_run_ends_with_an_error(rig: Rig) -> None:
    inlet = Inlet()
    async with running(rig, inlet) as task:
        await inlet.until(lambda: _seen(inlet, rig))
        if rig.ends:
            await rig.lose()
            await asyncio.wait([task])
    if not rig.ends:
        await rig.lose()
    if not rig.stays_lost:
        return
    for _ in range(3):
        before = len(inlet.batches)
        with pytest.raises(DeviceError):
            await rig.driver.run(inlet)
        assert len(inlet.bad(before)) <= len(rig.ids)
    check_batches(inlet.batches)


async def test_a_slow_buffer_neither_loses_nor_reorders(rig: Rig) -> None:
    inlet = Inlet()
    async with running(rig, inlet):
        await inlet.until(lambda: _seen(inlet, rig))
        for number in range(1, 9):
            inlet.close()
            await rig.stir(number)
            await inlet.until_waiting()
            for _ in range(20):
                await asyncio.sleep(0)
            inlet.open()
            if not rig.talks and number == 3:
                break
        await inlet.until(lambda: _counted(rig, inlet))
    check_batches(inlet.batches)
    if rig.in_order:
        assert inlet.most_waiting == 1, "one item at a time, so that their order is plain"
    values = rig.values(inlet)
    if values is not None:
        assert all(after - before == 1 for before, after in pairwise(values)), values


def _counted(rig: Rig, inlet: Inlet) -> bool:
    values = rig.values(inlet)
    return values is None or values[-1] >= 8


@pytest.mark.parametrize("name", INTAKES)
async def test_a_sender_that_falls_silent_makes_its_points_stale(name: str) -> None:
    async with INTAKES[name](stale_after_s=0.4) as rig:
        inlet = Inlet()
        async with running(rig, inlet):
            await inlet.until(lambda: _seen(inlet, rig))
            rig.hush()
            pushed = set(rig.ids[:2])  # the third is the intake's own count
            await inlet.until(lambda: _stale(inlet) >= pushed)
        check_batches(inlet.batches)


def _stale(inlet: Inlet) -> set[int]:
    latest: dict[int, int] = {}
    for batch in inlet.batches:
        latest.update(zip(batch.points.tolist(), batch.quality.tolist(), strict=True))
    return {point for point, quality in latest.items() if quality == Quality.UNCERTAIN_STALE}

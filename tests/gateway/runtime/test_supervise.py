"""Supervise: reports, waits, tries again; a fake clock makes every delay exact."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable

import pytest

from drivers.contract import DeviceError
from gateway.runtime.backoff import FullJitter
from gateway.runtime.supervise import STEADY_NS, StoppedError, supervise

MS = 1_000_000


class FakeClock:
    """Time that moves when somebody sleeps, or when told."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.slept_ms: list[float] = []

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    async def sleep_until(self, monotonic_ns: int) -> None:
        self.slept_ms.append((monotonic_ns - self.now_ns) / MS)
        self.now_ns = max(self.now_ns, monotonic_ns)
        await asyncio.sleep(0)


class TopJitter(random.Random):
    """Draws the greatest delay, so that the ceiling can be seen."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


class Script:
    """A source that does one thing after another, then runs until cancelled."""

    def __init__(self, clock: FakeClock, *steps: Exception | int | None) -> None:
        self.clock, self.steps, self.runs = clock, list(steps), 0
        self.steady = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if not self.steps:
            self.steady.set()
            await asyncio.Event().wait()
        step = self.steps.pop(0)
        if isinstance(step, int):
            self.clock.now_ns += step
            raise DeviceError("lost after a while")
        if step is not None:
            raise step


async def supervised(
    clock: FakeClock, run: Callable[[], Awaitable[None]], until: asyncio.Event
) -> list[tuple[str, Exception, float]]:
    failures: list[tuple[str, Exception, float]] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(
            supervise(
                "gds-1",
                run,
                clock=clock,
                backoff=FullJitter(100, 1000, TopJitter()),
                on_failure=lambda name, error, delay: failures.append((name, error, delay)),
                expected=(DeviceError,),
            )
        )
        await asyncio.wait_for(until.wait(), 60)
        task.cancel()
    assert task.cancelled()
    return failures


async def test_an_expected_failure_is_reported_and_tried_again_with_growing_delays() -> None:
    clock = FakeClock()
    script = Script(clock, *(DeviceError(f"no answer {n}") for n in range(5)))
    failures = await supervised(clock, script.run, script.steady)
    assert [(name, str(error), delay) for name, error, delay in failures] == [
        ("gds-1", "no answer 0", 100.0),
        ("gds-1", "no answer 1", 200.0),
        ("gds-1", "no answer 2", 400.0),
        ("gds-1", "no answer 3", 800.0),
        ("gds-1", "no answer 4", 1000.0),
    ]
    assert clock.slept_ms == [100.0, 200.0, 400.0, 800.0, 1000.0]
    assert script.runs == 6


async def test_an_unexpected_failure_is_reported_with_its_traceback_and_tried_again() -> None:
    clock = FakeClock()
    script = Script(clock, ZeroDivisionError("a bug"), ExceptionGroup("two", [ValueError("x")]))
    failures = await supervised(clock, script.run, script.steady)
    bug, group = failures[0][1], failures[1][1]
    assert isinstance(bug, ZeroDivisionError)
    assert isinstance(group, ExceptionGroup)
    text = "".join(traceback.format_exception(bug))
    assert "in run" in text
    assert "unexpected failure of gds-1" in text


async def test_a_source_that_returns_is_a_failure() -> None:
    clock = FakeClock()
    script = Script(clock, None)
    ((_, error, _),) = await supervised(clock, script.run, script.steady)
    assert isinstance(error, StoppedError)


async def test_a_long_run_resets_the_back_off() -> None:
    clock = FakeClock()
    script = Script(clock, 0, 0, STEADY_NS, STEADY_NS + 1, 0)
    failures = await supervised(clock, script.run, script.steady)
    assert [delay for _, _, delay in failures] == [100.0, 200.0, 400.0, 100.0, 200.0]


async def test_cancellation_while_waiting_ends_it_at_once() -> None:
    class Stuck(FakeClock):
        def __init__(self) -> None:
            super().__init__()
            self.waiting = asyncio.Event()

        async def sleep_until(self, monotonic_ns: int) -> None:
            del monotonic_ns
            self.waiting.set()
            await asyncio.Event().wait()

    clock = Stuck()
    script = Script(clock, DeviceError("gone"))
    failures = await supervised(clock, script.run, clock.waiting)
    assert len(failures) == 1


async def test_what_is_no_failure_of_the_source_passes_through() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await supervise(
            "gds-1", interrupted, clock=FakeClock(), backoff=FullJitter(1, 1, random.Random(0)),
            on_failure=lambda *_: None, expected=(DeviceError,),
        )  # fmt: skip

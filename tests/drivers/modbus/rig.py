"""What the Modbus tests share: a sink for batches, points by the dozen, a driver against a fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from drivers.contract import Batch, DeviceError, DriverPoint, Receipt, SourceEvent
from drivers.modbus import DRIVER, ModbusAddress, ModbusConfig
from drivers.modbus.client import ModbusDriver
from gateway.runtime.clock import SystemClock
from tests.fakes.modbus_server import ModbusServer
from tests.waiting import LONGEST_S


class _Committed:
    def __await__(self) -> Generator[None, None, None]:
        yield from ()


@dataclass
class Sink:
    """Collects what a driver emits."""

    batches: list[Batch] = field(default_factory=list)
    events: list[SourceEvent] = field(default_factory=list)
    errors: list[DeviceError] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, item: Batch | SourceEvent) -> Receipt:
        if isinstance(item, Batch):
            self.batches.append(item)
        else:
            self.events.append(item)
        self.changed.set()
        return _Committed()

    def last(self) -> dict[int, tuple[float, int]]:
        """Latest value and quality of each point id, as of everything emitted so far."""
        latest: dict[int, tuple[float, int]] = {}
        for batch in self.batches:
            values = np.asarray(batch.values)
            for at, point in enumerate(batch.points.tolist()):
                latest[point] = (values[at].item(), int(batch.quality[at]))
        return latest

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    async def until(self, condition: Callable[[], bool], limit_s: float = LONGEST_S) -> None:
        """Wait until the condition holds after some emission; fails after `limit_s`."""
        try:
            async with asyncio.timeout(limit_s):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            said = f"events {self.kinds()[-5:]}, errors {self.errors[-2:]}, last {self.last()}"
            raise TimeoutError(f"not within {limit_s:g} s: {said[:2000]}") from None


def holding(count: int, *, first: int = 0, kind: str = "u16") -> list[DriverPoint[ModbusAddress]]:
    """Points with ids 1.. on consecutive holding registers."""
    return [
        DriverPoint(
            at + 1,
            f"t{first + at}",
            ModbusAddress(area="holding", address=str(first + at), type=kind),
        )
        for at in range(count)
    ]


def make(port: int, points: Sequence[DriverPoint[ModbusAddress]], **keys: object) -> ModbusDriver:
    config = ModbusConfig.model_validate(
        {"host": "127.0.0.1", "port": port, "poll_ms": 10, "timeout_ms": 20_000, **keys}
    )
    driver = DRIVER.open("plc", config, points, SystemClock())
    assert isinstance(driver, ModbusDriver)
    return driver


@asynccontextmanager
async def running(driver: ModbusDriver) -> AsyncIterator[Sink]:
    """Run a driver as a supervisor would: again after each DeviceError, until the block ends."""
    sink = Sink()

    async def supervise() -> None:
        while True:
            try:
                await driver.run(sink)
            except DeviceError as error:
                sink.errors.append(error)
                sink.changed.set()
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(supervise())
        try:
            yield sink
        finally:
            task.cancel()


__all__ = ["ModbusServer", "Sink", "holding", "make", "running"]

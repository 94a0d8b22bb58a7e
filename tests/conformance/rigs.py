"""One counterpart for each kind of source, behind the few verbs that the suite needs."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from drivers.contract import (
    SEVERITY_MASK,
    Batch,
    Driver,
    DriverPoint,
    Receipt,
    SourceEvent,
)
from drivers.opcua import DRIVER as OPCUA
from drivers.opcua.config import OpcUaConfig
from drivers.serial_line import DRIVER as SERIAL_LINE
from drivers.serial_line.config import SerialAddress, SerialLineConfig
from gateway.runtime.clock import SystemClock
from gateway.sources.camera import CameraSource
from tests.clips import clip_or_fail
from tests.drivers.modbus.rig import holding, make
from tests.fakes.modbus_server import ModbusServer
from tests.fakes.opcua_collector import points
from tests.fakes.opcua_server import OpcUaServer
from tests.fakes.serial_device import GasDetectors, SerialDevice
from tests.vision.recorder import camera, points_of

LONGEST_S = 40.0  # a bound against hanging, never an expectation


@dataclass
class Inlet:
    """The Emit of one run after another: keeps what comes, and can make it wait."""

    items: list[Batch | SourceEvent] = field(default_factory=list)
    waiting: int = 0
    most_waiting: int = 0
    calls: int = 0
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._open.set()

    async def __call__(self, item: Batch | SourceEvent) -> Receipt:
        self.calls += 1
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        self._changed.set()
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1
        self.items.append(item)
        self._changed.set()
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        receipt.set_result(None)
        return receipt

    @property
    def batches(self) -> list[Batch]:
        return [item for item in self.items if isinstance(item, Batch)]

    def close(self) -> None:
        """From now on every call waits."""
        self._open.clear()

    def open(self) -> None:
        """Let those who wait go on."""
        self._open.set()

    def good(self, since: int = 0) -> int:
        """Count of good samples in the batches from number `since` on."""
        return sum(
            int(np.count_nonzero(b.quality & SEVERITY_MASK == 0)) for b in self.batches[since:]
        )

    def bad(self, since: int = 0) -> list[int]:
        """Points with bad samples from batch `since` on, once for each sample."""
        found: list[int] = []
        for one in self.batches[since:]:
            found += one.points[one.quality & 0x8000 != 0].tolist()
        return sorted(found)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something emitted makes the condition true."""
        async with asyncio.timeout(LONGEST_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_waiting(self) -> None:
        """Wait until a call waits."""
        await self.until(lambda: self.waiting > 0)


class Rig(Protocol):
    """A source and its counterpart."""

    driver: Driver
    ids: list[int]

    async def stir(self, number: int) -> None:
        """Make the counterpart have something new to say."""
        ...

    async def lose(self) -> None:
        """Cut the link."""
        ...

    async def restore(self) -> None:
        """Mend it."""
        ...

    def clean(self) -> bool:
        """Tell whether a run that has ended left nothing at the counterpart."""
        ...

    def values(self, inlet: Inlet) -> list[float] | None:
        """Values of the first point that count up by one, or None where none does."""
        ...


def _of(inlet: Inlet, point: int) -> list[float]:
    found: list[float] = []
    for batch in inlet.batches:
        for at in np.flatnonzero((batch.points == point) & (batch.quality == 0)).tolist():
            found.append(float(batch.values[at]))
    return found


class ModbusRig:
    """Registers that count how often they were read."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self.driver: Driver = make(server.port, holding(4), poll_ms=20, timeout_ms=1000)
        self.ids = [1, 2, 3, 4]

    async def stir(self, number: int) -> None:
        del number

    async def lose(self) -> None:
        await self._server.stop()

    async def restore(self) -> None:
        await self._server.start()

    def clean(self) -> bool:
        return not self._server.connections

    def values(self, inlet: Inlet) -> list[float] | None:
        return _of(inlet, 1)


class OpcUaRig:
    """A server whose first variable the test counts up."""

    def __init__(self, server: OpcUaServer) -> None:
        self._server = server
        config = OpcUaConfig.model_validate(
            {"endpoint": server.endpoint, "security": "None", "insecure": True}
            | {"publish_ms": 50, "sampling_ms": 0, "timeout_ms": 1500}
        )
        table = points(*((OpcUaServer.node(f"D{i}"), "float") for i in range(3)))
        self.driver: Driver = OPCUA.open("dcs", config, table, SystemClock())
        self.ids = [100, 101, 102]
        self._running = True

    async def stir(self, number: int) -> None:
        await self._server.set("D0", float(number))

    async def lose(self) -> None:
        self._running = False
        await self._server.stop()

    async def restore(self) -> None:
        await self._server.start()
        self._running = True

    def clean(self) -> bool:
        return not self._running or self._server.subscriptions() == 0

    def values(self, inlet: Inlet) -> list[float] | None:
        return _of(inlet, 100)


class SerialLineRig:
    """Two detectors on a line, whose readings count how often they were asked."""

    def __init__(self, device: SerialDevice) -> None:
        self._device = device
        folder = Path(__file__).parents[2] / "drivers" / "serial_line" / "cases"
        config = SerialLineConfig.model_validate(
            {"serial": device.path, "frame": folder / "gas_example.toml", "poll_ms": 20}
        )
        table = [
            DriverPoint(at, f"G{at}", SerialAddress(field="gas", address=f"0{at}")) for at in (1, 2)
        ]
        self.driver: Driver = SERIAL_LINE.open("gas", config, table, SystemClock())
        self.ids = [1, 2]

    async def stir(self, number: int) -> None:
        del number

    async def lose(self) -> None:
        self._device.unplug()

    async def restore(self) -> None:
        await self._device.plug()

    def clean(self) -> bool:
        return self._device.users() == 0

    def values(self, inlet: Inlet) -> list[float] | None:
        return [round(value * 10) for value in _of(inlet, 1)]


class CameraRig:
    """A clip; losing it is the death of its process."""

    def __init__(self) -> None:
        config = camera(str(clip_or_fail()))
        tags = points_of(config)
        self._source = CameraSource(config, tags, SystemClock())
        self.driver: Driver = self._source
        self.ids = sorted(tags.values())

    async def stir(self, number: int) -> None:
        del number

    async def lose(self) -> None:
        assert self._source.pid is not None
        os.kill(self._source.pid, signal.SIGKILL)

    async def restore(self) -> None:
        """The next run starts another process."""

    def clean(self) -> bool:
        return self._source.pid is None or _ended(self._source.pid)

    def values(self, inlet: Inlet) -> list[float] | None:
        del inlet
        return None


def _ended(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)


@asynccontextmanager
async def modbus() -> AsyncIterator[Rig]:
    async with ModbusServer(16, "counter") as server:
        yield ModbusRig(server)


@asynccontextmanager
async def opcua() -> AsyncIterator[Rig]:
    async with OpcUaServer(3) as server:
        yield OpcUaRig(server)


@asynccontextmanager
async def serial_line() -> AsyncIterator[Rig]:
    async with SerialDevice(GasDetectors("01", "02")) as device:
        yield SerialLineRig(device)


@asynccontextmanager
async def camera_process() -> AsyncIterator[Rig]:
    yield CameraRig()


RIGS: dict[str, Callable[[], AbstractAsyncContextManager[Rig]]] = {
    "modbus": modbus,
    "opcua": opcua,
    "serial_line": serial_line,
    "camera": camera_process,
}

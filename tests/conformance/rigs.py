"""One counterpart for each kind of source, behind the few verbs that the suite needs."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from drivers.contract import Driver, DriverPoint
from drivers.opcua import DRIVER as OPCUA
from drivers.opcua.config import OpcUaConfig
from drivers.serial_line import DRIVER as SERIAL_LINE
from drivers.serial_line.config import SerialAddress, SerialLineConfig
from gateway.runtime.clock import SystemClock
from gateway.sources.camera import CameraSource
from tests.clips import clip_or_fail
from tests.conformance.inlet import Inlet
from tests.conformance.intake_rigs import INTAKES
from tests.drivers.modbus.rig import holding, make
from tests.fakes.modbus_server import ModbusServer
from tests.fakes.opcua_collector import points
from tests.fakes.opcua_server import OpcUaServer
from tests.fakes.serial_device import GasDetectors, SerialDevice
from tests.vision.recorder import camera, points_of
from tests.waiting import ended


class Rig(Protocol):
    """A source and its counterpart.

    ends: a lost link ends its run; where not, what it needs can only be missing at the start.
    stays_lost: while the counterpart is lost every run ends; where not, a run makes it anew.
    in_order: one item is emitted at a time; where not, as many as there are senders.
    talks: it says something all the time; where not, only when it is stirred.
    """

    driver: Driver
    ids: list[int]
    ends: bool
    stays_lost: bool
    in_order: bool
    talks: bool

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


class Usual:
    """What holds for most."""

    ends = True
    stays_lost = True
    in_order = True
    talks = True


class ModbusRig(Usual):
    """Registers that count how often they were read."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self.driver: Driver = make(server.port, holding(4), poll_ms=20, timeout_ms=20_000)
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
        return inlet.good_values(1)


class OpcUaRig(Usual):
    """A server whose first variable the test counts up."""

    def __init__(self, server: OpcUaServer) -> None:
        self._server = server
        config = OpcUaConfig.model_validate(
            {"endpoint": server.endpoint, "security": "None", "insecure": True}
            | {"publish_ms": 50, "sampling_ms": 0, "timeout_ms": 15_000}
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
        return inlet.good_values(100)


class SerialLineRig(Usual):
    """Two detectors on a line, whose readings count how often they were asked."""

    def __init__(self, device: SerialDevice) -> None:
        self._device = device
        folder = Path(__file__).parents[2] / "drivers" / "serial_line" / "cases"
        config = SerialLineConfig.model_validate(
            {"serial": device.path, "frame": folder / "gas_example.toml", "poll_ms": 20}
            | {"timeout_ms": 20_000}
        )
        table = [
            DriverPoint(at, f"G{at}", SerialAddress(field="gas", address=f"0{at}")) for at in (1, 2)
        ]
        self.driver: Driver = SERIAL_LINE.open("gas", config, table, SystemClock())
        self.ids = [1, 2]

    async def stir(self, number: int) -> None:
        del number

    async def lose(self) -> None:
        await self._device.unplug()

    async def restore(self) -> None:
        await self._device.plug()

    def clean(self) -> bool:
        return self._device.users() == 0

    def values(self, inlet: Inlet) -> list[float] | None:
        return [round(value * 10) for value in inlet.good_values(1)]


class CameraRig(Usual):
    """A clip; losing it is the death of its process."""

    stays_lost = False  # its next run starts another process
    talks = False  # once a second

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
        return self._source.pid is None or ended(self._source.pid)

    def values(self, inlet: Inlet) -> list[float] | None:
        del inlet
        return None


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
    **INTAKES,
}

"""A plant on loopback with every kind of source, its drivers running as the gateway runs them.

Counterparts speak the real wire. Periods, time-outs and back-offs are short, so that a minute of
the plant passes in about a second; nothing in the drivers is changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from drivers.contract import DeviceError, Driver, DriverPoint
from drivers.intake_folder.client import LEDGER, REMEMBERED
from drivers.modbus import DRIVER as MODBUS
from drivers.modbus import ModbusAddress, ModbusConfig
from drivers.opcua import DRIVER as OPCUA
from drivers.opcua.config import OpcUaConfig
from drivers.serial_line import DRIVER as SERIAL_LINE
from drivers.serial_line.config import SerialAddress, SerialLineConfig
from gateway.runtime.backoff import FullJitter
from gateway.runtime.clock import SystemClock
from gateway.runtime.supervise import supervise
from tests.conformance.intake_rigs import FolderRig, HttpRig, MqttRig
from tests.fakes.modbus_line import LineServer
from tests.fakes.modbus_server import Device, ModbusServer
from tests.fakes.opcua_collector import points
from tests.fakes.opcua_proxy import Proxy
from tests.fakes.opcua_server import OpcUaServer
from tests.fakes.serial_device import GasDetectors, SerialDevice
from tests.ports import own_port
from tests.soak.watch import Watch

STALE_AFTER_S = 0.6
CASES = Path(__file__).parents[2] / "drivers" / "serial_line" / "cases"


class Plant:
    """Async context manager. ids: points of each source; watches: what it says.

    What a driver may keep up to a bound is at its bound from the start, so that growth is a leak.
    """

    def __init__(self) -> None:
        self.ids: dict[str, list[int]] = {}
        self.watches: dict[str, Watch] = {}
        self.failures = 0
        self._rubbish = 0
        self.unexpected: list[str] = []
        self._drivers: dict[str, Driver] = {}
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = SystemClock()
        self._opcua: asyncio.subprocess.Process | None = None
        self._opcua_port = own_port()

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.plc = await enter(ModbusServer(20))
        self._add("plc", *_modbus(self.plc.port, {1: 4}, "u32", timeout_ms=250))
        self.bus = await enter(LineServer({unit: Device(10) for unit in (1, 2, 3)}, tcp=True))
        self.bus_proxy = await enter(Proxy(f"opc.tcp://127.0.0.1:{self.bus.port}/"))
        bus = _modbus(_port(self.bus_proxy), dict.fromkeys((1, 2, 3), 2), transport="rtu-tcp",
                      timeout_ms=60)  # fmt: skip
        self._add("bus", *bus)
        self.detector = await enter(ModbusServer(200))
        self._add("detector", *self._profile())
        self.gas = GasDetectors("01", "02")
        self.gas_line = await enter(SerialDevice(self.gas))
        self._add("gas", *self._serial())
        await self.start_opcua()
        self.dcs_proxy = await enter(Proxy(f"opc.tcp://127.0.0.1:{self._opcua_port}/UA/Fake"))
        self._add("dcs", *self._dcs())
        await self._intakes(folder)
        group = await enter(asyncio.TaskGroup())
        for name, driver in self._drivers.items():
            self._tasks.append(group.create_task(self._supervise(name, driver)))
        self._tasks.append(group.create_task(self.http.post_on()))
        self._tasks.append(group.create_task(self._hand_in()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self._stack.aclose()
        if self._opcua is not None:
            self.thaw_opcua()
            await self.kill_opcua()

    def good(self, source: str) -> bool:
        """Tell whether every point of a source is good."""
        return self.watches[source].good(self.ids[source])

    def trim(self) -> None:
        """Drop what the counterparts keep of what was said, so that only ours can grow."""
        self.bus.line.received.clear()
        self.gas_line.received.clear()
        self.mqtt.broker.frames.clear()
        self.mqtt.broker.acknowledged.clear()
        for path in self._folder.glob("in/*/*"):
            path.unlink()

    async def _supervise(self, name: str, driver: Driver) -> None:
        watch, rng = self.watches[name], random.Random(name)

        def note(_name: str, error: Exception, _delay_ms: float) -> None:
            self.failures += 1
            if not isinstance(error, DeviceError):
                self.unexpected.append(f"{name}: {error!r}")

        await supervise(
            name, lambda: driver.run(watch), clock=self._clock, backoff=FullJitter(20, 200, rng),
            on_failure=note, expected=(DeviceError,),
        )  # fmt: skip

    def _add(self, name: str, driver: Driver, ids: list[int]) -> None:
        self._drivers[name], self.ids[name], self.watches[name] = driver, ids, Watch()

    # The sources.

    def _profile(self) -> tuple[Driver, list[int]]:
        """A Sensepoint XCD in %LEL that works."""
        holding = self.detector.device.holding
        holding[:] = 0
        holding[2:4] = [0x41A7, 0x3333]
        holding[6], holding[10], holding[16] = 1, 5, 22
        config = ModbusConfig.model_validate(
            {"host": "127.0.0.1", "port": self.detector.port, "poll_ms": 25, "timeout_ms": 250,
             "profile": "honeywell-sensepoint-xcd", "gas_unit": "%LEL"}
        )  # fmt: skip
        rows, _ = config.own_rows(())
        table = [DriverPoint(at, row.tag, row.address) for at, row in enumerate(rows, start=1)]
        ids = [point.id for point in table]
        return MODBUS.open("detector", config, table, self._clock), ids

    def _serial(self) -> tuple[Driver, list[int]]:
        config = SerialLineConfig.model_validate(
            {"serial": self.gas_line.path, "frame": CASES / "gas_example.toml", "poll_ms": 25,
             "timeout_ms": 60, "lost_after": 2}
        )  # fmt: skip
        table = [
            DriverPoint(at, f"G{at}", SerialAddress(field="gas", address=f"0{at}")) for at in (1, 2)
        ]
        return SERIAL_LINE.open("gas", config, table, self._clock), [1, 2]

    def _dcs(self) -> tuple[Driver, list[int]]:
        config = OpcUaConfig.model_validate(
            {"endpoint": self.dcs_proxy.endpoint, "security": "None", "insecure": True,
             "publish_ms": 50, "sampling_ms": 0, "timeout_ms": 500}
        )  # fmt: skip
        table = points(*((OpcUaServer.node(f"D{i}"), "float") for i in range(3)))
        return OPCUA.open("dcs", config, table, self._clock), [100, 101, 102]

    async def _intakes(self, folder: Path) -> None:
        self._folder = folder
        self.http = HttpRig(folder, STALE_AFTER_S)
        self._add("http", self.http.driver, self.http.ids)
        self.mqtt = MqttRig(STALE_AFTER_S * 10, keep_alive_s=1)
        await self._stack.enter_async_context(self.mqtt.broker)
        self.mqtt.make()
        self._add("mqtt", self.mqtt.driver, self.mqtt.ids)
        self.folder = FolderRig(folder, STALE_AFTER_S * 10)
        self._fill_ledger()
        self._add("folder", self.folder.driver, self.folder.ids)

    def _fill_ledger(self) -> None:
        """Have the folder intake remember as many files as it ever does, from the start on."""
        known = (hashlib.sha256(b"%d" % at).hexdigest() for at in range(REMEMBERED))
        (self._folder / "in" / LEDGER).write_text("\n".join(known) + "\n", encoding="ascii")

    async def _hand_in(self) -> None:
        """Messages and files, as long as there is a broker and a folder."""
        while True:
            if self.mqtt.broker.connected and self.mqtt.broker.answers:
                await self.mqtt.stir(0)
            if (self._folder / "in").is_dir():
                await self.folder.stir(0)
            await asyncio.sleep(0.3)

    def put_rubbish(self) -> None:
        """Put a file that cannot be read into the folder, each time another one."""
        self._rubbish += 1
        path = self._folder / "in" / f"samples-x{self._rubbish}.json"
        path.write_bytes(b"\xff rubbish")

    # The OPC UA server, a process of its own.

    async def start_opcua(self) -> None:
        """Start it, and wait until it listens."""
        self._opcua = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.fakes.opcua_server", "--port", str(self._opcua_port),
            "--items", "3", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(600):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._opcua_port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.transport.abort()
            return
        raise AssertionError("the OPC UA server does not listen")

    async def kill_opcua(self) -> None:
        """End it without a word."""
        if self._opcua is not None and self._opcua.returncode is None:
            self._opcua.kill()
            await self._opcua.wait()

    def freeze_opcua(self) -> None:
        """SIGSTOP."""
        if self._opcua is not None:
            os.kill(self._opcua.pid, signal.SIGSTOP)

    def thaw_opcua(self) -> None:
        """SIGCONT."""
        if self._opcua is not None and self._opcua.returncode is None:
            os.kill(self._opcua.pid, signal.SIGCONT)


def _port(proxy: Proxy) -> int:
    return int(proxy.endpoint.split(":")[2].split("/")[0])


def _modbus(
    port: int, units: dict[int, int], kind: str = "u16", **keys: object
) -> tuple[Driver, list[int]]:
    """So many values of each unit, one behind the other in holding registers."""
    width = 2 if kind == "u32" else 1
    table: list[DriverPoint[ModbusAddress]] = []
    for unit, count in units.items():
        for at in range(count):
            address = ModbusAddress(
                area="holding", address=str(at * width), type=kind, unit_id=unit
            )
            table.append(DriverPoint(len(table) + 1, f"u{unit}-{at}", address))
    config = ModbusConfig.model_validate(
        {"host": "127.0.0.1", "port": port, "poll_ms": 25, "lost_after": 2, **keys}
    )
    ids = [point.id for point in table]
    return MODBUS.open("plc", config, table, SystemClock()), ids

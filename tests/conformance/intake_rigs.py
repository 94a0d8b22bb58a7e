"""Counterparts of the intakes: a sender, a broker and a gate that hand in values that count up."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from drivers.contract import Driver, DriverPoint
from drivers.intake.settings import ExternalAddress
from drivers.intake_folder.config import FolderIntakeConfig
from drivers.intake_folder.driver import FolderIntake
from drivers.intake_http.client import HttpIntake
from drivers.intake_http.config import HttpIntakeConfig
from drivers.intake_mqtt.config import MqttIntakeConfig
from drivers.intake_mqtt.driver import MqttIntake
from gateway.runtime.clock import SystemClock
from tests.conformance.inlet import Inlet
from tests.fakes.mqtt_broker import FakeBroker, Session
from tests.ports import own_port

TOKEN = "0123456789abcdef"
POINTS = [
    DriverPoint(1, "ti", ExternalAddress(id="TI-101"), 2),
    DriverPoint(2, "pi", ExternalAddress(id="PI-102"), 3),
    DriverPoint(3, "records", ExternalAddress(id="#records"), 4),
]
BEGAN_S = 1_777_593_600


def samples(number: int) -> bytes:
    """One document: both points at a number."""
    when = datetime.fromtimestamp(BEGAN_S + number, UTC).isoformat()
    row = {"time": when, "value": number, "quality": 192}
    return json.dumps([{**row, "id": "TI-101"}, {**row, "id": "PI-102"}]).encode()


class IntakeRig:
    """What the three have in common."""

    driver: Driver
    ends = True
    stays_lost = True
    in_order = False  # every sender is served at once
    talks = True

    def __init__(self) -> None:
        self.ids = [1, 2, 3]
        self._numbers = itertools.count(1)
        self.hushed = False

    async def stir(self, number: int) -> None:
        """Hand the next number in, where that does not happen by itself."""
        del number

    async def lose(self) -> None:
        """Cut the link."""
        raise NotImplementedError

    async def restore(self) -> None:
        """Mend it."""
        raise NotImplementedError

    def clean(self) -> bool:
        """Tell whether a run that has ended left nothing at the counterpart."""
        raise NotImplementedError

    def hush(self) -> None:
        """Hand nothing in any more."""
        self.hushed = True

    def values(self, inlet: Inlet) -> list[float] | None:
        """Values of the first point count up by one."""
        return inlet.good_values(1)


class HttpRig(IntakeRig):
    """A sender that posts the next number as soon as the last one was taken."""

    ends = False  # senders come and go; only the address to listen on can be missing

    def __init__(self, folder: Path, stale_after_s: float) -> None:
        super().__init__()
        tokens = folder / "senders"
        tokens.write_text(f"bridge {TOKEN}\n", encoding="utf-8")
        self.port = own_port()
        self._occupied: socket.socket | None = None
        given = {"listen": f"127.0.0.1:{self.port}", "tokens": str(tokens), "rate_per_s": 1000,
                 "burst": 1000, "stale_after_s": stale_after_s}  # fmt: skip
        config = HttpIntakeConfig.model_validate_json(json.dumps(given))
        self.intake = HttpIntake("tickets", config, POINTS, SystemClock())
        self.driver = self.intake

    async def post_on(self) -> None:
        """Post until cancelled; a number that was not taken is posted again."""
        number = next(self._numbers)
        while True:
            if self.intake.port and not self.hushed and await self._post(samples(number)):
                number = next(self._numbers)
            await asyncio.sleep(0.02)

    async def _post(self, body: bytes) -> bool:
        head = (
            f"POST /v1/samples HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(head.encode() + body)
            return (await reader.readline()).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
        finally:
            writer.transport.abort()

    async def lose(self) -> None:
        """Take the address away."""
        self._occupied = socket.create_server(("127.0.0.1", self.port))

    async def restore(self) -> None:
        """Give it back."""
        if self._occupied is not None:
            self._occupied.close()

    def clean(self) -> bool:
        """Nobody listens any more."""
        return self.intake.port == 0


class _Retaining(FakeBroker):
    """A broker that hands the next number to whoever subscribes."""

    def __init__(self, following: Callable[[], bytes]) -> None:
        super().__init__()
        self._following = following

    def _subscribe(self, session: Session, body: bytes, writer: asyncio.StreamWriter) -> None:
        super()._subscribe(session, body, writer)
        self.publish("site/values", self._following())


class MqttRig(IntakeRig):
    """A broker on which somebody publishes numbers.

    keep_alive_s: by default so long that a machine which stalls for seconds loses no broker.
    """

    def __init__(self, stale_after_s: float, keep_alive_s: int = 60) -> None:
        super().__init__()
        self.broker = _Retaining(lambda: samples(next(self._numbers)))
        self._stale_after_s = stale_after_s
        self._keep_alive_s = keep_alive_s

    def make(self) -> None:
        """Make the driver, once the broker listens."""
        given = {"host": "127.0.0.1", "port": self.broker.port, "client_id": "plantgate-1",
                 "topics": {"site/values": "samples"}, "keep_alive_s": self._keep_alive_s,
                 "connect_timeout_s": 20,
                 "stale_after_s": self._stale_after_s}  # fmt: skip
        config = MqttIntakeConfig.model_validate_json(json.dumps(given))
        self.driver = MqttIntake("iot", config, POINTS, SystemClock())

    async def stir(self, number: int) -> None:
        """Publish the next number."""
        del number
        self.broker.publish("site/values", samples(next(self._numbers)))

    async def lose(self) -> None:
        """Stop the broker."""
        await self.broker.stop()

    async def restore(self) -> None:
        """Start it again."""
        await self.broker.__aenter__()

    def clean(self) -> bool:
        """No client is connected."""
        return not self.broker.connected


class FolderRig(IntakeRig):
    """A gate that puts files into a folder."""

    def __init__(self, folder: Path, stale_after_s: float) -> None:
        super().__init__()
        self._folder = folder / "in"
        self._folder.mkdir()
        self._aside = folder / "away"
        given = {"folder": str(self._folder), "look_ms": 20, "stale_after_s": stale_after_s}
        config = FolderIntakeConfig.model_validate_json(json.dumps(given))
        self.driver = FolderIntake("gate", config, POINTS, SystemClock())
        self._put()

    def _put(self) -> None:
        number = next(self._numbers)
        name = f"samples-{number:04}.json"
        (self._folder / f"{name}.part").write_bytes(samples(number))
        (self._folder / f"{name}.part").rename(self._folder / name)

    async def stir(self, number: int) -> None:
        """Put the next file."""
        del number
        self._put()

    async def lose(self) -> None:
        """Something else is where the folder was."""
        self._folder.rename(self._aside)
        self._folder.write_bytes(b"")

    async def restore(self) -> None:
        """The folder is back, with another file in it."""
        self._folder.unlink()
        self._aside.rename(self._folder)
        self._put()

    def clean(self) -> bool:
        """No file is open in the folder."""
        opened = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
        return not any(path.startswith(str(self._folder)) for path in opened)


@asynccontextmanager
async def intake_http(stale_after_s: float = 0) -> AsyncIterator[IntakeRig]:
    with tempfile.TemporaryDirectory() as folder:
        rig = HttpRig(Path(folder), stale_after_s)
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(rig.post_on())
            try:
                yield rig
            finally:
                sender.cancel()
                await rig.restore()


@asynccontextmanager
async def intake_mqtt(stale_after_s: float = 0) -> AsyncIterator[IntakeRig]:
    rig = MqttRig(stale_after_s)
    async with rig.broker:
        rig.make()
        yield rig


@asynccontextmanager
async def intake_folder(stale_after_s: float = 0) -> AsyncIterator[IntakeRig]:
    with tempfile.TemporaryDirectory() as folder:
        yield FolderRig(Path(folder), stale_after_s)


INTAKES: dict[str, Callable[..., AbstractAsyncContextManager[IntakeRig]]] = {
    "intake_http": intake_http,
    "intake_mqtt": intake_mqtt,
    "intake_folder": intake_folder,
}

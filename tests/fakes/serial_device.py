"""Devices with ASCII frames of their own, on a pseudo terminal or behind a TCP converter.

    async with SerialDevice(answer) as device:       # answers what it is asked
        ... open device.path ...; device.send(b"...")  # or talks by itself

`path` is a link that stays the same when the converter is plugged in anew. `received` keeps every
byte that ever came. Check sums are computed here by their own code, so that the driver's is not
its own judge.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Self, cast

from drivers.sim.ceasing import cease
from tests.ports import own_port

Answer = Callable[[bytes], bytes]
"""What the devices send when these bytes have come; sees each piece once, frames are short."""


def lrc(covered: bytes) -> bytes:
    """Two's complement of the sum, as two hexadecimal digits."""
    total = 0
    for byte in covered:
        total = (total + byte) % 256
    return f"{(256 - total) % 256:02X}".encode()


def gas_frame(address: str, state: str, tenths: int, alarms: int) -> bytes:
    """Answer of cases/gas_example.toml."""
    body = f"{address}{state}{tenths:04d}{alarms:02X}\x03".encode()
    return b"\x02" + body + lrc(body)


def gas_request(address: str) -> bytes:
    """Request of cases/gas_example.toml."""
    body = f"{address}R\x03".encode()
    return b"\x02" + body + lrc(body)


class GasDetectors:
    """The devices of cases/gas_example.toml; counts how often each was asked.

    silent: addresses that do not answer.  garble: so many next answers have a wrong check sum.
    late: so many next answers come only with the following one.  echo: the line repeats requests.
    """

    def __init__(self, *addresses: str) -> None:
        self.asked = dict.fromkeys(addresses, 0)
        self.silent: set[str] = set()
        self.garble = 0
        self.late = 0
        self.echo = False
        self.noise = b""
        self._late = b""
        self._held = b""

    def __call__(self, chunk: bytes) -> bytes:
        self._held += chunk
        answers = chunk if self.echo else b""
        for address in self.asked:
            request = gas_request(address)
            if request not in self._held:
                continue
            self._held = self._held.replace(request, b"", 1)
            self.asked[address] += 1
            if address not in self.silent:
                answers += self._answer(address)
        return answers

    def _answer(self, address: str) -> bytes:
        frame = self.noise + gas_frame(address, "N", self.asked[address] % 10_000, 0)
        if self.garble:
            self.garble -= 1
            frame = frame[:-1] + (b"0" if frame[-1:] != b"0" else b"1")
        if self.late:
            self.late -= 1
            self._late += frame
            return b""
        late, self._late = self._late, b""
        return late + frame


class SerialDevice:
    """Async context manager: a line on a pty (`path`) or on a TCP port of 127.0.0.1 (`port`)."""

    def __init__(self, answer: Answer = lambda _chunk: b"", *, tcp: bool = False) -> None:
        self.answer = answer
        self.received = bytearray()
        self.port = 0
        self._folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self._folder.name) / "port")
        self._tcp = tcp
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.Transport] = set()
        self._master = self._slave = -1
        self._tty = ""

    async def __aenter__(self) -> Self:
        await self.plug()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.unplug()
        self._folder.cleanup()

    async def plug(self) -> None:
        """Put the converter in."""
        loop = asyncio.get_running_loop()
        if self._tcp:
            self._server = await loop.create_server(
                lambda: _Stream(self, self._streams), "127.0.0.1", self.port or own_port()
            )
            self.port = self._server.sockets[0].getsockname()[1]
            return
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._tty = os.ttyname(self._slave)
        os.symlink(self._tty, self.path)  # noqa: PTH211  # pathlib's is refused in a coroutine
        loop.add_reader(self._master, self._readable)

    async def unplug(self) -> None:
        """Take it out: whoever has the port open gets a hang-up."""
        if self._server is not None:
            await cease(self._server)
            self._server = None
            for stream in list(self._streams):
                stream.abort()
        if self._master >= 0:
            os.unlink(self.path)  # noqa: PTH108  # pathlib's is refused in a coroutine
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = -1

    def users(self) -> int:
        """How many descriptors of this process have the port open, but for our own."""
        if self._master < 0:
            return 0
        count = 0
        for link in Path("/proc/self/fd").iterdir():
            try:
                count += str(link.readlink()) == self._tty
            except FileNotFoundError:  # the descriptor of the listing itself
                continue
        return count - 1

    def send(self, chunk: bytes) -> None:
        """Put bytes on the line, as a device that talks by itself does."""
        if self._tcp:
            for stream in self._streams:
                stream.write(chunk)
        else:
            os.write(self._master, chunk)

    def take(self, chunk: bytes) -> bytes:
        """Note what came and give what the devices answer."""
        self.received += chunk
        return self.answer(chunk)

    def _readable(self) -> None:
        answer = self.take(os.read(self._master, 4096))
        if answer:
            os.write(self._master, answer)


class _Stream(asyncio.Protocol):
    def __init__(self, device: SerialDevice, streams: set[asyncio.Transport]) -> None:
        self._device = device
        self._streams = streams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._streams.add(self._transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._device.take(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.discard(self._transport)

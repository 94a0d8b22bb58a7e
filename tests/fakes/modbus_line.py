"""Modbus devices on a serial line: RTU or ASCII, on a pseudo terminal, over TCP, or dialling in.

    async with LineServer({17: Device(100)}) as line:            # RTU on a pty
        ... open line.path ...
    async with LineServer({17: Device(100)}, framing="ascii", tcp=True) as line:
        ... connect to line.port ...

Check sums are computed bit by bit here, so that the driver's table is not its own judge. Like a
real line it has no connection: bytes come, and whoever is addressed answers. `received` keeps every
byte that ever came.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tty
from dataclasses import dataclass, field
from typing import Self, cast

from drivers.sim.ceasing import cease
from tests.fakes.modbus_server import Device


def crc16(frame: bytes) -> bytes:
    """CRC of Modbus over Serial Line V1.02 §2.5.1.2, bit by bit."""
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return bytes((crc & 0xFF, crc >> 8))


def rtu(adu: bytes) -> bytes:
    """Frame of unit, function and content."""
    return adu + crc16(adu)


def ascii_frame(adu: bytes) -> bytes:
    """Frame of unit, function and content."""
    return b":%s%02X\r\n" % (adu.hex().upper().encode(), (256 - sum(adu) % 256) % 256)


@dataclass
class LineFaults:
    """What is wrong on the line; acts from the next request on.

    before, after: bytes around each answer.  garble: this many next answers have a wrong check
    sum.  echo: the line repeats what is sent, as two-wire RS-485 does.  swap_unit: the answer names
    another unit.  late: this many next answers come only with the following one.
    """

    before: bytes = b""
    after: bytes = b""
    garble: int = 0
    echo: bool = False
    swap_unit: bool = False
    late: int = 0


@dataclass
class Line:
    """The devices of a line and what they answer. units: by unit id."""

    units: dict[int, Device]
    framing: str = "rtu"
    faults: LineFaults = field(default_factory=LineFaults)
    received: bytearray = field(default_factory=bytearray)
    _held: bytes = b""
    _late: bytes = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes from the line; returns what the devices send."""
        self.received += chunk
        self._held += chunk
        answers = chunk if self.faults.echo else b""
        while (request := self._request()) is not None:
            answers += self._answer(request)
        return answers

    def _request(self) -> bytes | None:
        if self.framing == "ascii":
            head, end, self_rest = self._held.partition(b"\r\n")
            if not end:
                return None
            self._held = self_rest
            return bytes.fromhex(head.rpartition(b":")[2].decode())[:-1]
        while len(self._held) >= 8:
            if crc16(self._held[:6]) == self._held[6:8]:
                request, self._held = self._held[:6], self._held[8:]
                return request
            self._held = self._held[1:]
        return None

    def _answer(self, request: bytes) -> bytes:
        device, faults = self.units.get(request[0]), self.faults
        if device is None:
            return b""
        answer = device.answer(len(request).to_bytes(6, "big") + request)[6:]
        if not answer or device.faults.silent:
            return b""
        if faults.swap_unit:
            answer = bytes((answer[0] ^ 0x40,)) + answer[1:]
        frame = (ascii_frame if self.framing == "ascii" else rtu)(answer)
        if faults.garble:
            faults.garble -= 1
            frame = frame[:-3] + bytes((frame[-3] ^ 0x01,)) + frame[-2:]
        frame = faults.before + frame + faults.after
        if faults.late:
            faults.late -= 1
            self._late += frame
            return b""
        late, self._late = self._late, b""
        return late + frame


class LineServer:
    """Async context manager: a line on a pty (`path`) or on a TCP port of 127.0.0.1 (`port`)."""

    def __init__(
        self, units: dict[int, Device], framing: str = "rtu", *, tcp: bool = False
    ) -> None:
        self.line = Line(units, framing)
        self.path = ""
        self.port = 0
        self._tcp = tcp
        self._server: asyncio.Server | None = None
        self._master = -1
        self._slave = -1

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._tcp:
            self._server = await loop.create_server(lambda: _Stream(self.line), "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
            return self
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        loop.add_reader(self._master, self._readable)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await cease(self._server)
        self.unplug()

    def unplug(self) -> None:
        """Take the converter out: whoever has the port open gets a hang-up."""
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = -1

    def send(self, frame: bytes) -> None:
        """Put bytes on the line, as another master or device would."""
        os.write(self._master, frame)

    def _readable(self) -> None:
        answer = self.line.feed(os.read(self._master, 4096))
        if answer:
            os.write(self._master, answer)


class _Stream(asyncio.Protocol):
    def __init__(self, line: Line) -> None:
        self._line = line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._line.feed(data))


async def dial_in(
    port: int, line: Line, registration: bytes = b"", taken: socket.socket | None = None
) -> asyncio.Transport:
    """Connect as a DTU does, register, and serve the line; returns the transport.

    taken: a socket that is connected already, to serve the line over.
    """
    loop = asyncio.get_running_loop()
    if taken is not None:
        return (await loop.create_connection(lambda: _Stream(line), sock=taken))[0]
    for _ in range(200):
        try:
            transport, _protocol = await loop.create_connection(
                lambda: _Stream(line), "127.0.0.1", port
            )
        except OSError:
            await asyncio.sleep(0.01)  # nobody listens yet
            continue
        transport.write(registration)
        return transport
    raise AssertionError(f"nobody listens on port {port}")

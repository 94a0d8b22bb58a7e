"""The wire of simulated Modbus TCP devices: frames in, answers out, nothing else.

Guarantees: answers are those of the Modbus Application Protocol Specification V1.1b3, exceptions
included: 1 for another function than 1 to 4, 2 for an address that the device lacks, 3 for a count
that is 0 or too large or a request of the wrong length. A header with another protocol or an
impossible length closes the connection. Nothing can be written.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Protocol, cast

from drivers.sim.ceasing import cease

COIL, DISCRETE, HOLDING, INPUT = 1, 2, 3, 4
"""Areas, by the function that reads them."""
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3  # specification §7
NO_SUCH_UNIT = 11  # gateway target device failed to respond, §7

_HEADER = struct.Struct(">HHHB")
_REQUEST = struct.Struct(">BHH")
_MOST_BITS, _MOST_REGISTERS = 2000, 125  # specification §6.1 and §6.3
_MOST_LENGTH = 254  # unit id and a PDU of 253 bytes

Reply = tuple[bytes | None, float]
"""PDU of the answer, or None for silence; and how many seconds it takes."""
Respond = Callable[[int, bytes], Reply]
"""From unit id and PDU of a request."""


class Readable(Protocol):
    """Registers of one moment."""

    def read(self, area: int, start: int, end: int) -> bytes | None:
        """Content of an answer, or None where the device lacks one of the addresses."""
        ...


def answer(memory: Readable, request: bytes) -> bytes:
    """Answer the PDU of a request with the PDU of a response or an exception."""
    function = request[0]
    if function not in (COIL, DISCRETE, HOLDING, INPUT):
        return refusal(function, ILLEGAL_FUNCTION)
    if len(request) != _REQUEST.size:
        return refusal(function, ILLEGAL_VALUE)
    _, start, count = _REQUEST.unpack(request)
    most = _MOST_BITS if function <= DISCRETE else _MOST_REGISTERS
    if not 1 <= count <= most:
        return refusal(function, ILLEGAL_VALUE)
    content = memory.read(function, start, start + count)
    if content is None:
        return refusal(function, ILLEGAL_ADDRESS)
    return bytes((function, len(content))) + content


def refusal(function: int, code: int) -> bytes:
    """PDU of an exception response."""
    return bytes((function | 0x80, code))


class ModbusListener:
    """`async with ModbusListener(respond, port) as listener: listener.port`."""

    def __init__(self, respond: Respond, port: int, *, host: str = "127.0.0.1") -> None:
        """Port 0 takes any free one."""
        self.requests = 0
        self._respond = respond
        self._host = host
        self._wanted_port = port
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    @property
    def port(self) -> int:
        """Port it listens on; raises RuntimeError before it does."""
        if self._server is None or not self._server.sockets:
            raise RuntimeError("the simulated device is not listening")
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> ModbusListener:
        """Listen. Raises OSError if the port is taken."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self._count, self._connections), self._host, self._wanted_port
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and drop the connections."""
        if self._server is not None:
            await cease(self._server)
            for connection in list(self._connections):
                connection.drop()
            await self._server.wait_closed()

    def _count(self, unit: int, request: bytes) -> Reply:
        self.requests += 1
        return self._respond(unit, request)


class _Connection(asyncio.Protocol):
    """Frames of one client; several in one segment are answered in one write."""

    def __init__(self, respond: Respond, connections: set[_Connection]) -> None:
        self._respond = respond
        self._connections = connections
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        answers = []
        while len(received) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(received)
            if protocol != 0 or not 2 <= length <= _MOST_LENGTH:
                self.drop()
                return
            end = 6 + length
            if len(received) < end:
                break
            pdu, delay_s = self._respond(unit, received[_HEADER.size : end])
            received = received[end:]
            if pdu is None:
                continue
            frame = _HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu
            if delay_s > 0:
                asyncio.get_running_loop().call_later(delay_s, self._write, frame)
            else:
                answers.append(frame)
        self._received = received
        if answers:
            self._write(b"".join(answers))

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, frames: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)


__all__ = [
    "COIL",
    "DISCRETE",
    "HOLDING",
    "INPUT",
    "NO_SUCH_UNIT",
    "ModbusListener",
    "Readable",
    "Reply",
    "Respond",
    "answer",
    "refusal",
]

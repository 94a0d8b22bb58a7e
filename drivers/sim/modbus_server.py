"""Simulated Modbus TCP device: read functions 1 to 4 over the registers of a plant.

Guarantees: answers are those of the Modbus Application Protocol Specification V1.1b3, exceptions
included: 1 for another function, 2 for an address outside the map, 3 for a count that is 0 or too
large or a request of the wrong length. A header with another protocol or an impossible length
closes the connection. Nothing can be written. One answer shows one second: `Memory` is replaced
as a whole. Any unit id is answered.

The map (wire addresses):

| area | signals | type |
|---|---|---|
| holding | analogs and steps, in order | s16, tenths (scale 0.1) |
| input | gas detectors, in order | f32 ABCD, two registers each |
| discrete | contacts, in order | bool |
| coil | the same contacts again | bool |
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from drivers.sim.signals import Floats, Form, Plant, Signal

MOST_POINTS = 80_000  # 8 in 10 are holding registers, of which there are 65,536

_HEADER = struct.Struct(">HHHB")
_REQUEST = struct.Struct(">BHH")
_COIL, _DISCRETE, _HOLDING, _INPUT = 1, 2, 3, 4
_MOST_BITS, _MOST_REGISTERS = 2000, 125  # specification §6.1 and §6.3
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE = 1, 2, 3  # specification §7
_MOST_LENGTH = 254  # unit id and a PDU of 253 bytes


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Registers of one second: words big-endian, bits one byte each."""

    holding: bytes
    input: bytes
    bits: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a signal is: columns of a point table."""

    signal: Signal
    area: str
    address: int
    type: str
    scale: float


class RegisterMap:
    """Which signal is where, and how values become registers. Pure."""

    def __init__(self, plant: Plant) -> None:
        """Raises ValueError if the plant has more points than there are registers."""
        if len(plant) > MOST_POINTS:
            raise ValueError(f"a Modbus device holds at most {MOST_POINTS} of these points")
        self._words = np.sort(np.concatenate([plant.analog, plant.step]))
        self._gas = plant.gas
        self._contacts = plant.contact
        self.places = tuple(_places(plant.signals))

    def fill(self, values: Floats) -> Memory:
        """Registers for the values of all signals."""
        return Memory(
            np.rint(values[self._words] * 10.0).astype(">i2").tobytes(),
            values[self._gas].astype(">f4").tobytes(),
            values[self._contacts].astype(np.uint8),
        )


def answer(memory: Memory, request: bytes) -> bytes:
    """Answer the PDU of a request with the PDU of a response or an exception."""
    function = request[0]
    if function not in (_COIL, _DISCRETE, _HOLDING, _INPUT):
        return _exception(function, _ILLEGAL_FUNCTION)
    if len(request) != _REQUEST.size:
        return _exception(function, _ILLEGAL_VALUE)
    _, start, count = _REQUEST.unpack(request)
    most = _MOST_BITS if function <= _DISCRETE else _MOST_REGISTERS
    if not 1 <= count <= most:
        return _exception(function, _ILLEGAL_VALUE)
    content = _read(memory, function, start, start + count)
    if content is None:
        return _exception(function, _ILLEGAL_ADDRESS)
    return bytes((function, len(content))) + content


class ModbusSimulator:
    """`async with ModbusSimulator(plant, port) as device: device.port; device.show(values)`."""

    def __init__(self, plant: Plant, port: int, *, host: str = "127.0.0.1") -> None:
        """Port 0 takes any free one."""
        self.map = RegisterMap(plant)
        self.memory = self.map.fill(plant.values(0))
        self.requests = 0
        self._host = host
        self._wanted_port = port
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    def show(self, values: Floats) -> None:
        """Let the registers hold these values from now on."""
        self.memory = self.map.fill(values)

    @property
    def port(self) -> int:
        """Port it listens on; raises RuntimeError before it does."""
        if self._server is None or not self._server.sockets:
            raise RuntimeError("the simulated device is not listening")
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> ModbusSimulator:
        """Listen. Raises OSError if the port is taken."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self, self._connections), self._host, self._wanted_port
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and drop the connections."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.drop()
            await self._server.wait_closed()


class _Connection(asyncio.Protocol):
    """Frames of one client; several in one segment are answered in one write."""

    def __init__(self, device: ModbusSimulator, connections: set[_Connection]) -> None:
        self._device = device
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
            self._device.requests += 1
            pdu = answer(self._device.memory, received[_HEADER.size : end])
            answers.append(_HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu)
            received = received[end:]
        self._received = received
        if answers and self._transport is not None:
            self._transport.write(b"".join(answers))

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def _places(signals: tuple[Signal, ...]) -> list[Place]:
    following = {"holding": 0, "input": 0, "discrete": 0}
    found = []
    for signal in signals:
        if signal.form is Form.GAS:
            area, word, size, scale = "input", "f32", 2, 1.0
        elif signal.form is Form.CONTACT:
            area, word, size, scale = "discrete", "bool", 1, 1.0
        else:
            area, word, size, scale = "holding", "s16", 1, 0.1
        found.append(Place(signal, area, following[area], word, scale))
        following[area] += size
    return found


def _read(memory: Memory, function: int, start: int, end: int) -> bytes | None:
    """Content of an answer, or None where the addresses leave the map."""
    if function <= _DISCRETE:
        if end > len(memory.bits):
            return None
        return np.packbits(memory.bits[start:end], bitorder="little").tobytes()
    words = memory.holding if function == _HOLDING else memory.input
    return None if 2 * end > len(words) else words[2 * start : 2 * end]


def _exception(function: int, code: int) -> bytes:
    return bytes((function | 0x80, code))

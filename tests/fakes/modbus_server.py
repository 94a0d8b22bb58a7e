"""A Modbus TCP device on loopback: honest, counting, noisy or hostile, and cheap to run.

In a test:

    async with ModbusServer(registers=1000) as server:
        server.device.holding[5] = 42
        server.device.forbid("holding", 100, 110)     # exception 2 for [100, 110)
        ... connect to server.port ...

As a process of its own, one port per device; prints one JSON line when it listens, and at SIGTERM
writes what it counted:

    python -m tests.fakes.modbus_server --port 1502 --registers 1000 --mode counter --devices 10 \
        --report counts.json

Modes: `static`, registers are what the test set (f(address) = address at start); `counter`, each
holding register answers how often it was read, modulo 65,536, counted from 1;
`counter32`, each pair of registers (0-1, 2-3, …) is one big-endian u32 count, which a read of any
part of it raises by one; `signal`, 70 % slow noisy analogs, 15 % constants, 15 % on/off, anew each
second. Only functions 1 to 4 are served; anything else gets exception 1. A read costs a few µs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import struct
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, cast

import numpy as np
import numpy.typing as npt

from drivers.sim.ceasing import cease
from tests.ports import own_port

AREAS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
MODES = ("static", "counter", "counter32", "signal")
_REQUEST = struct.Struct(">HHHBBHH")
_HEAD = struct.Struct(">HHHBBB")


@dataclass
class Faults:
    """What the device does wrong; change it at any time, it acts from the next request on.

    exceptions: (function, first, end, code); a read that touches the range gets the code.
    busy: this many next requests get exception 6.  delay_ms: before each answer.
    silent: no answer.  wrong_transaction, wrong_unit, wrong_function: answers belong to nobody.
    short: answers carry one register less than asked, with a consistent header.
    max_count: more registers in one read get exception 3.  garbage: answers are no frames.
    close_after: the link closes after this many answers.  fragment: bytes of one write.
    skip: the next so many requests get no answer.
    """

    exceptions: list[tuple[int, int, int, int]] = field(default_factory=list)
    busy: int = 0
    delay_ms: float = 0.0
    silent: bool = False
    skip: int = 0
    wrong_transaction: bool = False
    wrong_unit: bool = False
    wrong_function: bool = False
    short: bool = False
    garbage: bool = False
    max_count: int = 65536
    close_after: int = -1
    fragment: int = 0


class Device:
    """Memory and behaviour of one device.

    holding, input: uint16[n].  coil, discrete: bool[n].  counts: reads per register (per pair
    with counter32).  frames: every request as received, if `record`.
    """

    def __init__(
        self, registers: int = 1000, mode: str = "static", *, seed: int = 0, record: bool = False
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode {mode!r} is none of {', '.join(MODES)}")
        self.mode = mode
        self.registers = registers
        self.holding = np.arange(registers).astype(np.uint16)
        self.input = (np.arange(registers) + 1000).astype(np.uint16)
        self.coil = np.arange(registers) % 3 == 0
        self.discrete = np.arange(registers) % 2 == 0
        self.counts: npt.NDArray[np.uint32] = np.zeros(
            (registers + 1) // 2 if mode == "counter32" else registers, np.uint32
        )
        self.faults = Faults()
        self.frames: list[bytes] | None = [] if record else None
        self.requests = 0
        self.now: Callable[[], float] = lambda: 0.0
        self._random = np.random.default_rng(seed)
        self._next_signal = 0.0
        if mode == "signal":
            self._begin_signal()

    def forbid(self, area: str, first: int, end: int, code: int = 2) -> None:
        """Answer reads that touch [first, end) of an area with an exception."""
        self.faults.exceptions.append((AREAS[area], first, end, code))

    def allow_all(self) -> None:
        """Forget what was forbidden."""
        self.faults.exceptions.clear()

    def answer(self, frame: bytes) -> bytes:
        """Answer one whole request frame; empty if the device stays silent."""
        self.requests += 1
        if self.frames is not None:
            self.frames.append(frame)
        transaction, _, length, unit, function, start, count = (
            _REQUEST.unpack_from(frame) if len(frame) >= 12 else (*_short(frame), 0, 0)
        )
        code = self._exception(function, start, count, length)
        if code:
            return struct.pack(">HHHBBB", transaction, 0, 3, unit, function | 0x80, code)
        faults = self.faults
        if faults.short:
            count = max(1, count - 1)
        content = self._content(function, start, count)
        if faults.wrong_transaction:
            transaction ^= 0x5A5A
        if faults.wrong_unit:
            unit ^= 0xFF
        if faults.wrong_function:
            function = 4 if function == 3 else 3
        size = len(content)
        return _HEAD.pack(transaction, 0, size + 3, unit, function, size) + content

    def _exception(self, function: int, start: int, count: int, length: int) -> int:
        faults = self.faults
        if faults.busy > 0:
            faults.busy -= 1
            return 6
        if not 1 <= function <= 4 or length != 6:
            return 1
        if not 1 <= count <= min(faults.max_count, 2000 if function < 3 else 125):
            return 3
        if start + count > self.registers:
            return 2
        for of_function, first, end, code in faults.exceptions:
            if of_function == function and start < end and first < start + count:
                return code
        return 0

    def _content(self, function: int, start: int, count: int) -> bytes:
        end = start + count
        if function == 3:
            return self._holding(start, end)
        if function == 4:
            return self.input[start:end].astype(">u2").tobytes()
        bits = self.coil if function == 1 else self.discrete
        return np.packbits(bits[start:end], bitorder="little").tobytes()

    def _holding(self, start: int, end: int) -> bytes:
        mode = self.mode
        if mode == "static":
            return self.holding[start:end].astype(">u2").tobytes()
        if mode == "counter":
            part = self.counts[start:end]
            part += np.uint32(1)
            return part.astype(">u2").tobytes()
        if mode == "counter32":
            first = start // 2
            part = self.counts[first : (end + 1) // 2]
            part += np.uint32(1)
            return part.astype(">u4").tobytes()[2 * (start - 2 * first) :][: 2 * (end - start)]
        if self.now() >= self._next_signal:
            self._step_signal()
        return self._packed[2 * start : 2 * end]

    def _begin_signal(self) -> None:
        share = np.arange(self.registers) % 20
        self._analog = share < 14
        self._switch = share >= 17
        self._level = self._random.uniform(1000, 9000, self.registers)
        self._step_signal()

    def _step_signal(self) -> None:
        """Move every signal once; holding and its big-endian image follow."""
        self._next_signal = self.now() + 1.0
        noise = self._random.normal(0.0, 3.0, self.registers)
        self._level += np.where(self._analog, noise, 0.0)
        np.clip(self._level, 0, 65535, out=self._level)
        flips = self._switch & (self._random.random(self.registers) < 0.01)
        on = (self.holding == 1) ^ flips
        self.holding[:] = np.where(self._switch, on, self._level).astype(np.uint16)
        self._packed = self.holding.astype(">u2").tobytes()


def _short(frame: bytes) -> tuple[int, int, int, int, int]:
    """Header fields of a request shorter than a read."""
    padded = frame.ljust(8, b"\0")
    transaction, protocol, length, unit, function = struct.unpack_from(">HHHBB", padded)
    return transaction, protocol, length, unit, function


class _Connection(asyncio.Protocol):
    """Takes fragmented and merged requests, answers in order."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._held = b""
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self._free_at = 0.0  # when the answers promised so far will have left

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._server.connections.add(self._transport)
        self._server.accepted += 1

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
            self._held = b""
        position, end = 0, len(data)
        while end - position >= 8:
            size = 6 + ((data[position + 4] << 8) | data[position + 5])
            if position + size > end:
                break
            device = self._server.device_of(data[position + 6])
            if device is not None:
                self._reply(device, device.answer(data[position : position + size]))
            position += size
        if position < end:
            self._held = data[position:]

    def _reply(self, device: Device, answer: bytes) -> None:
        assert self._transport is not None
        faults = device.faults
        if faults.silent or faults.skip > 0:
            faults.skip -= not faults.silent
            return
        if faults.garbage:
            answer = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        if faults.delay_ms:
            loop = asyncio.get_running_loop()
            self._free_at = max(self._free_at, loop.time()) + faults.delay_ms / 1e3
            loop.call_at(self._free_at, self._write, device, answer)
        else:
            self._write(device, answer)

    def _write(self, device: Device, answer: bytes) -> None:
        transport, faults = self._transport, device.faults
        if transport is None or transport.is_closing():
            return
        if faults.fragment:
            self._write_in_pieces(answer, faults.fragment)
        else:
            transport.write(answer)
        if faults.close_after > 0:
            faults.close_after -= 1
        if faults.close_after == 0:
            transport.close()

    def _write_in_pieces(self, answer: bytes, size: int) -> None:
        """One turn of the loop a piece, so that each is a segment of its own; answers in order."""
        begin = not self._pieces
        self._pieces += [answer[at : at + size] for at in range(0, len(answer), size)]
        if begin:
            self._write_piece()

    def _write_piece(self) -> None:
        if self._pieces and self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._pieces.pop(0))
            asyncio.get_running_loop().call_soon(self._write_piece)


class ModbusServer:
    """Async context manager: one device on one loopback port (0: any; see `port`).

    stop and start make it go away and come back on the same port; drop cuts the connections.
    accepted: connections taken since the beginning.
    units: devices by unit id, as behind a gateway to a serial line: any other id gets no answer.
    Empty: `device` answers to every id.
    """

    def __init__(
        self,
        registers: int = 1000,
        mode: str = "static",
        *,
        port: int = 0,
        seed: int = 0,
        record: bool = False,
    ) -> None:
        self.device = Device(registers, mode, seed=seed, record=record)
        self.port = port or own_port()  # its own also while it is stopped
        self.connections: set[asyncio.Transport] = set()
        self.accepted = 0
        self.units: dict[int, Device] = {}
        self._server: asyncio.Server | None = None

    def device_of(self, unit: int) -> Device | None:
        """Who answers to a unit id."""
        return self.units.get(unit) if self.units else self.device

    async def start(self) -> None:
        """Listen on 127.0.0.1."""
        loop = asyncio.get_running_loop()
        self.device.now = loop.time
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port or own_port(), reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            await cease(self._server)
            self.drop()
            await self._server.wait_closed()
            self._server = None
        await asyncio.sleep(0)

    def drop(self) -> None:
        """Cut every connection; new ones are welcome."""
        for transport in list(self.connections):
            transport.abort()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run devices as a process until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Modbus TCP devices on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="first port; 0 takes any for each")
    parser.add_argument("--devices", type=int, default=1, help="one port each, counting up")
    parser.add_argument("--registers", type=int, default=1000, help="of each area")
    parser.add_argument("--mode", choices=MODES, default="static")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="before each answer")
    parser.add_argument(
        "--spin", action="store_true",
        help="never sleep, take a whole core: for benches that weigh the client alone",
    )  # fmt: skip
    parser.add_argument("--report", type=Path, help="JSON of reads per register, at the end")
    options = parser.parse_args(arguments)
    _run(_serve(options))


def _run(serving: Coroutine[None, None, None]) -> None:
    """Run on uvloop if it is installed, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


async def _serve(options: argparse.Namespace) -> None:
    servers = [
        ModbusServer(
            options.registers,
            options.mode,
            port=options.port + number if options.port else 0,
            seed=number,
        )
        for number in range(options.devices)
    ]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    for server in servers:
        server.device.faults.delay_ms = options.delay_ms
        await server.start()
    print(json.dumps({"ports": [server.port for server in servers]}), flush=True)
    if options.spin:
        _turn(loop, stop)
    await stop.wait()
    for server in servers:
        await server.stop()
    if options.report:
        report = [
            {
                "port": server.port,
                "mode": server.device.mode,
                "requests": server.device.requests,
                "counts": server.device.counts.tolist(),
            }
            for server in servers
        ]
        partial = options.report.with_suffix(".partial")
        partial.write_text(json.dumps(report), encoding="utf-8")
        partial.replace(options.report)


def _turn(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Keep the loop from sleeping, so that a client's send need not wake it."""
    if not stop.is_set():
        loop.call_soon(_turn, loop, stop)


if __name__ == "__main__":
    main()

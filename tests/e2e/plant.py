"""A Modbus device in a thread of its own, whose registers a test sets while gateways read it."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

from tests.fakes.modbus_server import Device, ModbusServer


class Plant:
    """`with Plant(registers) as plant: plant.set(0, 20)`; listens on `port` of the loopback.

    device: one with a will of its own, instead of registers that are 0 until they are set.
    """

    def __init__(self, registers: int, device: Device | None = None) -> None:
        self._server = ModbusServer(registers)
        self._server.device.holding[:] = 0
        if device is not None:
            self._server.device = device
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="plant")

    def __enter__(self) -> Plant:
        self._thread.start()
        assert self._listening.wait(10), "the plant does not listen"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    @property
    def port(self) -> int:
        """TCP port."""
        return self._server.port

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._server.connections)

    @property
    def requests(self) -> int:
        """Requests answered so far."""
        return self._server.device.requests

    def set(self, register: int, value: int) -> None:
        """Give a holding register a value; the next read has it."""
        self._server.device.holding[register] = value

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with self._server:
            self._listening.set()
            await self._stop.wait()

"""A Modbus device in a thread of its own, whose registers a test sets while gateways read it."""

from __future__ import annotations

from types import TracebackType

from tests.fakes.beside import beside
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
        self._beside = beside(lambda: self._server)

    def __enter__(self) -> Plant:
        self._beside.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._beside.__exit__(kind, error, trace)

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

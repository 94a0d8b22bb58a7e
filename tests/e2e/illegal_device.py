"""A Modbus device with holes whose values say where and when they were read.

Register A answers A * 64 + (requests so far modulo 64), so a value that comes under another tag
shows by itself, and so does one that is kept from an earlier poll. A read that touches one of the
holes gets exception 2 (illegal data address).

    python -m tests.e2e.illegal_device PORT REGISTERS HOLE [HOLE ...]
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np

from tests.fakes.modbus_server import Device, ModbusServer

STEPS = 64
"""Values per register; 1,000 registers times 64 fit 16 bits."""


class MovingDevice(Device):
    """Holding registers that move with every request."""

    def __init__(self, registers: int) -> None:
        super().__init__(registers)
        self._places = np.arange(registers) * STEPS

    def answer(self, frame: bytes) -> bytes:
        """Move, then answer."""
        self.holding = (self._places + self.requests % STEPS).astype(np.uint16)
        return super().answer(frame)


async def serve(port: int, registers: int, holes: list[int]) -> None:
    """Serve until killed."""
    server = ModbusServer(port=port)
    server.device = MovingDevice(registers)
    for hole in holes:
        server.device.forbid("holding", hole, hole + 1)
    async with server:
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), [int(hole) for hole in sys.argv[3:]]))

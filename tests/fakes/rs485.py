"""RS-485 pairs on pseudo terminals: what one party says, all others hear, and nobody itself.

    async with Bus(3) as bus:      # three ports: bus.paths
        ...

With a `setting`, a port that is opened at another baud rate hears what a UART would make of it. A
pseudo terminal keeps no parity, so only the baud rate can be wrong here. `said[n]` keeps what port
n sent.
"""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from typing import Self

from drivers.modbus.line_verdict import Setting
from tests.fakes.uart import receive

_BAUDS = {getattr(termios, f"B{baud}"): baud
          for baud in (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)}  # fmt: skip


class Bus:
    """Async context manager; ports by number."""

    def __init__(self, ports: int, setting: Setting | None = None) -> None:
        self.paths: list[str] = []
        self.said = [bytearray() for _ in range(ports)]
        self._setting = setting
        self._masters: list[int] = []
        self._slaves: list[int] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in range(len(self.said)):
            master, slave = os.openpty()
            tty.setraw(slave)
            os.set_blocking(master, False)
            self._masters.append(master)
            self._slaves.append(slave)
            self.paths.append(os.ttyname(slave))
            loop.add_reader(master, self._readable, number)
        return self

    async def __aexit__(self, *_: object) -> None:
        for master in self._masters:
            asyncio.get_running_loop().remove_reader(master)
        for end in (*self._masters, *self._slaves):
            os.close(end)

    def say(self, frame: bytes, by: int | None = None) -> None:
        """Put a frame on the line, by one of the ports or by somebody else."""
        for number, master in enumerate(self._masters):
            if number != by:
                os.write(master, self._as_heard(master, frame))

    def _readable(self, number: int) -> None:
        chunk = os.read(self._masters[number], 4096)
        self.said[number] += chunk
        self.say(chunk, number)

    def _as_heard(self, master: int, frame: bytes) -> bytes:
        if self._setting is None:
            return frame
        baud = _BAUDS.get(termios.tcgetattr(master)[5], 0)
        read = Setting(baud, self._setting.parity)
        return receive(frame, self._setting, read).good if baud else b""

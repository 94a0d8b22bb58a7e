"""The limit: a bare asyncio client that reads the same blocks at the same pace and drops them.

    python -m tests.bench.raw_client PORT DEVICES REGISTERS POLL_MS SECONDS

prints the share of a core that it used. One request in flight a connection, as the gateway.
"""

from __future__ import annotations

import asyncio
import resource
import struct
import sys
import time
from typing import cast

from gateway.runtime.loop import loop_factory

BLOCK = 125


class Reader(asyncio.Protocol):
    """One connection; a poll asks for one block after the other."""

    def __init__(self, registers: int) -> None:
        self._blocks = [(s, min(BLOCK, registers - s)) for s in range(0, registers, BLOCK)]
        self._next = 0
        self._missing = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def poll(self) -> None:
        if self._missing == 0 and self._next in {0, len(self._blocks)}:
            self._next = 0
            self._ask()

    def data_received(self, data: bytes) -> None:
        self._missing -= len(data)
        if self._missing == 0 and self._next < len(self._blocks):
            self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        start, count = self._blocks[self._next]
        self._next += 1
        self._missing = 9 + 2 * count
        self._transport.write(struct.pack(">HHHBBHH", self._next, 0, 6, 1, 3, start, count))


async def run(port: int, devices: int, registers: int, poll_ms: int, seconds: int) -> float:
    loop = asyncio.get_running_loop()
    readers = []
    for number in range(devices):
        _, reader = await loop.create_connection(
            lambda: Reader(registers), "127.0.0.1", port + number
        )
        readers.append(reader)
    began, used = time.monotonic(), _cpu_s()
    polls = seconds * 1000 // poll_ms
    for turn in range(polls):
        for reader in readers:
            reader.poll()
        await asyncio.sleep(max(0.0, began + (turn + 1) * poll_ms / 1000 - time.monotonic()))
    return (_cpu_s() - used) / (time.monotonic() - began)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(runner.run(run(*(int(argument) for argument in sys.argv[1:6]))))

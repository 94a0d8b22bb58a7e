"""CPU per Modbus transaction: this driver, decoded and in columns, against raw clients.

    python -m tests.bench.modbus_client [--connections 50] [--blocks 1 8] [--transactions 40000]

A fake device in a process of its own serves 125-register reads; it never sleeps, so that no client
pays for waking it, and where there are two cores it has one to itself. Each client keeps one
request in flight on each connection, as fast as it can. Reported per transaction: CPU of the
client process and the ratio to the raw client of the same run on the same loop (below 1: cheaper).
The clients take short turns in one process, so that what else the machine does falls on all alike.
`raw` awaits a future per request; `bare` sends the next request from within the arrival of the
answer and looks at nothing, so it is the least that asyncio can do. Both discard what they read.
Not a test: figures depend on the machine, the ratios much less.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import cast

from drivers.contract import DriverPoint
from drivers.modbus import ModbusAddress, ModbusConfig
from drivers.modbus.client import ModbusDriver
from drivers.modbus.link import Link
from drivers.modbus.transport import open_link
from gateway.runtime.clock import SystemClock

BLOCK = 125
TURN = 1_000
"""Transactions that one client makes before the next has its turn: some 10 ms."""
_HEAD = struct.Struct(">HHHBBHH")


class _Raw(asyncio.Protocol):
    """One future per request, nothing checked."""

    def __init__(self) -> None:
        self.waiter: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        assert self.waiter is not None
        self.waiter.set_result(data)

    async def read(self, request: bytes) -> bytes:
        self.waiter = self.loop.create_future()
        self.transport.write(request)
        return await self.waiter


class _Bare(_Raw):
    """Sends the next request from data_received."""

    left = 0
    request = b""

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.left:
            self.transport.write(self.request)
        else:
            assert self.waiter is not None
            self.waiter.set_result(data)

    async def read_all(self, request: bytes, count: int) -> None:
        self.left, self.request = count, request
        await self.read(request)


Step = Callable[[], Awaitable[None]]
"""One poll of one connection."""


async def _raw_steps(ports: Sequence[int], blocks: int) -> list[Step]:
    loop = asyncio.get_running_loop()
    requests = [_HEAD.pack(at, 0, 6, 1, 3, at * BLOCK, BLOCK) for at in range(blocks)]
    steps: list[Step] = []
    for port in ports:
        _, raw = await loop.create_connection(_Raw, "127.0.0.1", port)

        async def step(raw: _Raw = raw) -> None:
            for request in requests:
                await raw.read(request)

        steps.append(step)
    return steps


async def _bare_steps(ports: Sequence[int], blocks: int) -> list[Step]:
    loop = asyncio.get_running_loop()
    request = _HEAD.pack(1, 0, 6, 1, 3, 0, BLOCK)
    steps: list[Step] = []
    for port in ports:
        _, bare = await loop.create_connection(_Bare, "127.0.0.1", port)

        async def step(bare: _Bare = bare) -> None:
            await bare.read_all(request, blocks)

        steps.append(step)
    return steps


class _Discard:
    """Takes batches as a pipeline would, and forgets them."""

    def __await__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204  # done at once
        yield from ()

    async def __call__(self, item: object) -> _Discard:
        return self


async def _driver_steps(ports: Sequence[int], blocks: int) -> list[Step]:
    points = [
        DriverPoint(at + 1, f"t{at}", ModbusAddress(area="holding", address=str(at), type="u16"))
        for at in range(blocks * BLOCK)
    ]
    clock, discard = SystemClock(), _Discard()
    steps: list[Step] = []
    for port in ports:
        driver = ModbusDriver("d", ModbusConfig(host="127.0.0.1", port=port), points, clock)
        link = await open_link(driver._config, ("127.0.0.1", port), driver._exchange, clock)

        driver._outlet.open(discard)

        async def step(driver: ModbusDriver = driver, link: Link = link) -> None:
            await driver._poll(link)

        steps.append(step)
    return steps


CLIENTS = {"raw": _raw_steps, "bare": _bare_steps, "driver": _driver_steps}


async def _measure(ports: Sequence[int], blocks: int, total: int) -> dict[str, float]:
    """Return µs of CPU per transaction of each client: the median of its fastest quarter of turns.

    What else a machine does (caches, the core's other thread) only ever adds to CPU time.
    """
    clients = {client: await CLIENTS[client](ports, blocks) for client in CLIENTS}
    rounds = max(1, TURN // (len(ports) * blocks))

    async def work(step: Step) -> None:
        for _ in range(rounds):
            await step()

    costs: dict[str, list[float]] = {client: [] for client in clients}
    gc.collect()
    for turn in range(1 + total // TURN):
        for client, steps in clients.items():
            begun = time.process_time()
            async with asyncio.TaskGroup() as group:
                for step in steps:
                    group.create_task(work(step))
            if turn:  # the first warms up
                used_us = (time.process_time() - begun) * 1e6
                costs[client].append(used_us / (rounds * blocks * len(ports)))
    return {client: median(sorted(of)[: -(-len(of) // 4)]) for client, of in costs.items()}


def _in_own_process(loop: str, ports: list[int], blocks: int, total: int) -> dict[str, float]:
    arguments = json.dumps([loop, ports, blocks, total])
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.modbus_client", "--worker", arguments],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    costs: dict[str, float] = json.loads(ran.stdout)
    return costs


def _worker(arguments: str) -> None:
    loop, ports, blocks, total = json.loads(arguments)
    if loop == "uvloop":
        import uvloop

        print(json.dumps(uvloop.run(_measure(ports, blocks, total))))
    else:
        print(json.dumps(asyncio.run(_measure(ports, blocks, total))))


@contextmanager
def devices(connections: int, registers: int) -> Iterator[list[int]]:
    """Ports of as many fake devices, in a process with a core of its own where there are two."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.modbus_server", "--devices", str(connections),
         "--registers", str(registers), "--spin"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(server.pid, cores[1:])
        os.sched_setaffinity(0, cores[:1])
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["ports"]
    finally:
        os.sched_setaffinity(0, cores)
        server.terminate()
        server.wait(10)


def compare(
    loop: str, ports: list[int], blocks: int, transactions: int, repeat: int
) -> dict[str, float]:
    """Return µs of CPU a transaction of each client, the median of `repeat` processes."""
    runs = [_in_own_process(loop, ports, blocks, transactions) for _ in range(repeat)]
    return {client: median(run[client] for run in runs) for client in CLIENTS}


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description="CPU per Modbus transaction, as ratios.")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--transactions", type=int, default=40_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _worker(options.worker)
        return
    with devices(options.connections, BLOCK * max(options.blocks)) as ports:
        print(
            f"{'loop':8} {'blocks/poll':>11} {'client':8} {'µs/tx':>7} {'to raw':>7} {'to bare':>7}"
        )
        for loop in ("asyncio", "uvloop"):
            for blocks in options.blocks:
                best = compare(loop, ports, blocks, options.transactions, options.repeat)
                for client, cost in best.items():
                    print(f"{loop:8} {blocks:11} {client:8} {cost:7.2f} "
                          f"{cost / best['raw']:7.2f} {cost / best['bare']:7.2f}")  # fmt: skip


if __name__ == "__main__":
    main()

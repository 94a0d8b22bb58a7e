"""Seconds from a harm to one OPC UA server until every item has a value that is newer.

The driver runs under the gateway's own supervision. Servers are node-opcua in processes of their
own; in a redundant set both hold the same values. An item counts as back with its first good value
whose source time lies after the harm (or after the return), so up to one period of the values, 1 s,
is in the figure.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from drivers.contract import Batch, DriverPoint, SourceEvent
from drivers.opcua import DRIVER
from drivers.opcua.config import OpcUaAddress, OpcUaConfig
from gateway.runtime.clock import SystemClock
from gateway.sources.keep import keep_running
from tests.fakes.opcua_node import NodeServer, install_node_opcua, node, serving

_PATIENCE_S = 90.0
_DOWN_S = 8.0
_MARGIN_NS = 5_000_000  # node-opcua stamps in whole milliseconds
Harm = Callable[[NodeServer], None]


class _Newest:
    """An Emit that keeps the newest good source time of each point."""

    def __init__(self, points: int) -> None:
        self.times_ns = np.zeros(points + 1, np.int64)
        self.gaps = 0

    async def __call__(self, item: Batch | SourceEvent) -> asyncio.Future[None]:
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        receipt.set_result(None)
        if isinstance(item, Batch):
            good = item.quality < 0x8000
            times = np.broadcast_to(item.source_time_ns, len(item.points))
            np.maximum.at(self.times_ns, item.points[good], times[good])
        else:
            self.gaps += item.kind == "opcua.gap"
        return receipt

    async def all_newer(self, than_ns: int) -> None:
        """Wait until every point has a value newer than this."""
        ends = time.monotonic() + _PATIENCE_S
        while (self.times_ns[1:] <= than_ns).any():
            if time.monotonic() > ends:
                raise RuntimeError("the items did not come back")
            await asyncio.sleep(0.02)


def _note(_kind: str, _name: str, _text: str, _more: Mapping[str, str]) -> None:
    """Keep nothing of what failed."""


async def _seconds(config: OpcUaConfig, items: int, harm: Callable[[], None]) -> tuple[float, int]:
    """Run the driver, do harm, and count until all is back; also how many gaps were told.

    harm may block: nothing is counted before it ends.
    """
    points = [DriverPoint(i + 1, f"D{i}", OpcUaAddress(node=node(f"D{i}"))) for i in range(items)]
    emit, clock = _Newest(items), SystemClock()
    driver = DRIVER.open("dcs", config, points, clock)
    kept = keep_running("dcs", lambda: driver.run(emit), note=_note, clock=clock)
    task = asyncio.get_running_loop().create_task(kept)
    try:
        await emit.all_newer(clock.wall_ns())
        await asyncio.sleep(2)
        gaps = emit.gaps
        await asyncio.to_thread(harm)
        began, since_ns = time.monotonic(), clock.wall_ns()
        await emit.all_newer(since_ns + _MARGIN_NS)
        passed = time.monotonic() - began
        await asyncio.sleep(6)  # what cannot be filled from history is told a while later
        return passed, emit.gaps - gaps
    finally:
        task.cancel()
        await asyncio.wait([task])


def fail_over(folder: Path, items: int, harm: Harm) -> tuple[float, int]:
    """Harm the first of two servers; seconds until the other has brought every item, and gaps."""
    install_node_opcua()
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                serving(folder / name, period=1000, items=items, anonymous=True, aligned=True,
                        serviceLevel=255, perCall=1000, history=True)
            )
            for name in ("first", "second")
        )  # fmt: skip
        endpoints = [first.endpoint, second.endpoint]
        config = first.plain(endpoint="", endpoints=endpoints, publish_ms=500, timeout_ms=4000)
        return asyncio.run(_seconds(config, items, lambda: harm(first)))


def come_back(folder: Path, items: int) -> tuple[float, int]:
    """Stop a server for 8 s; seconds from its return until every item is back, and gaps."""
    install_node_opcua()
    with serving(folder, period=1000, items=items, anonymous=True, perCall=1000) as server:

        def harm() -> None:
            server.stop()
            time.sleep(_DOWN_S)
            server.start()

        config = server.plain(publish_ms=500, timeout_ms=4000)
        return asyncio.run(_seconds(config, items, harm))


def kill(server: NodeServer) -> None:
    """End it at once."""
    server.stop()


def freeze(server: NodeServer) -> None:
    """Let it hold its sockets and say nothing."""
    server.signal(signal.SIGSTOP)


def lower(server: NodeServer) -> None:
    """Let it say that another is to be preferred."""
    server.signal(signal.SIGHUP)


__all__ = ["come_back", "fail_over", "freeze", "kill", "lower"]

"""The last moment of a stop: connected uplinks send what was read; the rest stays in the buffer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from drivers.contract import Clock
from gateway.observe.log import logger

DRAIN_S = 3.0
_LOOK_NS = 20_000_000
_LOG = logger("app")


async def drain(
    settled: Callable[[], Awaitable[None]],
    uplinks: Collection[Callable[[], Mapping[str, float]]],
    clock: Clock,
) -> None:
    """Wait until what was read is durable and no connected uplink has a backlog, DRAIN_S at most.

    settled: waits for the former.  uplinks: each tells its statistics.
    """
    try:
        async with asyncio.timeout(DRAIN_S):
            await settled()
            while any(_is_sending(tell()) for tell in uplinks):
                await clock.sleep_until(clock.monotonic_ns() + _LOOK_NS)
    except TimeoutError:
        _LOG.info("stopped with a backlog; it stays in the buffer")


def _is_sending(uplink: Mapping[str, float]) -> bool:
    return uplink["connected"] > 0 and uplink["backlog_records"] > 0

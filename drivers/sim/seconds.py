"""Each second of a simulation shown in its turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable


async def show_each_second(show: Callable[[int], Awaitable[None]], stop: asyncio.Event) -> None:
    """Show second 1, 2, ... until `stop` is set; one missed is skipped, so time never drifts."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    while not stop.is_set():
        second = int(loop.time() - started_s) + 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(started_s + second):
                await stop.wait()
                return
        await show(second)

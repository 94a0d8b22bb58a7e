"""Sleeping until a time, or until something earlier is known."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Sleeper(Protocol):
    """A clock, as far as it is needed here."""

    async def sleep_until(self, monotonic_ns: int) -> None:
        """Return at a monotonic time."""
        ...


async def sleep_until_or(clock: Sleeper, deadline_ns: int, earlier: asyncio.Event) -> None:
    """Return at a monotonic time, or as soon as `earlier` is set; leaves no task behind."""
    async with asyncio.TaskGroup() as group:
        waits: list[asyncio.Task[object]] = [
            group.create_task(clock.sleep_until(deadline_ns)),
            group.create_task(earlier.wait()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

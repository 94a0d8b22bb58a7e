"""Jobs beside a block of a test: begun with it, cancelled and waited for at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from drivers.contract import DeviceError, Driver, Emit

ResultT = TypeVar("ResultT")


@asynccontextmanager
async def background(job: Coroutine[Any, Any, ResultT]) -> AsyncIterator[asyncio.Task[ResultT]]:
    """Run a job beside the block."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(job)
        try:
            yield task
        finally:
            task.cancel()


async def until_lost(driver: Driver, emit: Emit) -> DeviceError | None:
    """Run a driver; returns the DeviceError that ends it."""
    try:
        await driver.run(emit)
    except DeviceError as error:
        return error
    return None

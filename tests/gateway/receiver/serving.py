"""A receiver that serves while a block lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.receiver.service import Receiver


@asynccontextmanager
async def serving(receiver: Receiver, address: str = "127.0.0.1:0") -> AsyncIterator[int]:
    """Serve; gives the port."""
    port = await receiver.start(address)
    async with asyncio.TaskGroup() as group:
        group.create_task(receiver.run())
        try:
            yield port
        finally:
            receiver.stop()

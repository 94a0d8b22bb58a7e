"""What an OPC UA test gives a driver: points, an Emit that keeps what it gets, a bounded wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from drivers.contract import Batch, DriverPoint, SourceEvent
from drivers.opcua.config import OpcUaAddress


class Collector:
    """An Emit that keeps what it is given; its receipts complete when told to."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.events: list[SourceEvent] = []
        self.commit_at_once = True
        self.pending: list[asyncio.Future[None]] = []

    async def __call__(self, item: Batch | SourceEvent) -> asyncio.Future[None]:
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if isinstance(item, Batch):
            self.batches.append(item)
        else:
            self.events.append(item)
        if self.commit_at_once:
            receipt.set_result(None)
        else:
            self.pending.append(receipt)
        return receipt

    def samples(self, point: int) -> list[tuple[Any, int, int]]:
        """(value, quality, source time) of one point, in order of arrival."""
        found = []
        for batch in self.batches:
            for place in np.flatnonzero(batch.points == point).tolist():
                times = batch.source_time_ns
                time_ns = times if isinstance(times, int) else int(times[place])
                found.append((batch.values[place], int(batch.quality[place]), time_ns))
        return found

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


def points(*rows: tuple[str, str]) -> list[DriverPoint[OpcUaAddress]]:
    """Points with ids 100, 101, … of (node, type)."""
    return [
        DriverPoint(
            100 + i, f"T{i}", OpcUaAddress.model_validate_strings({"node": node, "type": kind})
        )
        for i, (node, kind) in enumerate(rows)
    ]


@asynccontextmanager
async def running(driver: Any, emit: Collector) -> AsyncIterator[asyncio.Task[None]]:
    """Run the driver; cancelled at the end unless it has ended."""
    task: asyncio.Task[None] = asyncio.get_running_loop().create_task(driver.run(emit))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()

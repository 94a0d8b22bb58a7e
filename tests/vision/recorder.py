"""Runs a CameraSource and keeps what it emits, for tests that wait for something to happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from drivers.contract import Batch, DeviceError, Receipt, SourceEvent
from gateway.runtime.clock import SystemClock
from gateway.sources.camera import CameraSource, camera_tags
from vision.config import CameraConfig

WHOLE = [[0, 0], [1, 0], [1, 1], [0, 1]]
LONGEST_S = 90.0  # a bound against hanging, never an expectation


def camera(source: str, **changes: Any) -> CameraConfig:
    """A camera that watches the whole frame."""
    zone = {"name": "all", "polygon": WHOLE, "max_people": 2, "hold_s": 0.5}
    return CameraConfig.model_validate(
        {"name": "cam", "source": source, "zone": [zone], "score": 0.45, **changes}
    )


def points_of(config: CameraConfig) -> dict[str, int]:
    """Ids from 10 on."""
    return {tag: number for number, tag in enumerate(camera_tags(config), start=10)}


@dataclass
class Recorder:
    """emit() of a source under test; `error` is the DeviceError with which it ended."""

    source: CameraSource
    batches: list[Batch] = field(default_factory=list)
    events: list[SourceEvent] = field(default_factory=list)
    error: DeviceError | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, item: Batch | SourceEvent) -> Receipt:
        """Keep one item."""
        if isinstance(item, Batch):
            self.batches.append(item)
        else:
            self.events.append(item)
        self._changed.set()
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        receipt.set_result(None)
        return receipt

    async def run(self) -> None:
        """Run the source until it is cancelled or fails."""
        try:
            await self.source.run(self)
        except DeviceError as error:
            self.error = error
        finally:
            self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something emitted makes the condition true."""
        try:
            async with asyncio.timeout(LONGEST_S):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            texts = " ".join(event.text for event in self.events[-3:])
            seen = f"qualities {self.qualities()[-5:]}, error {self.error}, events {texts}"
            raise TimeoutError(f"not within {LONGEST_S:g} s: {seen}") from None

    def kinds(self) -> list[str]:
        """Kinds of the events so far."""
        return [event.kind for event in self.events]

    def event(self, kind: str) -> SourceEvent:
        """The first event of a kind."""
        return next(event for event in self.events if event.kind == kind)

    def qualities(self) -> list[int]:
        """Quality of the first point in each batch."""
        return [int(batch.quality[0]) for batch in self.batches]


@asynccontextmanager
async def running(config: CameraConfig, **changes: Any) -> AsyncIterator[Recorder]:
    """A source that runs while the block does, and is cancelled after it."""
    recorder = Recorder(CameraSource(config, points_of(config), SystemClock(), **changes))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(recorder.run())
        try:
            yield recorder
        finally:
            task.cancel()

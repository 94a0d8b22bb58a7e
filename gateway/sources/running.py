"""The sources that run, by name: started, watched in metrics, and ended one by one.

Guarantees: each source has its own supervised task, so starting or ending one touches no other; a
source that has ended is in no metric, one that fails leaves no good value behind (last_word.py).
`end` returns once the sources have closed their links, or are past their patience (keep.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from drivers.contract import Clock, Driver
from gateway.model.sight import NoPictureError, Sight
from gateway.observe.metrics import Metrics
from gateway.pipeline import Pipeline
from gateway.sources.keep import end, keep_running
from gateway.sources.last_word import LastWord


@runtime_checkable
class Witness(Protocol):
    """A source that can be asked for evidence: a camera."""

    def capture(self, alarm_id: bytes) -> int:
        """Order picture and clip for an alarm; tells how many files will come."""
        ...

    async def look(self) -> Sight:
        """Have a picture taken now; raises NoPictureError."""
        ...

    def relearn(self) -> None:
        """Have the view learned anew as it is now; raises NoPictureError."""
        ...


class RunningSources:
    """Tasks of all sources, in a TaskGroup that the caller holds."""

    def __init__(
        self, group: asyncio.TaskGroup, pipeline: Pipeline, metrics: Metrics, clock: Clock
    ) -> None:
        self._group = group
        self._pipeline = pipeline
        self._metrics = metrics
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sources: dict[str, Driver] = {}

    def start(self, sources: Mapping[str, Driver]) -> None:
        """Start sources; their names must not be running."""
        for name, source in sources.items():
            self._metrics.register(f"source_{name}", source.statistics)
            self._sources[name] = source
            run = LastWord(source.run, self._pipeline.accept, self._clock).run
            self._tasks[name] = self._group.create_task(
                keep_running(name, run, note=self._pipeline.note, clock=self._clock), name=name
            )

    async def end(self, names: Iterable[str] | None = None) -> None:
        """End some sources, or all; those that are not running are passed over.

        With a camera ends its recording, a source called `<camera>/recording`.
        """
        ending = None if names is None else set(names)
        chosen = [n for n in self._tasks if ending is None or n.partition("/")[0] in ending]
        await end([self._tasks[name] for name in chosen])
        for name in chosen:
            del self._tasks[name], self._sources[name]
            self._metrics.unregister(f"source_{name}")

    def capture(self, camera: str, alarm_id: bytes) -> int:
        """Order picture and clip of a camera for an alarm; tells how many files will come."""
        source = self._sources.get(camera)
        return source.capture(alarm_id) if isinstance(source, Witness) else 0

    async def look(self, camera: str) -> Sight:
        """Have a camera's picture taken now; raises NoPictureError."""
        return await self._camera(camera).look()

    def relearn(self, camera: str) -> None:
        """Have a camera's view learned anew as it is now; raises NoPictureError."""
        self._camera(camera).relearn()

    def _camera(self, camera: str) -> Witness:
        source: object = self._sources.get(camera)
        if isinstance(source, Witness):
            return source
        there = sorted(name for name, one in self._sources.items() if isinstance(one, Witness))
        known = f"there are {', '.join(there)}" if there else "this gateway has none"
        raise NoPictureError(f"there is no camera {camera!r} here; {known}")

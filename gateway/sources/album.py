"""Pictures of the cameras that run, taken when somebody asks, and kept as evidence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from drivers.contract import SourceEvent
from gateway.model.sight import NoPictureError, Sight
from gateway.pipeline import JPEG, Pipeline


class Album:
    """The PictureSource of gateway/uplink/pictures.py; `look_at` is set once sources run."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.look_at: Callable[[str], Awaitable[Sight]] = _nothing_runs

    async def look(self, camera: str) -> Sight:
        """Have a picture taken now; raises NoPictureError."""
        return await self.look_at(camera)

    async def keep(self, sight: Sight) -> None:
        """Store a picture as evidence that belongs to no alarm; raises NoPictureError."""
        item = SourceEvent("vision.requested", sight.camera, sight.wall_ns, "", {}, sight.content)
        if not await self._pipeline.keep_file(sight.content, JPEG, item, b""):
            raise NoPictureError("the picture was taken, but the gateway has no room to store it")
        await self._pipeline.settled()  # its record too


async def _nothing_runs(camera: str) -> Sight:
    raise NoPictureError(f"camera {camera} is not being read: the gateway starts or stops")

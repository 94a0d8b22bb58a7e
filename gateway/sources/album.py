"""Pictures of the cameras that run, taken when somebody asks, and kept as evidence."""

from __future__ import annotations

from typing import Protocol

from drivers.contract import SourceEvent
from gateway.keeping import JPEG
from gateway.model.sight import NoPictureError, Sight
from gateway.pipeline import Pipeline


class Cameras(Protocol):
    """Cameras that run, by name; both raise NoPictureError."""

    async def look(self, camera: str) -> Sight:
        """Have a picture taken now."""
        ...

    def relearn(self, camera: str) -> None:
        """Have the view learned anew as it is now."""
        ...


class Album:
    """The PictureSource of gateway/uplink/pictures.py; `cameras` is set once sources run."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.cameras: Cameras | None = None

    async def look(self, camera: str) -> Sight:
        """Have a picture taken now; raises NoPictureError."""
        return await self._running(camera).look(camera)

    def relearn(self, camera: str) -> None:
        """Have a camera's view learned anew as it is now; raises NoPictureError."""
        self._running(camera).relearn(camera)

    def _running(self, camera: str) -> Cameras:
        if self.cameras is None:
            raise NoPictureError(f"camera {camera} is not being read: the gateway starts or stops")
        return self.cameras

    async def keep(self, sight: Sight) -> str:
        """Store a picture as evidence that belongs to no alarm; its SHA-256 in hex.

        Raises NoPictureError.
        """
        item = SourceEvent("vision.requested", sight.camera, sight.wall_ns, "", {}, sight.content)
        sha256 = await self._pipeline.keep_file(sight.content, JPEG, item, b"")
        if not sha256:
            raise NoPictureError("the picture was taken, but the gateway has no room to store it")
        await self._pipeline.settled()  # its record too
        return sha256

"""Commands on cameras: a picture of now, and that a view as it is now is the right one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.control.server import Answer, Handler
from gateway.model.sight import NoPictureError, Sight
from gateway.pipeline import Pipeline


class Eyes(Protocol):
    """Cameras that run, and where their pictures are kept; all raise NoPictureError."""

    async def look(self, camera: str) -> Sight:
        """Have a picture taken now."""
        ...

    async def keep(self, sight: Sight) -> str:
        """Store it as evidence; its SHA-256 in hex."""
        ...

    def relearn(self, camera: str) -> None:
        """Have the view learned anew as it is now."""
        ...


def camera_handlers(pipeline: Pipeline, eyes: Eyes) -> dict[str, Handler]:
    """Make the handlers, by what is asked."""

    async def look(request: Mapping[str, Any]) -> Answer:
        """Take a picture, as evidence is: heads blurred, kept, sent where the uplink takes it."""
        camera, person = str(request["camera"]), str(request["person"])
        try:
            sight = await eyes.look(camera)
            sha256 = await eyes.keep(sight)
        except NoPictureError as error:
            raise ValueError(str(error)) from error
        said = {"person": person, "sha256": sha256}
        pipeline.note("audit.snapshot", camera, f"{person} asked for a picture of {camera}.", said)
        return {"sha256": sha256, "wall_ns": sight.wall_ns}

    def relearn(request: Mapping[str, Any]) -> Answer:
        camera, person = str(request["camera"]), str(request["person"])
        reason = str(request["reason"])
        try:
            eyes.relearn(camera)
        except NoPictureError as error:
            raise ValueError(str(error)) from error
        text = f"{person} says that {camera} shows what it should: its view is learned anew."
        pipeline.note("audit.view", camera, text, {"person": person, "reason": reason})
        return {}

    return {"camera.snapshot": look, "camera.relearn": relearn}

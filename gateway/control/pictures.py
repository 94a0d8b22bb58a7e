"""A camera's picture of now, for people who look.

Guarantees: one question at a time goes to a camera, and a picture serves everybody for FRESH_NS;
nothing is stored.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from drivers.contract import Clock
from gateway.control.server import Answer, Handler
from gateway.model.sight import NoPictureError, Sight

FRESH_NS = 5_000_000_000


class Pictures:
    """Answers `camera.look`."""

    def __init__(self, look: Callable[[str], Awaitable[Sight]], clock: Clock) -> None:
        """look: has a picture taken; raises NoPictureError."""
        self._look = look
        self._clock = clock
        self._turns: dict[str, asyncio.Lock] = {}
        self._kept: dict[str, tuple[int, Sight]] = {}

    def handlers(self) -> dict[str, Handler]:
        """Make the handler."""
        return {"camera.look": self.picture}

    async def picture(self, request: Mapping[str, Any]) -> Answer:
        """The picture of the camera that is named; raises ValueError where there is none."""
        camera = str(request["camera"])
        turn = self._turns.get(camera) or asyncio.Lock()
        self._turns[camera] = turn
        async with turn:
            try:
                sight = self._fresh(camera) or await self._look(camera)
            except NoPictureError as error:
                self._turns.pop(camera, None)  # a name that is no camera leaves nothing behind
                raise ValueError(f"{error}.") from error
            if self._fresh(camera) is None:
                self._kept[camera] = self._clock.monotonic_ns(), sight
        return {"jpeg": base64.b64encode(sight.content).decode(), "time_ns": sight.wall_ns}

    def _fresh(self, camera: str) -> Sight | None:
        taken_ns, sight = self._kept.get(camera, (0, None))
        return sight if self._clock.monotonic_ns() - taken_ns < FRESH_NS else None

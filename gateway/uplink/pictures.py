"""Pictures of cameras that a receiver asks for: taken, stored as evidence, and sent like it.

Guarantees: what the destination's evidence policy forbids, and what finds no room in its bytes of
the day, is refused before a camera is asked. One picture at a time is taken for a destination. An
accepted picture is durable and on record before the answer goes, and is sent whole whatever else
the policy withholds. Whoever asked hears one clause that says why where there is none.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from drivers.contract import Clock
from gateway.model.sight import NoPictureError, Sight
from gateway.uplink.file_policy import FilePolicy

MOST_WAITING = 3
"""Each may take seconds, and who asks waits for 8 s (gateway/receiver/requests.py)."""
_NAME_CHARACTERS = 64

Answer = Callable[[bool, str, bytes], None]
"""Takes whether a picture comes, one sentence or clause, and the picture's SHA-256."""


class PictureSource(Protocol):
    """The gateway's cameras and its log; both raise NoPictureError."""

    async def look(self, camera: str) -> Sight:
        """Have a picture taken now."""
        ...

    async def keep(self, sight: Sight) -> object:
        """Store it as evidence, durably."""
        ...


class Pictures:
    """Takes pictures for one destination while `run` runs."""

    def __init__(
        self,
        source: PictureSource | None,
        policy: FilePolicy,
        clock: Clock,
        refused: Callable[[str], str],
        taken: Callable[[Sight, bytes], None],
    ) -> None:
        """refused: why this destination is never sent a camera's files, or nothing.

        taken: told of each picture that is stored, with its SHA-256.
        """
        self._source = source
        self._policy = policy
        self._clock = clock
        self._refused = refused
        self._taken = taken
        self._waiting: deque[tuple[str, Answer]] = deque()
        self._wake = asyncio.Event()

    def want(self, camera: str, answer: Answer) -> None:
        """Have a picture taken; `answer` is called once, at once or later."""
        if len(self._waiting) >= MOST_WAITING:
            answer(False, f"{MOST_WAITING} pictures are being taken; ask again in a moment", b"")
            return
        self._waiting.append((camera[:_NAME_CHARACTERS], answer))
        self._wake.set()

    async def run(self) -> None:
        """Take them one after the other, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                camera, answer = self._waiting[0]
                try:
                    text, sha256 = await self._take(camera)
                except NoPictureError as error:
                    answer(False, str(error), b"")
                else:
                    answer(True, text, sha256)
                finally:
                    self._waiting.popleft()

    async def _take(self, camera: str) -> tuple[str, bytes]:
        policy = self._policy
        why = self._refused(camera) or policy.refuses_pictures(self._clock.monotonic_ns())
        if why:
            raise NoPictureError(why)
        if self._source is None:
            raise NoPictureError(f"there is no camera {camera!r} here; this gateway has none")
        sight = await self._source.look(camera)
        size, sha256 = len(sight.content), hashlib.sha256(sight.content).digest()
        if why := policy.expect(sha256, size, self._clock.monotonic_ns()):
            raise NoPictureError(why)
        await self._source.keep(sight)
        self._taken(sight, sha256)
        return f"picture {sha256.hex()} of camera {camera} ({size} bytes) is on its way", sha256

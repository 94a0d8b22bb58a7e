"""A TCP relay on loopback that spoils what a camera sends, when it is told to.

`garble`: the share of bytes from the camera that are replaced by random ones.

Guarantee: whichever end closes, the other end's connection is closed too, as without a relay. A
camera that keeps the connections of clients long gone is another camera: GStreamer's server kept
its stream running for thirteen of them, and a PLAY into that locked it up for good.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import numpy as np

from tests.fakes.listening import Listener
from tests.ports import own_port


class GarblingRelay:
    """Listens between `open` and `close`, on one port for its whole life; passes on to `target`."""

    def __init__(self, seed: int) -> None:
        self.target = 0
        self.port = own_port()
        self.garble = 0.0
        self._random = np.random.default_rng(seed)
        self._listener = Listener(self._serve)

    async def open(self, target: int) -> None:
        """Pass connections on to a port of 127.0.0.1."""
        self.target = target
        await self._listener.open(self.port)

    async def close(self) -> None:
        """Refuse new connections and cut the others."""
        await self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_camera, to_camera = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            return
        try:
            async with asyncio.TaskGroup() as group:
                ways = [
                    group.create_task(self._pass(reader, to_camera, spoil=False)),
                    group.create_task(self._pass(from_camera, writer, spoil=True)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            to_camera.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, spoil: bool
    ) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                writer.write(self._spoilt(chunk) if spoil and self.garble else chunk)
                await writer.drain()

    def _spoilt(self, chunk: bytes) -> bytes:
        content = np.frombuffer(chunk, np.uint8).copy()
        hit = self._random.random(len(content)) < self.garble
        content[hit] = self._random.integers(0, 256, int(hit.sum()), np.uint8)
        return content.tobytes()

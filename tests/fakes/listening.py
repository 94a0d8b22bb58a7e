"""A TCP listener on loopback for fakes: once closed, no connection and no handler of it is alive.

`asyncio.Server.wait_closed` waits for no handler, so that a fake which only closed its server left
tasks behind whenever the machine was busy.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from drivers.sim.ceasing import cease
from tests.ports import own_port

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Listens between `open` and `close`; either may be called again."""

    def __init__(self, handle: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._handle = handle
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._handlers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def open(self, port: int = 0) -> int:
        """Listen on 127.0.0.1; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self._tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def open_at(self, path: Path) -> None:
        """Listen on a socket of the file system."""
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def close(self) -> None:
        """Refuse new connections, cut the others and wait for their handlers to end."""
        server, self._server = self._server, None
        if server is not None:
            await cease(server)
        while self._handlers:
            for task, writer in self._handlers.items():
                writer.transport.abort()
                task.cancel()
            await asyncio.wait(list(self._handlers))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers[task] = writer
        try:
            with suppress(asyncio.CancelledError):  # only `close` cancels; the task ends quietly
                await self._handle(reader, writer)
        finally:
            writer.transport.abort()
            del self._handlers[task]


class ListeningFake:
    """A fake that listens on `port` of 127.0.0.1 while its `async with` lasts, and in the next."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._listener = Listener(self.serve, tls)

    async def __aenter__(self) -> Self:
        self.port = await self._listener.open(self.port or own_port())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it ends or is cancelled."""
        raise NotImplementedError

"""A TCP proxy on loopback: a link to an OPC UA server that can be cut and joined again."""

from __future__ import annotations

import asyncio
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """`async with Proxy(endpoint) as proxy:`; `proxy.endpoint`, `cut()`, `join()`.

    cut: connections are closed and new ones refused.  hang: they stay, but nothing passes.
    """

    def __init__(self, endpoint: str) -> None:
        self._url = urlsplit(endpoint)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()

    @property
    def endpoint(self) -> str:
        """URL that leads through the proxy."""
        return f"opc.tcp://127.0.0.1:{self._port}{self._url.path}"

    async def __aenter__(self) -> Self:
        await self.join()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def join(self) -> None:
        """Let connections through, on the port of last time."""
        self._passing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    def hang(self) -> None:
        """Let nothing pass, and tell nobody."""
        self._passing.clear()

    async def cut(self) -> None:
        """Break every connection and refuse new ones."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            host, port = self._url.hostname, self._url.port
            back, other = await asyncio.open_connection(host, port)
            self._writers.add(other)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, other))
                tasks.create_task(self._pump(back, writer))
        except (OSError, asyncio.CancelledError):
            return
        finally:
            for one in (writer, other):
                if one is not None:
                    one.transport.abort()
                    self._writers.discard(one)
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while content := await reader.read(65_536):
                await self._passing.wait()
                writer.write(content)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

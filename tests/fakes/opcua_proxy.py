"""A TCP proxy on loopback: a link to an OPC UA server that can be cut and joined again."""

from __future__ import annotations

import asyncio
from typing import Self
from urllib.parse import urlsplit

from tests.fakes.listening import Listener
from tests.ports import own_port


class Proxy:
    """`async with Proxy(endpoint) as proxy:`; `proxy.endpoint`, `cut()`, `join()`.

    cut: connections are closed and new ones refused.  hang: they stay, but nothing passes.
    """

    def __init__(self, endpoint: str) -> None:
        self._url = urlsplit(endpoint)
        self._port = own_port()  # the same after each cut
        self._joined = False
        self._listener = Listener(self._serve)
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
        if not self._joined:
            self._joined = True
            await self._listener.open(self._port)

    def hang(self) -> None:
        """Let nothing pass, and tell nobody."""
        self._passing.clear()

    async def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._joined = False
        await self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other: asyncio.StreamWriter | None = None
        try:
            back, other = await asyncio.open_connection(self._url.hostname, self._url.port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, other))
                tasks.create_task(self._pump(back, writer))
        except OSError:
            return
        finally:
            if other is not None:
                other.transport.abort()

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

"""Takes commands of people on this machine: one JSON line in, one JSON line out.

Guarantees: the socket lies in the data directory and only the gateway's own user (and root) can
open it; a request of more than MOST_BYTES or that is no JSON object gets an error; what is asked
for is done or refused with one sentence; every command that changes something leaves an audit event
before it is answered. Nothing here reaches a device.

A handler gets the request and gives the answer's fields; it raises ValueError for a refusal.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from gateway.observe.log import logger

SOCKET = "control.sock"
MOST_BYTES = 64 << 10
TIMEOUT_S = 10.0
Answer = Mapping[str, Any]
Handler = Callable[[Mapping[str, Any]], Answer | Awaitable[Answer]]
_LOG = logger("control")


class ControlServer:
    """`async with ControlServer(data_dir, handlers):`; handlers by the request's `ask`."""

    def __init__(self, data_dir: Path, handlers: Mapping[str, Handler]) -> None:
        self._folder = data_dir
        self._handlers = handlers
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen; a socket of an earlier run is replaced. Where that fails, only commands do."""
        path = self._folder / SOCKET
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            path.unlink(missing_ok=True)
            # A path by the folder's descriptor: socket addresses end at 107 bytes.
            self._server = await asyncio.start_unix_server(
                self._serve, f"/proc/self/fd/{folder}/{SOCKET}", limit=MOST_BYTES
            )
            path.chmod(0o600)
        except OSError as error:
            _LOG.warning("no local commands: the socket cannot be made", error=str(error))
        finally:
            os.close(folder)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            with suppress(OSError):
                (self._folder / SOCKET).unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._answer(await reader.readuntil(b"\n"))
                writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked is gone, or sent no line
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        handler = self._handlers.get(request.get("ask", "")) if isinstance(request, dict) else None
        if handler is None:
            return {"ok": False, "error": "no such command"}
        try:
            answer = handler(request)
            return {"ok": True, **(await answer if isinstance(answer, Awaitable) else answer)}
        except (ValueError, KeyError, TypeError) as error:
            return {"ok": False, "error": str(error)}


__all__ = ["SOCKET", "Answer", "ControlServer", "Handler"]

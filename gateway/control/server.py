"""Takes commands of people on this machine: one JSON line in, one JSON line out, or several.

Guarantees: the socket lies in the data directory and only the gateway's own user (and root) can
open it; a request of more than MOST_BYTES or that is no JSON object gets an error; what is asked
for is done or refused with one sentence; every command that changes something leaves an audit event
before it is answered. Nothing here reaches a device. Who takes no line for SLOW_S is cut off.

A handler gets the request and gives the answer's fields, or lines without end; it raises ValueError
for a refusal.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from pathlib import Path
from typing import Any, Self

from gateway.observe.log import logger

SOCKET = "control.sock"
MOST_BYTES = 64 << 10
TIMEOUT_S = 10.0
SLOW_S = 30.0
Answer = Mapping[str, Any]
Lines = AsyncGenerator[bytes, None]
Handler = Callable[[Mapping[str, Any]], Answer | Awaitable[Answer] | Lines]
NOT_CONFIGURED = {
    "permit": "no special work 特殊作业 is watched here: the site file has no [[permit_area]]",
    "handling": "nothing is to be handled 消警 here: the site file has neither cameras nor [work]",
}
"""What commands mean that are not there, by the first word of what is asked."""
_LOG = logger("control")


class ControlServer:
    """`async with ControlServer(data_dir, handlers):`; handlers by the request's `ask`.

    beside: held as long as it listens.
    """

    def __init__(
        self,
        data_dir: Path,
        handlers: Mapping[str, Handler],
        beside: AbstractContextManager[object] | None = None,
    ) -> None:
        self._beside = beside or nullcontext()
        self._folder = data_dir
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen; a socket of an earlier run is replaced. Where that fails, only commands do."""
        self._beside.__enter__()
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
        """Stop listening, and end those who watch."""
        self._beside.__exit__(None, None, None)
        if self._server is not None:
            self._server.close()
            for task in self._serving:
                task.cancel()
            if self._serving:
                await asyncio.wait(self._serving)
            with suppress(OSError):
                (self._folder / SOCKET).unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of a connection runs in one
        self._serving.add(task)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._answer(await reader.readuntil(b"\n"))
                if isinstance(answer, Mapping):
                    writer.write(encoded(answer))
                    await writer.drain()
            if not isinstance(answer, Mapping):
                await _stream(answer, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked is gone, or sent no line
        except asyncio.CancelledError:
            pass  # only __aexit__ cancels; asyncio's streams would log this as an error
        finally:
            self._serving.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> Mapping[str, Any] | Lines:
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        handler = self._handlers.get(request.get("ask", "")) if isinstance(request, dict) else None
        if handler is None:
            asked = str(request.get("ask", "")) if isinstance(request, dict) else ""
            part = asked.partition(".")[0]
            return {"ok": False, "error": NOT_CONFIGURED.get(part, "no such command")}
        try:
            answer = handler(request)
            if isinstance(answer, AsyncGenerator):
                return answer
            return {"ok": True, **(await answer if isinstance(answer, Awaitable) else answer)}
        except (ValueError, KeyError, TypeError) as error:
            return {"ok": False, "error": str(error)}


def encoded(said: Mapping[str, Any]) -> bytes:
    """One line of JSON that every reader takes: no NaN, no infinity, no half of a character."""
    try:
        text = json.dumps(said, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(said), ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"


def _finite(said: object) -> object:
    if isinstance(said, Mapping):
        return {key: _finite(value) for key, value in said.items()}
    if isinstance(said, list | tuple):
        return [_finite(value) for value in said]
    return None if isinstance(said, float) and not math.isfinite(said) else said


async def _stream(lines: Lines, writer: asyncio.StreamWriter) -> None:
    """Send lines as fast as they are taken: the next is not asked for before the last has gone."""
    async with aclosing(lines):
        async for line in lines:
            writer.write(line)
            async with asyncio.timeout(SLOW_S):
                await writer.drain()


__all__ = ["SOCKET", "Answer", "ControlServer", "Handler", "encoded"]

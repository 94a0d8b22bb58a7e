"""A gateway's control socket as the console sees it: state, what changes, and answers by `ask`.

`async with ControlGateway(folder) as gateway:`; `answers[ask]` is a mapping, or a function of the
request that may raise ValueError for a refusal; `asked` is all that was asked but `watch`. `close`
and `open` are the gateway's end and its return.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.fakes.listening import Listener

BEAT_S = 0.5
Answer = Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]]


def row(key: str, **more: Any) -> dict[str, Any]:
    source, condition = key.split("|")
    return {"key": key, "source": source, "condition": condition, "state": "active", **more}


class ControlGateway:
    """Listens between `open` and `close`; either may be called again."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "control.sock"
        self._listener = Listener(self._serve)
        self._watchers: set[asyncio.StreamWriter] = set()
        self.state: dict[str, Any] = {
            "ok": True, "kind": "state", "revision": 1, "time_ns": 1, "site": {"gateway": "SD-1"},
            "alarms": [row("gds/a|high")], "alarm_count": {"total": 1},
            "sections": {"sources": {"gds": {"connected": True}}},
        }  # fmt: skip
        self.answers: dict[str, Answer] = {}
        self.asked: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen."""
        self._path.unlink(missing_ok=True)
        await self._listener.open_at(self._path)

    async def close(self) -> None:
        """End, with every connection."""
        await self._listener.close()
        self._path.unlink(missing_ok=True)

    async def push(self, line: Mapping[str, Any]) -> None:
        """Send a line to whoever watches."""
        for writer in self._watchers:
            writer.write(json.dumps(line).encode() + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            if request["ask"] == "watch":
                await self._watch(writer)
            else:
                self.asked.append(request)
                writer.write(json.dumps(self._answer(request)).encode() + b"\n")
                writer.close()
                await writer.wait_closed()
        except OSError:
            pass
        finally:
            self._watchers.discard(writer)

    async def _watch(self, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(self.state).encode() + b"\n")
        self._watchers.add(writer)
        while True:
            await asyncio.sleep(BEAT_S)
            writer.write(b'{"kind":"heartbeat","revision":1,"time_ns":2}\n')
            await writer.drain()

    def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self.answers.get(request["ask"], {})
        try:
            return {"ok": True, **(answer(request) if callable(answer) else answer)}
        except ValueError as error:
            return {"ok": False, "error": str(error)}

"""The console's only way to the plant: the gateway's control socket in the data directory.

Guarantees: every question ends, with an answer or one of two exceptions, within TIMEOUT_S; at most
MOST_ASKED wait for the gateway at a time, and at most MOST_WAITING for their turn; what is watched
goes into a View line by line, and a link that is lost, silent or makes no sense is opened again
every RETRY_S for ever.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from drivers.contract import Clock
from gateway.console.view import STALE_NS, View
from gateway.control.client import NotAnsweredError, RefusedError
from gateway.control.server import SOCKET

TIMEOUT_S = 12.0
"""The gateway gives up after 10 s itself."""
RETRY_S = 1.0
MOST_ASKED = 8
MOST_WAITING = 64
MOST_LINE_BYTES = 16 << 20
"""The whole state has some 500 alarms of about 1 kB."""


class Link:
    """Asks, and watches."""

    def __init__(self, data_dir: Path, clock: Clock, changed: Callable[[], None]) -> None:
        """changed: called after each line, and when the link is lost."""
        self.view = View()
        self._data_dir = data_dir
        self._clock = clock
        self._changed = changed
        self._turn = asyncio.Semaphore(MOST_ASKED)
        self._waiting = 0

    async def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the answer's fields; raises NotAnsweredError or RefusedError."""
        if self._waiting >= MOST_WAITING:
            raise NotAnsweredError("too many questions wait for the gateway; try again")
        self._waiting += 1
        try:
            async with asyncio.timeout(TIMEOUT_S), self._turn, self._opened() as (reader, writer):
                writer.write(json.dumps(request).encode() + b"\n")
                answer = json.loads(await _line(reader))
        except TimeoutError as error:
            raise NotAnsweredError("the gateway does not answer in time") from error
        except ValueError as error:
            raise NotAnsweredError("the gateway's answer cannot be read") from error
        finally:
            self._waiting -= 1
        if not isinstance(answer, dict) or not answer.pop("ok", False):
            said = answer.get("error") if isinstance(answer, dict) else None
            raise RefusedError(str(said or "the gateway refused without a word"))
        return answer

    async def watch(self) -> None:
        """Keep the view as new as the gateway's, until cancelled."""
        while True:
            try:
                await self._watch_once()
            except NotAnsweredError as error:
                self._lost(str(error))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._lost(f"the gateway sent what makes no sense: {error!r}")
            except TimeoutError:
                self._lost(f"the gateway was silent for {STALE_NS / 1e9:g} s")
            await asyncio.sleep(RETRY_S)

    async def _watch_once(self) -> None:
        async with self._opened() as (reader, writer):
            writer.write(b'{"ask":"watch"}\n')
            while True:
                async with asyncio.timeout(STALE_NS / 1e9):
                    line = json.loads(await _line(reader))
                if line.get("ok") is False:
                    raise NotAnsweredError(f"the gateway refuses to be watched: {line['error']}")
                self.view.feed(line, now_ns=self._clock.monotonic_ns())
                self._changed()

    def _lost(self, text: str) -> None:
        self.view.lost(text)
        self._changed()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            folder = os.open(self._data_dir, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise NotAnsweredError(f"no data directory: {error.strerror}") from error
        try:
            # A path by the folder's descriptor: socket addresses end at 107 bytes.
            reader, writer = await asyncio.open_unix_connection(
                f"/proc/self/fd/{folder}/{SOCKET}", limit=MOST_LINE_BYTES
            )
        except OSError as error:
            raise NotAnsweredError("the gateway is not running") from error
        finally:
            os.close(folder)
        try:
            yield reader, writer
        except OSError as error:
            raise NotAnsweredError(f"the gateway's link broke: {error}") from error
        finally:
            writer.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()  # ValueError beyond the limit
    if not line.endswith(b"\n"):
        raise NotAnsweredError("the gateway has ended or is starting")
    return line

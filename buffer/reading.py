"""Reads of the log beside its writers: one thread, read-only connections, short transactions.

Guarantees: questions run one after another in a thread of their own, so that at most one read
transaction is open (an open reader keeps the WAL from being reused). Every question asks for a
bounded number of rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from buffer.contract import Stream
from buffer.database import TELEMETRY
from buffer.reader import Reader
from buffer.rollup import Minute
from buffer.rollup_writer import minutes_held

ResultT = TypeVar("ResultT")


class Reading:
    """The reading thread of one data directory; coroutines run on the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="buffer-read")
        self._readers: dict[bool, Reader] = {}

    async def ask(self, stream: Stream, question: Callable[[Reader], ResultT]) -> ResultT:
        """Put a question about a stream to the file that holds it."""
        telemetry = stream is Stream.TELEMETRY

        def run() -> ResultT:
            reader = self._readers.get(telemetry)
            if reader is None:
                name = "telemetry.db" if telemetry else "records.db"
                reader = self._readers[telemetry] = Reader(self._path / name)
            return question(reader)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def rollup(self, point: int, from_ns: int, to_ns: int) -> list[Minute]:
        """Minutes of a point that begin in [from_ns, to_ns)."""
        read = partial(minutes_held, self._path, point, from_ns, to_ns)
        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    def forget(self, kind: str) -> None:
        """Open a file anew for the next question: another one has its name now."""

        def drop() -> None:
            reader = self._readers.pop(kind == TELEMETRY, None)
            if reader is not None:
                reader.close()

        self._thread.submit(drop)

    async def close(self) -> None:
        """Close the readers and end the thread."""
        loop = asyncio.get_running_loop()
        for reader in self._readers.values():
            await loop.run_in_executor(self._thread, reader.close)
        self._thread.shutdown()

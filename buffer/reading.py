"""Reads of the log beside its writers: one thread, read-only connections, short transactions.

Guarantees: questions run one after another in a thread of their own, so that at most one read
transaction is open (an open reader keeps the WAL from being reused). Every question asks for a
bounded number of rows. A question that fails is asked once more of a new connection: one that could
not read the schema says for good that the file is malformed. Records that cannot be read are never
taken for records that are gone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from buffer.contract import Record, Stream, UnreadableError
from buffer.database import TELEMETRY
from buffer.door import Door
from buffer.patient import is_damage
from buffer.reader import Reader
from buffer.rollup import Minute
from buffer.rollup_writer import minutes_held

ResultT = TypeVar("ResultT")
ATTEMPTS = 2


class Reading:
    """The reading thread of one data directory; coroutines run on the event loop.

    suspect: told the stream whose file seems damaged, and why.
    """

    def __init__(self, path: Path, door: Door, suspect: Callable[[Stream, str], None]) -> None:
        self._path = path
        self._door = door
        self._suspect = suspect
        self._failures: dict[bool, str] = {}
        self._is_closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="buffer-read")
        self._readers: dict[bool, Reader] = {}

    @property
    def failure(self) -> str:
        """Why the log cannot be read, or ""."""
        return "; ".join(self._failures.values())

    async def records(
        self, log_id: bytes, stream: Stream, first: int, last: int, max_bytes: int
    ) -> list[Record]:
        """What `Log.read` promises; empty where the file has another log id."""
        span = (log_id, stream, first, last, max_bytes)
        try:
            return await self.ask(stream, lambda reader: reader.records(*span))
        except sqlite3.DatabaseError as failure:
            if not is_damage(failure):
                raise
            self._suspect(stream, f"part of {stream.name.lower()} cannot be read: {failure}")
        found, stop = await self.ask(stream, lambda reader: reader.readable(*span))
        if stop:
            raise UnreadableError(stream, first, stop)
        return found

    async def ask(self, stream: Stream, question: Callable[[Reader], ResultT]) -> ResultT:
        """Put a question about a stream to the file that holds it; raises sqlite3.Error."""
        telemetry = stream is Stream.TELEMETRY

        def run() -> ResultT:
            for attempt in range(ATTEMPTS):
                try:
                    answer = question(self._reader(telemetry))
                except sqlite3.Error as failure:
                    self._drop(telemetry)
                    if attempt + 1 < ATTEMPTS:
                        continue
                    self._failures[telemetry] = f"the log cannot be read: {failure}"
                    raise
                break
            self._failures.pop(telemetry, None)
            return answer

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def rollup(self, point: int, from_ns: int, to_ns: int) -> list[Minute]:
        """Minutes of a point that begin in [from_ns, to_ns)."""
        read = partial(minutes_held, self._path, point, from_ns, to_ns, self._door)
        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    def forget(self, kind: str) -> None:
        """Open a file anew for the next question: another one has its name now."""
        if self._is_closed:  # a repair that ended while the log was being closed
            return
        self._thread.submit(self._drop, kind == TELEMETRY)

    async def close(self) -> None:
        """Close the readers and end the thread."""
        self._is_closed = True
        loop = asyncio.get_running_loop()
        for reader in self._readers.values():
            await loop.run_in_executor(self._thread, reader.close)
        self._thread.shutdown()

    def _reader(self, telemetry: bool) -> Reader:
        reader = self._readers.get(telemetry)
        if reader is None:
            path = self._path / ("telemetry.db" if telemetry else "records.db")
            reader = self._readers[telemetry] = Reader(path, door=self._door)
        return reader

    def _drop(self, telemetry: bool) -> None:
        reader = self._readers.pop(telemetry, None)
        if reader is not None:
            reader.close()

"""Evidence files on the event loop: one thread stores, reads and collects them, one at a time.

Guarantees of `collect`: a file goes only if no record held names it, it lay there before the
records were looked at, and it was not given (again) since the log was opened without a record
having named it: what is being written, or waits for its record, stays, whatever the clock says.
Where records.db was once set aside as damaged nothing goes: it may name what the present one
does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from buffer.contract import Gap, NotStoredError, Stream
from buffer.database import Reader
from buffer.evidence import EvidenceFiles
from buffer.reading import Reading

ParamT = ParamSpec("ParamT")
ResultT = TypeVar("ResultT")
PAGE_ROWS = 500
"""Rows read in one transaction, so that no reader holds the WAL for long."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What `collect` found.

    orphans: files deleted because no record names them.  missing: files named and gone.
    """

    orphans: int
    missing: int


def orphans(
    files: Collection[bytes], named: Collection[bytes], waiting: Collection[bytes]
) -> set[bytes]:
    """Files that no record names and that do not wait for one. Pure."""
    return set(files) - set(named) - set(waiting)


class Filing:
    """The folder of evidence files and its thread. lost: told what a quota took."""

    def __init__(self, path: Path, quota_bytes: int, lost: Callable[[Gap], None]) -> None:
        self._path = path
        self._files = EvidenceFiles(path / "evidence", quota_bytes)
        self._lost = lost
        self._waiting: set[bytes] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="buffer-files")

    async def run(
        self, work: Callable[ParamT, ResultT], *args: ParamT.args, **kwargs: ParamT.kwargs
    ) -> ResultT:
        """Do blocking work in the thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(work, *args, **kwargs))

    async def put(self, content: bytes) -> bytes:
        """Store a file; durable on return. Gives its SHA-256; raises NotStoredError."""
        try:
            digest, gone = await self.run(self._files.put, content, self._waiting.add)
        except OSError as failure:
            raise NotStoredError(f"evidence file: {failure.strerror}") from failure
        if gone is not None:
            first_ns, last_ns = gone.first_ns, gone.last_ns
            self._lost(Gap(Stream.EVIDENCE, "quota", 0, 0, first_ns, last_ns, gone.count))
        return digest

    async def read(self, sha256: bytes, offset: int, length: int) -> bytes:
        """Part of a file; empty at or past its end. FileNotFoundError if unknown."""
        return await self.run(self._files.read, sha256, offset, length)

    async def collect(self, reading: Reading, named_by: Callable[[bytes], bytes]) -> Collected:
        """Delete files that no record names; named_by(payload) gives a record's file or b""."""
        lying = await self.run(self._files.names)
        named = await self._named(reading, named_by)
        self._waiting -= named
        gone = 0
        if not any(self._path.glob("records.db.set-aside-*")):
            gone = await self.run(self._remove, orphans(lying, named, ()))
        there = await self.run(self._files.names)
        return Collected(gone, len(named - there))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _remove(self, digests: Collection[bytes]) -> int:
        # In the thread that stores: nothing is given between this look and the deletion.
        return self._files.remove(orphans(digests, (), self._waiting))

    async def _named(self, reading: Reading, named_by: Callable[[bytes], bytes]) -> set[bytes]:
        named: set[bytes] = set()
        after = 0
        while True:
            rows = await reading.ask(Stream.EVIDENCE, partial(_page, after=after))
            if not rows:
                return named - {b""}
            named.update(named_by(payload) for _, payload in rows)
            after = rows[-1][0]


def _page(reader: Reader, *, after: int) -> list[tuple[int, bytes]]:
    query = f"SELECT id, payload FROM {{table}} WHERE id > ? ORDER BY id LIMIT {PAGE_ROWS}"
    return [(int(row_id), bytes(payload)) for row_id, payload in
            reader.ask(Stream.EVIDENCE, query, after)]  # fmt: skip

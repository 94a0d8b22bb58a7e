"""Evidence files on the event loop: one thread stores, reads and collects them, one at a time.

Guarantees of `collect`: a file goes only if no record held names it, it lay there before the
records were looked at, and each time that it was given since the log was opened a record that names
it has been committed since: what is being written, or waits for its record, stays, whatever the
clock says, and however many older records name the same content or are evicted meanwhile.
Where records.db was once set aside as damaged, or was missing, nothing goes: it may name what the
present one does not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from buffer.contract import Gap, NotStoredError, Stream
from buffer.evidence import Evicted, EvidenceFiles
from buffer.reader import Reader
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


class Waiting:
    """How often each file was given without a record of it having been committed since. Pure.

    A record that names a file nobody gave since the log was opened takes no later giving's place.
    """

    def __init__(self) -> None:
        self._given: Counter[bytes] = Counter()

    def give(self, digest: bytes) -> None:
        """Take that content was given: a record of it is to come."""
        self._given[digest] += 1

    def committed(self, digest: bytes) -> None:
        """Take that one record that names it has been committed."""
        if self._given[digest] <= 1:
            del self._given[digest]
        else:
            self._given[digest] -= 1

    def files(self) -> set[bytes]:
        """Files that wait for a record."""
        return set(self._given)


def names_uncertain(path: Path) -> bool:
    """Tell whether records may be gone from a data directory that name files still in it."""
    return any(path.glob("records.db.set-aside-*"))


def names_held(reader: Reader, named_by: Callable[[bytes], bytes]) -> set[bytes]:
    """SHA-256 of every file that a record held names; in short transactions."""
    named: set[bytes] = set()
    after = 0
    while rows := _page(reader, after=after):
        named.update(named_by(payload) for _, payload in rows)
        after = rows[-1][0]
    return named - {b""}


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
        self._waiting = Waiting()
        self._committed: list[bytes] = []  # payloads since the last collection, an hour's at most
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
            digest, gone = await self.run(self._put, content)
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
        # What is committed from here on may be missed by the look at the records: it is let go of
        # next time.
        committed, self._committed = self._committed, []
        lying = await self.run(self._release, [named_by(payload) for payload in committed])
        named = await self._named(reading, named_by)
        gone = 0
        if not names_uncertain(self._path):
            gone = await self.run(self._remove, orphans(lying, named, ()))
        there = await self.run(self._files.names)
        return Collected(gone, len(named - there))

    def follow(self, receipt: asyncio.Future[int], payload: bytes) -> None:
        """Let go of the file that an evidence record names once that very record is committed."""

        def settled(done: asyncio.Future[int]) -> None:
            if not done.cancelled() and done.exception() is None:
                self._committed.append(payload)

        receipt.add_done_callback(settled)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _put(self, content: bytes) -> tuple[bytes, Evicted | None]:
        stored = self._files.put(content)
        self._waiting.give(stored[0])
        return stored

    def _release(self, digests: Collection[bytes]) -> set[bytes]:
        """In the thread that stores: what waits is given and let go of there alone."""
        for digest in digests:
            self._waiting.committed(digest)
        return self._files.names()

    def _remove(self, digests: Collection[bytes]) -> int:
        # In the thread that stores: nothing is given between this look and the deletion.
        return self._files.remove(orphans(digests, (), self._waiting.files()))

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

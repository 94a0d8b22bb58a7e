"""Keeps evidence files and evidence records together: orphans go, files that are gone are told.

Guarantees: looks at the start and once an hour; what it deletes and what it misses is an event.
A file without a record is left by a crash between the two, or by an evicted record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import DecodeError

from buffer.filing import Collected
from drivers.contract import Clock
from gateway.sources.timekeeper import Note
from gateway.wire.v1 import uplink_pb2 as wire

EVERY_NS = 3_600 * 10**9


class FileLog(Protocol):
    """What is needed of the buffer."""

    async def collect_files(self, named_by: Callable[[bytes], bytes]) -> Collected:
        """Delete evidence files that no record names."""
        ...


def named_by(payload: bytes) -> bytes:
    """SHA-256 (32 bytes) of the file that an evidence record names; b"" where it names none."""
    try:
        return wire.EvidenceFile.FromString(payload).sha256
    except DecodeError:
        return b""


class FileKeeper:
    """`run` until cancelled; a failure of the disk leaves it and is supervised."""

    def __init__(self, log: FileLog, clock: Clock, note: Note) -> None:
        self._log = log
        self._clock = clock
        self._note = note
        self._missing = 0

    async def run(self) -> None:
        """Look, wait an hour, and so on."""
        while True:
            await self.look()
            await self._clock.sleep_until(self._clock.monotonic_ns() + EVERY_NS)

    async def look(self) -> None:
        """Collect once, and say what was found; files that stay gone are not told again."""
        found = await self._log.collect_files(named_by)
        if found.orphans:
            text = f"{found.orphans} evidence files that no record names were deleted."
            self._note("evidence.collected", "buffer", text, {"files": str(found.orphans)})
        if found.missing > self._missing:
            text = f"{found.missing} evidence files that records name are gone (quota, or damage)."
            self._note("evidence.missing", "buffer", text, {"files": str(found.missing)})
        self._missing = found.missing

"""Evidence files by content: data_dir/evidence/ab/cdef..., named by their SHA-256.

Guarantees: a file is complete and durable before its name exists (temporary file, fsync, rename,
fsync of the folder); equal content is stored once; nothing is ever changed in place. Above the
quota the oldest files go, and `put` says how many; the file just put stays.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Evicted:
    """Files deleted for the quota: how many, and when the oldest and newest of them were stored."""

    count: int
    first_ns: int
    last_ns: int


class EvidenceFiles:
    """The folder of evidence files. Blocking: call it off the event loop, from one thread."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._used_bytes: int | None = None

    def path(self, sha256: bytes) -> Path:
        """Where a file lies, whether it exists or not."""
        name = sha256.hex()
        return self._folder / name[:2] / name[2:]

    def put(self, content: bytes) -> tuple[bytes, Evicted | None]:
        """Store content; durable on return. Gives its SHA-256 (32 bytes), and what had to go."""
        digest = hashlib.sha256(content).digest()
        path = self.path(digest)
        if path.exists() and path.stat().st_size == len(content):
            os.utime(path)  # it belongs to a new record, too: not the first to go
            return digest, None
        self._make_folder(path.parent)
        temporary = path.with_suffix(".part")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.rename(path)
        _sync_folder(path.parent)
        if self._used_bytes is not None:
            self._used_bytes += len(content)
        return digest, self._evict(path)

    def read(self, sha256: bytes, offset: int, length: int) -> bytes:
        """Part of a file; empty at or past its end. FileNotFoundError if unknown."""
        with self.path(sha256).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def names(self) -> set[bytes]:
        """SHA-256 of every whole file."""
        found = (path.parent.name + path.name for path in self._folder.glob("*/*"))
        return {bytes.fromhex(name) for name in found if _NAME.fullmatch(name)}

    def remove(self, digests: Iterable[bytes]) -> int:
        """Delete files; gives how many there were."""
        removed = 0
        for digest in digests:
            path = self.path(digest)
            with suppress(FileNotFoundError):
                size = path.stat().st_size
                path.unlink()
                removed += 1
                if self._used_bytes is not None:
                    self._used_bytes -= size
        return removed

    def _evict(self, newest: Path) -> Evicted | None:
        if self._used_bytes is None:
            for leftover in self._folder.glob("*/*.part"):
                leftover.unlink()
            self._used_bytes = sum(path.stat().st_size for path in self._folder.glob("*/*"))
        if self._used_bytes <= self._quota_bytes:
            return None
        aged = sorted((path.stat().st_mtime_ns, path) for path in self._folder.glob("*/*"))
        gone: list[int] = []
        for at_ns, path in aged:
            if self._used_bytes <= self._quota_bytes:
                break
            if path != newest:
                self._used_bytes -= path.stat().st_size
                path.unlink()
                gone.append(at_ns)
        return Evicted(len(gone), gone[0], gone[-1]) if gone else None

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)
        if folder.parent == self._folder:
            _sync_folder(self._folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

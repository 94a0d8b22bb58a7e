"""Evidence files by content: data_dir/evidence/ab/cdef..., named by their SHA-256.

Guarantees: a file is complete and durable before its name exists (temporary file, fsync, rename,
fsync of the folder); equal content is stored once; nothing is ever changed in place.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


class EvidenceFiles:
    """The folder of evidence files. Blocking: call it off the event loop, from one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used_bytes: int | None = None

    def path(self, sha256: bytes) -> Path:
        """Where a file lies, whether it exists or not."""
        name = sha256.hex()
        return self._folder / name[:2] / name[2:]

    def put(self, content: bytes) -> bytes:
        """Store content; durable on return. Gives its SHA-256 (32 bytes)."""
        digest = hashlib.sha256(content).digest()
        path = self.path(digest)
        if path.exists() and path.stat().st_size == len(content):
            return digest
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
        return digest

    def read(self, sha256: bytes, offset: int, length: int) -> bytes:
        """Part of a file; empty at or past its end. FileNotFoundError if unknown."""
        with self.path(sha256).open("rb") as file:
            file.seek(offset)
            return file.read(length)

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

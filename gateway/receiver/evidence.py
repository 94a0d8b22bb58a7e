"""Evidence files 证据: stored by content, received in parts, resumable.

Guarantees: a file under its final name is complete, synced and has the SHA-256 that names it. A
part file survives reconnects and restarts, so that a clip sent over a thin line is never begun
anew; the parts are trusted only when the whole file's SHA-256 fits.

    DIR/evidence/ab/ab12….thumbnail.jpg    small picture of a file that the gateway withheld
    DIR/evidence/ab/ab12…    complete files        DIR/evidence/part/ab12….LOG    parts, per log

Blocking: call from a thread. One caller per (file, log) at a time.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def evidence_path(folder: Path, name: str) -> Path:
    """Where the complete file is, or will be, below DIR/evidence; name: SHA-256 in hex."""
    return folder / name[:2] / name


class EvidenceFiles:
    """The files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = folder / "part"
        self._parts.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: bytes) -> Path:
        """Return where the complete file is, or will be."""
        return evidence_path(self._folder, sha256.hex())

    def complete(self, sha256: bytes, total_bytes: int | None = None) -> bool:
        """Tell whether the whole file is here; total_bytes: its size, where that is known.

        A disk that lost the end of a file must not have it acknowledged again.
        """
        path = self.path(sha256)
        return path.is_file() and total_bytes in {None, path.stat().st_size}

    def thumbnail(self, sha256: bytes) -> Path:
        """Return where the small picture of a withheld file is, or will be."""
        path = self.path(sha256)
        return path.with_name(path.name + ".thumbnail.jpg")

    def keep_thumbnail(self, sha256: bytes, content: bytes) -> None:
        """Store a small picture, durably; one that is there stays."""
        target = self.thumbnail(sha256)
        if target.is_file():
            return
        part = self._parts / target.name
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        target.parent.mkdir(exist_ok=True)
        part.replace(target)
        for folder in (target.parent, self._folder):
            _sync_folder(folder)

    def held(self, sha256: bytes, log: int) -> int:
        """Count the bytes of a part file; 0 if there is none."""
        try:
            return self._part(sha256, log).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, sha256: bytes, log: int, content: bytes) -> int:
        """Append to the part file; returns the bytes held then."""
        with self._part(sha256, log).open("ab") as file:
            file.write(content)
            return file.tell()

    def finish(self, sha256: bytes, log: int) -> bool:
        """Sync, verify and name the file; False, and the part is dropped, if the hash differs."""
        part = self._part(sha256, log)
        digest = hashlib.sha256()
        with part.open("ab+") as file:
            file.seek(0)
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
            os.fsync(file.fileno())
        if digest.digest() != sha256:
            part.unlink()
            return False
        target = self.path(sha256)
        target.parent.mkdir(exist_ok=True)
        part.replace(target)
        for folder in (target.parent, self._folder):
            _sync_folder(folder)
        return True

    def _part(self, sha256: bytes, log: int) -> Path:
        return self._parts / f"{sha256.hex()}.{log}"


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

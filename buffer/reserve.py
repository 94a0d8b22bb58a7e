"""Disk space kept back for alarms: a pre-allocated file, given up when the disk is full.

Guarantees: `give_up` frees the space at most once; `restore` takes it back once there is room
beyond what telemetry must leave free. Neither ever raises: without a reserve the log still works.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class Reserve:
    """The file `reserve` in the data directory."""

    def __init__(self, path: Path, size_bytes: int, min_free_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._min_free_bytes = min_free_bytes
        self._held = False
        self._given_up = False
        self.restore()

    @property
    def held(self) -> bool:
        """Whether the space is there to be given up."""
        return self._held

    def give_up(self) -> None:
        """Free the space."""
        if self._held:
            with contextlib.suppress(OSError):  # read-only by now: nothing can be freed
                self._path.unlink(missing_ok=True)
                self._held = False

    def restore(self) -> None:
        """Allocate the space if it is not held and the disk has room for it."""
        if self._held or not self._size_bytes:
            return
        try:
            status = os.statvfs(self._path.parent)
            if status.f_bavail * status.f_frsize < self._min_free_bytes + 2 * self._size_bytes:
                return
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(handle, 0, self._size_bytes)
            finally:
                os.close(handle)
        except OSError:
            return
        self._held = True

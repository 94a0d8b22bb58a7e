"""How long the disk itself takes to sync, beside what is being tested.

A commit cannot be faster than the disk it is written to. Where a test bounds what a kill may cost,
this says how much of the wait was the disk's, whoever else was using it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path

PAUSE_S = 0.03
KEPT = 4_000


class SyncProbe:
    """`with SyncProbe(folder)`: a thread that writes 4 KiB and syncs it, again and again."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sync-probe"
        self._syncs: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._began = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sync-probe", daemon=True)

    def __enter__(self) -> SyncProbe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def busy_ms(self, since_s: float, until_s: float) -> float:
        """How much of a span of monotonic time was spent in syncs, one under way included."""
        now = time.monotonic()
        syncs = [*self._syncs, (self._began, now)] if self._began else list(self._syncs)
        spans = (min(end, until_s) - max(start, since_s) for start, end in syncs)
        return sum(max(0.0, span) for span in spans) * 1e3

    def _run(self) -> None:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not self._stop.wait(PAUSE_S):
                os.pwrite(handle, os.urandom(4096), 0)
                self._began = time.monotonic()
                os.fdatasync(handle)
                began, self._began = self._began, 0.0
                self._syncs.append((began, time.monotonic()))
        finally:
            os.close(handle)

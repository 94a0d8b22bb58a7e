"""A FrameSource of tests that shows one picture whenever it is asked, or nothing."""

from __future__ import annotations

import os
import time

import numpy as np

from vision.frames import Frame, LinkState


class Shown:
    """picture: what every frame shows; None: no frame ever comes.

    alive_ns: when its reader last gave a sign of life; None: now, always.
    """

    def __init__(self, picture: np.ndarray | None, alive_ns: int | None = None) -> None:
        self.picture = picture
        self.closed = False
        self._alive_ns = alive_ns
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK)
        self._number = 0

    def start(self) -> None:
        """Nothing to open."""

    def request(self) -> None:
        """Have a frame at once."""
        if self.picture is not None:
            os.eventfd_write(self._descriptor, 1)

    def take(self) -> Frame | None:
        """Give it."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return None
        self._number += 1
        assert self.picture is not None
        return Frame(
            self.picture, self._number, time.monotonic_ns(), time.time_ns(), self._number == 1
        )

    def fileno(self) -> int:
        """Readable while a frame waits."""
        return self._descriptor

    def link(self) -> LinkState:
        """Always well, but for the sign of life."""
        now_ns = time.monotonic_ns()
        alive_ns = now_ns if self._alive_ns is None else self._alive_ns
        return LinkState(now_ns if self.picture is not None else None, alive_ns, "")

    def statistics(self) -> dict[str, float]:
        """No counters."""
        return {}

    def close(self) -> None:
        """Note it."""
        self.closed = True

"""Verifies large files in the background, so that damage far back is found before it is needed.

A start verifies files above VERIFY_WHOLE_BYTES in their newest rows only, to be quick. This thread
then reads all the others once, record by record: hash, chain, and that telemetry decodes. It works
at most a tenth of the time and each question is short. What is wrong is said by `failure`, is told
(`suspect`), and leaves the mark that makes the next start verify and repair the whole file if this
one does not; nothing is written else.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from buffer.contract import BufferPathError, Stream
from buffer.database import STREAMS, verify_marker
from buffer.door import Door
from buffer.inspection import Inspection, Verified

REST = 9
"""Rests so many times as long as it worked."""


class _StoppedError(Exception):
    """The buffer is being closed."""


class Scrubber:
    """`start`, `stop`; `failure` says what is wrong, or "". `done` is set when all is verified."""

    def __init__(
        self, folder: Path, from_bytes: int, suspect: Callable[[str, str], None], door: Door
    ) -> None:
        self._door = door
        self._folder = folder
        self._from_bytes = from_bytes
        self._suspect = suspect
        self._found: dict[str, str] = {}
        self._repaired: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="buffer-scrub", daemon=True)
        self._worked_s = time.monotonic()
        self.done = threading.Event()
        self._failure = ""

    @property
    def failure(self) -> str:
        """What is wrong, or ""."""
        return "; ".join(filter(None, (*self._found.values(), self._failure)))

    def forgive(self, kind: str) -> None:
        """A file was repaired, which verified all of it."""
        self._repaired.add(kind)
        self._found.pop(kind, None)

    def start(self) -> None:
        """Start the thread where a file is large enough."""
        if any(self._is_large(kind) for kind in STREAMS):
            self._thread.start()
        else:
            self.done.set()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _is_large(self, kind: str) -> bool:
        try:
            return (self._folder / f"{kind}.db").stat().st_size > self._from_bytes
        except OSError:
            return False

    def _run(self) -> None:
        try:
            with Inspection(self._folder, self._door) as inspection:
                for kind, streams in STREAMS.items():
                    for stream in streams if self._is_large(kind) else ():
                        self._look(inspection, kind, stream)
        except _StoppedError:
            return
        except (BufferPathError, sqlite3.Error) as failure:
            self._failure = f"the log cannot be verified: {failure}"
        self.done.set()

    def _look(self, inspection: Inspection, kind: str, stream: Stream) -> None:
        self._worked_s = time.monotonic()
        found: Verified = inspection.verify(stream, pause=self._rest)
        if found.why and kind not in self._repaired:
            verify_marker(self._folder / f"{kind}.db").touch()
            text = f"{stream.name.lower()} record {found.bad} is damaged ({found.why})"
            self._found[kind] = text
            self._suspect(kind, text)

    def _rest(self) -> None:
        if self._stop.wait(REST * (time.monotonic() - self._worked_s)):
            raise _StoppedError
        self._worked_s = time.monotonic()

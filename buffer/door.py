"""Opening a file of the log by its name, and putting another in its place: one at a time.

SQLite opens `-wal` and `-shm` by the name of the database, and not when the database is opened but
at its first question. A connection that was opened before a file was set aside and asks after it
reads the former file through the new one's WAL; and because the locks of one process do not hold
against itself, it takes itself for the first, cuts the `-shm` that the new file's writer has mapped
to 3 bytes, and makes it anew: the writer dies of SIGBUS, or loses its index (SQLite 3.40, traced;
sqlite.org/howtocorrupt.html, "Unlinking or renaming a database file while in use").

Guarantees: a connection made by `opened` has asked its first question before a repair moves
anything, or is of the file that the repair has put there. What was opened before stays sound: it
keeps the files that it has.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from types import TracebackType


class Door:
    """One for all threads of a data directory: `with door:` moves files."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        """Keep everybody out; for as long as a few files take to be renamed."""
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let them in."""
        self._lock.release()

    def opened(self, path: Path, *, is_immutable: bool = False) -> sqlite3.Connection:
        """A read-only connection, for any thread; raises sqlite3.Error, also where it reads none.

        is_immutable: nobody writes to the file; for a directory that cannot be written to.
        """
        with self:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if is_immutable else ''}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                connection.execute("PRAGMA user_version").fetchone()
            except BaseException:
                connection.close()
                raise
        return connection

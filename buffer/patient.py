"""Reads that fail are tried again: what a disk did not give once, it often gives the next time.

A bad sector stays bad, and a drive takes seconds to say so: so single rows are tried less often
than what everything else hangs on. A read of the header or the schema that fails makes SQLite
(3.40) say for good that the file is malformed, no database, or lacks its tables (found by
injecting it): such a question is asked of a new connection each time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from buffer.database import DamagedError

ResultT = TypeVar("ResultT")
READ_ATTEMPTS = 16
ROW_ATTEMPTS = 3
FILE_ATTEMPTS = 3
"""Of verifying a whole file."""
UNREADABLE = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ})
"""Of the I/O errors (sqlite.org/rescode.html), those of reading."""

DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""Primary result codes (sqlite.org/rescode.html) of a file that does not hold what it should."""


def is_damage(failure: Exception) -> bool:
    """Tell whether a failure speaks of what is in a file; a full or busy disk does not."""
    code = getattr(failure, "sqlite_errorcode", 0)
    return isinstance(failure, DamagedError) or code & 0xFF in DAMAGE or code in UNREADABLE


def asked(question: Callable[[], ResultT], attempts: int = READ_ATTEMPTS) -> ResultT:
    """What `question` gives at one of the attempts; raises the last failure, or any other."""
    for _ in range(attempts - 1):
        try:
            return question()
        except DamagedError:
            raise  # that was read, and is wrong
        except sqlite3.Error:
            continue
    return question()

"""Reads that fail are tried again: what a disk did not give once, it often gives the next time.

A bad sector stays bad, and a drive takes seconds to say so: so single rows are tried less often
than what everything else hangs on. A read that fails while SQLite looks at the schema makes that
connection say that the file is malformed (3.40, found by injecting it): a question is asked of a
new connection where that is possible, and this answer counts as a failed read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

ResultT = TypeVar("ResultT")
READ_ATTEMPTS = 16
ROW_ATTEMPTS = 3
FILE_ATTEMPTS = 3
"""Of verifying a whole file."""
UNREADABLE = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ})
"""Of the I/O errors (sqlite.org/rescode.html), those of reading."""


def asked(question: Callable[[], ResultT], attempts: int = READ_ATTEMPTS) -> ResultT:
    """What `question` gives at one of the attempts; raises the last failure, or any other."""
    for _ in range(attempts - 1):
        try:
            return question()
        except sqlite3.Error as failure:
            code = getattr(failure, "sqlite_errorcode", 0)
            if code not in UNREADABLE and code & 0xFF != sqlite3.SQLITE_CORRUPT:
                raise
    return question()

"""Whether a data directory that cannot be used may be well again by itself. Pure.

Guarantees: what a disk does (full, read-only, failing) or another program (a file that is locked)
passes; what only a person changes (a file in the folder's place, permissions) does not.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from buffer.contract import BufferPathError

PASSES = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM,
})  # fmt: skip
"""Primary result codes (sqlite.org/rescode.html) that say nothing of what is in the file."""
DISK = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENODEV, errno.ESTALE})
"""errno(3) of a disk that takes or gives nothing now."""
_BY_PEOPLE = frozenset({sqlite3.SQLITE_PERM})


def passes(failure: Exception) -> bool:
    """Tell whether to try again is all that it takes."""
    if isinstance(failure, OSError):
        return failure.errno in DISK
    primary = getattr(failure, "sqlite_errorcode", 0) & 0xFF
    return primary == sqlite3.SQLITE_IOERR or primary in PASSES - _BY_PEOPLE


def unusable(path: Path, failure: Exception, why: str = "") -> BufferPathError:
    """The error to raise, with one sentence."""
    text = f"Data directory {path} cannot be used: {why or failure}."
    return BufferPathError(text, passes=passes(failure))

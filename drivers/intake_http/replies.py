"""Answers: `{success, code, data: [{id, ok, msg}]}`, as the public clients expect them. Pure.

code is the HTTP status, or 207 in an HTTP 200 whose rows were not all taken: judge row by row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from drivers.intake.rows import Accepted, Rejected

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

Receipts = Iterable[tuple[str, str]]
"""(id, reason or "") of each row in order."""


class RefusedError(Exception):
    """The request as a whole is refused. retry_after_s: 0 where trying again helps nobody."""

    def __init__(self, status: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


def receipts(rows: Sequence[Accepted | Rejected]) -> list[tuple[str, str]]:
    """Receipts of record rows."""
    return [(row.id, row.reason if isinstance(row, Rejected) else "") for row in rows]


def taken(rows: Receipts) -> bytes:
    """Answer to a request whose right rows are durable."""
    data = [{"id": name, "ok": not reason, "msg": reason or "stored"} for name, reason in rows]
    success = all(row["ok"] for row in data)
    return _written({"success": success, "code": 200 if success else 207, "data": data})


def refused(error: RefusedError) -> bytes:
    """Answer to a request that is refused as a whole."""
    return _written({"success": False, "code": error.status, "msg": str(error), "data": []})


def check_picture(picture: bytes) -> None:
    """Look at the first bytes; raises RefusedError if they are neither JPEG's nor PNG's."""
    if not picture.startswith((JPEG_MAGIC, PNG_MAGIC)):
        raise RefusedError(415, "the picture is neither JPEG nor PNG by its first bytes")


def _written(answer: object) -> bytes:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


__all__ = ["RefusedError", "check_picture", "receipts", "refused", "taken"]

"""Finds the evidence record of a file in the log, newest first, page by page."""

from __future__ import annotations

from buffer.contract import Stream
from gateway.uplink.file_policy import file_of
from gateway.uplink.sent_log import SentLog

_PAGE = 500
_PAGE_BYTES = 1 << 20


async def find_record(log: SentLog, sha256: bytes) -> int | None:
    """Sequence of the newest record that names this file; None where none is held."""
    bounds = log.bounds(Stream.EVIDENCE)
    stop = bounds.next
    while stop > bounds.first:
        start = max(bounds.first, stop - _PAGE)
        records = await log.read(Stream.EVIDENCE, start, last=stop - 1, max_bytes=_PAGE_BYTES)
        for record in reversed(records):
            file = file_of(record)
            if file is not None and file.sha256 == sha256:
                return record.sequence
        stop = start
    return None

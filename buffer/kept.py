"""What the records writer keeps in memory of what the disk did not take. Pure.

Guarantees: alarms are kept as far as HELD_BYTES goes, in order; every other record, and every alarm
beyond that, is kept as a loss to be counted. Losses, promises and state are always kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from buffer.contract import Gap, Stream
from buffer.database import ROW_OVERHEAD_BYTES
from buffer.jobs import (
    Lost,
    PendingRecord,
    PromiseEviction,
    RecordsJob,
    SaveState,
    TakeOver,
)

HELD_BYTES = 16 * 1024 * 1024
"""Alarms kept in memory while the disk takes none: as much as is pre-allocated for them on it."""


def kept_for_later(
    jobs: Sequence[RecordsJob], error: str, wall_ns: int
) -> tuple[list[RecordsJob], list[PendingRecord]]:
    """What is tried again, and the alarms that are given up because there is no memory for them."""
    kept: list[RecordsJob] = []
    given_up: list[PendingRecord] = []
    cause = "disk_full" if "full" in error else "io_error"
    held_bytes = 0
    for job in jobs:
        if isinstance(job, PendingRecord):
            held_bytes += len(job.payload) + ROW_OVERHEAD_BYTES
            if job.stream is Stream.ALARM and held_bytes <= HELD_BYTES:
                # The same object from now on: what turns out to be stored is told by it.
                kept.append(job if job.held else replace(job, held=True))
                continue
            if job.stream is Stream.ALARM:
                given_up.append(job)
            kept.append(Lost(Gap(job.stream, cause, 0, 0, wall_ns, wall_ns, 1)))
        elif isinstance(job, Lost | PromiseEviction | SaveState | TakeOver):
            kept.append(job)
    return kept, given_up

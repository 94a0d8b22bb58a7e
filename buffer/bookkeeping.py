"""What records.db keeps beside records: cursors, unreported losses; what a file takes on disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from buffer.contract import Gap, Stream
from buffer.database import ROW_OVERHEAD_BYTES, TABLE, Database
from buffer.policy import Held
from buffer.ranges import RangeSet

LOOKED_AT = 10_000
"""Records of one stream that are looked at to evict the oldest."""
FILE_BYTES = (
    "SELECT (page_count - freelist_count) * page_size"
    " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
"""Question for the bytes of a file that hold something."""
SHARE_FROM_BYTES = 1 << 20
"""Below, what an empty file takes (some 60 KB) would count as much as what is in it."""


def page_share(file_bytes: int, counted_bytes: int) -> float:
    """Bytes of the file for each byte that is counted of its rows, at least 1.

    A page of 4,096 bytes holds whole rows, so that rows of a little more than half a page take
    nearly twice their bytes.
    """
    if counted_bytes < SHARE_FROM_BYTES:
        return 1.0
    return max(1.0, file_bytes / counted_bytes)


def ranges_text(ranges: RangeSet) -> str:
    """Ranges as text: start-stop, half-open, comma-separated."""
    return ",".join(f"{start}-{stop}" for start, stop in ranges)


def ranges_of(text: str) -> RangeSet:
    """Undo `ranges_text`; raises ValueError."""
    ranges = RangeSet()
    for piece in filter(None, text.split(",")):
        start, _, stop = piece.partition("-")
        ranges.add(int(start), int(stop))
    return ranges


def load_cursors(database: Database) -> dict[tuple[str, Stream], RangeSet]:
    """Cursors as they were last saved."""
    rows = database.connection.execute("SELECT destination, stream, ranges FROM cursor")
    return {(str(row[0]), Stream(row[1])): ranges_of(row[2]) for row in rows}


def save_cursors(database: Database, cursors: Mapping[tuple[str, Stream], RangeSet]) -> None:
    """Keep cursors as they are now; in the running transaction."""
    database.connection.executemany(
        "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)",
        [
            (destination, int(stream), ranges_text(ranges))
            for (destination, stream), ranges in cursors.items()
        ],
    )


def load_pending_gaps(database: Database) -> list[Gap]:
    """Losses that were not yet reported when the log was last closed or killed."""
    rows = database.connection.execute(
        "SELECT stream, cause, first, last, first_ns, last_ns, count FROM pending_gap"
    )
    return [Gap(Stream(row[0]), *row[1:]) for row in rows]


def save_pending_gaps(database: Database, gaps: Sequence[Gap]) -> None:
    """Keep losses that are not yet reported, instead of those kept; in the running transaction."""
    database.connection.execute("DELETE FROM pending_gap")
    database.connection.executemany(
        "INSERT INTO pending_gap VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (int(gap.stream), gap.cause, gap.first, gap.last, gap.first_ns, gap.last_ns, gap.count)
            for gap in gaps
        ],
    )


def used_bytes(database: Database, stream: Stream) -> int:
    """Payload and row overhead of all that is held of a stream of a file."""
    row = database.connection.execute(
        f"SELECT coalesce(sum(length(payload) + ?), 0) FROM {TABLE[stream]}",
        (ROW_OVERHEAD_BYTES,),
    ).fetchone()
    return int(row[0])


def oldest_ns(database: Database, stream: Stream) -> int | None:
    """When the oldest record held was committed; None where there is none."""
    row = database.connection.execute(
        f"SELECT time_ns FROM {TABLE[stream]} ORDER BY id LIMIT 1"
    ).fetchone()
    return None if row is None else int(row[0])


def oldest_held(database: Database, stream: Stream, live: Collection[int]) -> list[Held]:
    """The oldest records, at most LOOKED_AT, as units of eviction; rows in `live` are kept."""
    rows = database.connection.execute(
        f"SELECT id, time_ns, length(payload) FROM {TABLE[stream]} ORDER BY id LIMIT {LOOKED_AT}"
    )
    return [
        Held(row_id, row_id, at_ns, at_ns, size + ROW_OVERHEAD_BYTES, kept=row_id in live)
        for row_id, at_ns, size in rows
    ]

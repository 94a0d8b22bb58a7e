"""Copying what can be read of a damaged database into a fresh one.

Guarantees: the damaged file is opened read-only and left as it is; only rows that still carry the
hash of their own content are taken; telemetry that lost its key is left out, since it cannot be
decoded. What is missing between the rows taken becomes a gap. Memory does not grow with the file,
nor does the fresh one's WAL: it is committed in pieces, and is whole once SALVAGED stands in it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from buffer.bookkeeping import ranges_of
from buffer.contract import NO_HASH, Gap, Record, Stream, chain_hash
from buffer.database import (
    COLUMNS,
    RECORDS,
    RENEWED_FROM,
    ROW_OVERHEAD_BYTES,
    STREAMS,
    TABLE,
    TELEMETRY,
    Database,
    Head,
    carry_name,
)
from buffer.jobs import EVICTED, RENEWED_CARRY, SALVAGED
from buffer.outcome import Told
from buffer.patient import ROW_ATTEMPTS, UNREADABLE, asked

ROWS_AT_ONCE = 200
PIECE_BYTES = 32 << 20
"""Of payload a transaction: more, and the WAL takes as much room as the copy, once more."""
EMPTY_STRETCH_ROWS = 1 << 20
"""Reading stops after so many unreadable rows in a row, when nothing says how many there were."""


def salvage(damaged: Path, fresh: Database, now_ns: int, told: Told) -> None:
    """Copy what can be read; leaves one gap per stream that lost something under SALVAGED.

    What `told.carry` names is left under `carry_name` as its sequence in the fresh file.
    """
    carry = told.carry
    gaps: list[Gap] = []
    source = _readable(damaged)
    try:
        fresh.begin()
        if fresh.kind == TELEMETRY and told.above:
            _number_from(fresh, max(told.above, asked(lambda: _newest(source))))
        for stream in STREAMS[fresh.kind]:
            taken = _Taken(
                _carried_from(source, stream, carry),
                _catalogues(source) if stream is Stream.EVENT else {},
            )
            gaps += _copy_stream(source, fresh, stream, now_ns, taken, told)
            fresh.set_meta(carry_name(stream), 1 + taken.delivered)
            if taken.catalogues:
                known = list(taken.catalogues.items())
                fresh.connection.executemany("INSERT INTO catalogue VALUES (?, ?)", known)
        if fresh.kind == RECORDS:
            _copy_tables(source, fresh)
            _keep_telemetry_carry(source, fresh, carry)
        else:
            _name_groups(fresh)
        lost = {"at_ns": now_ns, "gaps": [astuple(gap) for gap in gaps]}
        fresh.set_meta(SALVAGED, json.dumps(lost).encode())
        fresh.commit()  # `move_wal` syncs all of it
    finally:
        source.close()


class _Taken:
    """What of a stream was taken, as far as it is asked for later.

    delivered: rows before `from_id`.  catalogues: new rows of those in `wanted`, by hash.
    """

    def __init__(self, from_id: int, wanted: Mapping[int, bytes]) -> None:
        self._from_id = from_id
        self._wanted = wanted
        self._bytes = 0
        self.delivered = 0
        self.catalogues: dict[bytes, int] = {}

    def add(self, row_id: int, new_id: int) -> None:
        """A row was taken under another number."""
        self.delivered += row_id < self._from_id
        if row_id in self._wanted:
            self.catalogues[self._wanted[row_id]] = new_id

    def is_piece(self, payload: bytes) -> bool:
        """Tell whether what was taken since it last did is enough for a transaction."""
        self._bytes += len(payload)
        if self._bytes < PIECE_BYTES:
            return False
        self._bytes = 0
        return True


@dataclass(slots=True)
class _Missing:
    """How many rows are missing, and the last of them."""

    count: int = 0
    last: int = 0

    def add(self, first: int, last: int) -> None:
        """Rows first..last are not there."""
        self.count += last - first + 1
        self.last = last


def _readable(damaged: Path) -> sqlite3.Connection:
    """A connection that has read the schema, if it can be read at all."""

    def opened(*, is_asked: bool = True) -> sqlite3.Connection:
        source = sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True)
        try:
            if is_asked:
                source.execute("SELECT count(*) FROM meta, name").fetchone()
        except sqlite3.Error:
            source.close()
            raise
        return source

    try:
        return asked(opened)
    except sqlite3.Error:
        return opened(is_asked=False)


def _number_from(fresh: Database, above: int) -> None:
    """Begin the rows of telemetry above what was: none is meant by what was said of another."""
    fresh.set_meta(f"base.{Stream.TELEMETRY.value}", above)
    fresh.heads[Stream.TELEMETRY] = Head(above, above + 1, above + 1, NO_HASH)


def _newest(source: sqlite3.Connection) -> int:
    try:
        return int(source.execute("SELECT coalesce(max(id), 0) FROM telemetry").fetchone()[0])
    except sqlite3.DatabaseError as failure:
        if getattr(failure, "sqlite_errorcode", 0) in UNREADABLE:
            raise
        return 0


def gaps_told(told: bytes) -> list[Gap]:
    """What a repair lost, of what it left under SALVAGED."""
    return [Gap(Stream(stream), *rest) for stream, *rest in json.loads(told)["gaps"]]


def carry_from(records: sqlite3.Connection) -> dict[Stream, int]:
    """Per stream the first sequence that some destination has not acknowledged."""
    first: dict[Stream, int] = {}
    for stream, text in records.execute("SELECT stream, ranges FROM cursor"):
        stop = ranges_of(text).contiguous_stop(1)
        first[Stream(stream)] = min(first.get(Stream(stream), stop), stop)
    return first


def _carried_from(source: sqlite3.Connection, stream: Stream, carry: Mapping[Stream, int]) -> int:
    """First row of the damaged file that is not acknowledged everywhere; 0 if none can be told."""
    try:
        return asked(lambda: _meta(source, f"base.{stream.value}", 0)) + carry.get(stream, 1)
    except sqlite3.Error:
        return 0


def _catalogues(source: sqlite3.Connection) -> dict[int, bytes]:
    """Hash of each catalogue kept, by the row of its event."""
    try:
        rows = asked(partial(_all, source, "SELECT event_id, hash FROM catalogue"))
    except sqlite3.Error:
        return {}
    return {int(row_id): bytes(digest) for row_id, digest in rows}


def _keep_telemetry_carry(
    source: sqlite3.Connection, fresh: Database, carry: Mapping[Stream, int]
) -> None:
    """Telemetry names the log id of the damaged file; say where its carrying begins."""
    try:
        query = "SELECT value FROM meta WHERE key = 'log_id'"
        row = asked(lambda: source.execute(query).fetchone())
        fresh.set_meta(EVICTED, asked(lambda: _meta(source, EVICTED, 0)))
    except sqlite3.Error:
        return
    if row is not None:
        fresh.set_meta(RENEWED_FROM, row[0])
        fresh.set_meta(RENEWED_CARRY, carry.get(Stream.TELEMETRY, 1))


def _copy_stream(
    source: sqlite3.Connection,
    fresh: Database,
    stream: Stream,
    now_ns: int,
    taken: _Taken,
    told: Told,
) -> list[Gap]:
    """Copy one stream; `taken` is told each row taken."""
    first_held, last_held = told.held.get(stream, (1, 0))
    try:
        base, anchor, names, top = asked(lambda: _outline(source, stream, told.evicted))
    except sqlite3.Error:
        first_held = max(first_held, told.evicted + 1)
        return [_lost(stream, now_ns, max(0, last_held - first_held + 1))]
    top = last_held if stream in told.held else top  # beyond it nobody was told of
    previous: tuple[int, bytes] | None = None
    key: int | None = None
    missing = _Missing()
    expected = max(anchor[0], told.evicted) + 1
    for row in _readable_rows(source, TABLE[stream], top, after=told.evicted):
        row_id, digest, payload = row[0], row[7], row[12]
        if previous is None:
            expected = min(expected, row_id)  # of a former log id, or kept when others went
        if previous is not None and base < anchor[0] and previous[0] < anchor[0]:
            expected = max(expected, anchor[0] + 1)  # it was kept when those after it were evicted
        if row_id > expected:
            missing.add(expected, row_id - 1)
        expected = row_id + 1
        if (previous is None or previous[0] != row_id - 1) and anchor[0] == row_id - 1:
            previous = anchor
        intact = (
            previous is None
            or previous[0] != row_id - 1
            or row_id <= base
            or chain_hash(previous[1], stream, row_id - base, payload) == digest
        )
        previous = (row_id, digest)
        if row[8] == row_id:
            key = row_id if intact else None
        whole = stream is not Stream.TELEMETRY or (row[8] == key and not _holes(missing, key))
        if not intact or not whole or row[5] not in names or row[6] not in names:
            missing.add(row_id, row_id)
            continue
        taken.add(row_id, fresh.heads[stream].next_id)
        _append(fresh, stream, row, names, key)
        if taken.is_piece(payload):
            fresh.commit()
            fresh.begin(is_synced=False)
    return _gap_of(stream, missing, top, expected, now_ns)


def _outline(
    source: sqlite3.Connection, stream: Stream, evicted: int
) -> tuple[int, tuple[int, bytes], dict[int, bytes], int]:
    """Base of a stream, the row after which all must be there, names, and its newest row."""
    base = _meta(source, f"base.{stream.value}", 0)
    query = "SELECT value FROM meta WHERE key = ?"
    row = source.execute(query, (f"anchor.{stream.value}",)).fetchone()
    anchor_id = _meta(source, f"anchor_id.{stream.value}", base)
    anchor = (anchor_id, NO_HASH if row is None else bytes(row[0]))
    if evicted > anchor_id:  # promised, and not gone yet: what comes after it follows it
        row = source.execute(
            f"SELECT hash FROM {TABLE[stream]} WHERE id = ?", (evicted,)
        ).fetchone()
        anchor = anchor if row is None else (evicted, bytes(row[0]))
    names = {int(key): bytes(value) for key, value in source.execute("SELECT * FROM name")}
    newest = source.execute(f"SELECT coalesce(max(id), 0) FROM {TABLE[stream]}").fetchone()[0]
    return base, anchor, names, int(newest)


def _append(
    fresh: Database, stream: Stream, row: tuple[Any, ...], names: dict[int, bytes], key: int | None
) -> None:
    head = fresh.heads[stream]
    sequence = head.next_id - head.base
    group = sequence
    if stream is Stream.TELEMETRY and key is not None and key != row[0]:
        group = sequence - (row[0] - key)
    fresh.append(
        Record(
            stream=stream,
            sequence=sequence,
            time_ns=row[1],
            monotonic_ns=row[2],
            clock_offset_ns=row[3],
            synchronised=bool(row[4]),
            boot_id=names[row[5]],
            catalogue=names[row[6]],
            previous_hash=head.hash,
            hash=chain_hash(head.hash or NO_HASH, stream, sequence, row[12]),
            group=group,
            first_ns=row[9],
            last_ns=row[10],
            samples=row[11],
            payload=row[12],
        )
    )


def _readable_rows(
    source: sqlite3.Connection, table: str, top: int, *, after: int
) -> Iterator[tuple[Any, ...]]:
    """Every row above `after` that can be read, in order; steps over stretches that cannot."""
    step = ROWS_AT_ONCE if after % ROWS_AT_ONCE == 0 else 1
    skipped = 0
    while after < top and skipped < EMPTY_STRETCH_ROWS:
        query = f"SELECT {COLUMNS} FROM {table} WHERE id > ? AND id <= ? ORDER BY id"
        span = (after, min(after + step, top))
        attempts = 1 if step > 1 else ROW_ATTEMPTS
        try:
            rows = asked(partial(_all, source, query, span), attempts)
        except sqlite3.Error:
            if step > 1:
                step = 1
                continue
            after += 1
            skipped += 1
            continue
        yield from rows
        skipped = 0 if rows else skipped + step
        after += step
        step = ROWS_AT_ONCE if after % ROWS_AT_ONCE == 0 else 1


def _all(
    source: sqlite3.Connection, query: str, arguments: tuple[int, ...] = ()
) -> list[tuple[Any, ...]]:
    return source.execute(query, arguments).fetchall()


def _copy_tables(source: sqlite3.Connection, fresh: Database) -> None:
    for table in ("state", "pending_gap"):
        try:
            rows = asked(partial(_all, source, f"SELECT * FROM {table}"))
        except sqlite3.Error:
            continue
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            fresh.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
    with suppress(sqlite3.Error):  # what was reported already of a repair of either file
        query = f"SELECT * FROM meta WHERE key GLOB '{SALVAGED}.*'"
        taken = asked(partial(_all, source, query))
        fresh.connection.executemany("INSERT INTO meta VALUES (?, ?)", taken)


def _name_groups(fresh: Database) -> None:
    """List the groups taken, but the last, so that they are evicted one by one."""
    fresh.connection.execute(
        "INSERT INTO finished_group SELECT group_id, max(id), min(first_ns), max(last_ns),"
        " max(time_ns), sum(length(payload) + ?), min(catalogue) FROM telemetry"
        " WHERE group_id < (SELECT max(group_id) FROM telemetry) GROUP BY group_id",
        (ROW_OVERHEAD_BYTES,),
    )


def _meta(source: sqlite3.Connection, key: str, default: int) -> int:
    row = source.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return default if row is None else int(row[0])


def _holes(missing: _Missing, key: int | None) -> bool:
    """Tell whether something is missing since the key."""
    return key is None or bool(missing.count and missing.last >= key)


def _gap_of(stream: Stream, missing: _Missing, top: int, expected: int, now_ns: int) -> list[Gap]:
    if expected <= top:
        missing.add(expected, top)
    return [_lost(stream, now_ns, missing.count)] if missing.count else []


def _lost(stream: Stream, now_ns: int, count: int) -> Gap:
    """Gap of a repair; count 0 where nothing says how much there was."""
    return Gap(stream, "corruption", 0, 0, 0, now_ns, count)

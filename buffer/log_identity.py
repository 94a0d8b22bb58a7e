"""Which log id a data directory goes on under, and what is carried into a new one.

The log id stays only when both files are intact, name the same one, and neither is older than
the other says. Otherwise it is new: what no destination has acknowledged gets sequences
1, 2, ... under it, so that it is sent again under a name nobody has seen.
"""

from __future__ import annotations

import secrets

from buffer.contract import Stream
from buffer.database import RECORDS, RENEWED_FROM, STREAMS, Database, carry_name
from buffer.jobs import EVICTED, RENEWED_CARRY, TELEMETRY_HIGH
from buffer.salvage import carry_from


def settle_log_id(
    telemetry: Database, records: Database, notes: list[str], *, sure: bool, is_verified: bool
) -> bytes:
    """The log id to go on under; renumbers where it is new. sure: neither file was repaired."""
    named = [bytes(database.meta("log_id", b"")) for database in (telemetry, records)]
    head = telemetry.heads[Stream.TELEMETRY]
    known = int(records.meta(TELEMETRY_HIGH, 0))
    if sure and named[0] and named[0] == named[1] and head.next_id - head.base > known:
        return named[0]
    log_id = secrets.token_bytes(16)
    if any(named) or not sure:
        notes.append("log id is new: the files do not agree on one past")
    carry = _carry(telemetry, records)
    for database in (telemetry, records):
        database.begin()
        for stream in STREAMS[database.kind]:
            start = database.heads[stream]
            from_id = max(start.first_id, start.base + carry.get(stream, 1))
            from_id = _group_start(database, stream, from_id)
            database.renumber(stream, from_id, log_id, is_verified=is_verified)
            database.delete_meta(carry_name(stream))
        if database.kind == RECORDS:
            database.connection.execute("DELETE FROM cursor")
            database.set_meta(TELEMETRY_HIGH, 0)
            database.set_meta(EVICTED, 0)
        else:
            database.set_meta(RENEWED_FROM, named[0])
        database.commit()
    return log_id


def same_rows(telemetry: Database, records: Database) -> bool:
    """Tell whether rows of telemetry that records.db names are those of this very file.

    True also where a renewal of the log id was cut off between the two; false for a file that is
    new, rebuilt or of another origin, whose rows are counted anew.
    """
    named = [bytes(database.meta("log_id", b"")) for database in (telemetry, records)]
    before = [bytes(database.meta(RENEWED_FROM, b"")) for database in (telemetry, records)]
    return (
        (bool(named[0]) and named[0] in {named[1], before[1]})
        or (bool(named[1]) and named[1] == before[0])
        # records.db was rebuilt, and has no log id yet; telemetry was renewed meanwhile
        or (not named[1] and bool(before[1]) and before[0] == before[1])
    )


def _carry(telemetry: Database, records: Database) -> dict[Stream, int]:
    """Per stream the first sequence, in its file's present numbering, to carry into a new log id.

    Cursors count in the numbering of the log id that records.db names. Telemetry that names
    another was renumbered by a renewal that was cut off, or is yet to be (then records.db kept
    where to begin), or is of unknown origin: then all of it is sent again.
    """
    carry = carry_from(records.connection)
    named = bytes(telemetry.meta("log_id", b""))
    if named != bytes(records.meta("log_id", b"")):
        carry.pop(Stream.TELEMETRY, None)
        if named and named == bytes(records.meta(RENEWED_FROM, b"")):
            carry[Stream.TELEMETRY] = int(records.meta(RENEWED_CARRY, 1))
    for database in (telemetry, records):
        for stream in STREAMS[database.kind]:
            own = int(database.meta(carry_name(stream), 0))
            if own:
                carry[stream] = own
    return carry


def _group_start(database: Database, stream: Stream, from_id: int) -> int:
    if stream is Stream.EVENT:
        query = "SELECT min(event_id) FROM catalogue WHERE event_id IN (SELECT id FROM event)"
        oldest = database.connection.execute(query).fetchone()[0]
        return from_id if oldest is None else min(from_id, int(oldest))
    if stream is not Stream.TELEMETRY:
        return from_id
    row = database.connection.execute(
        "SELECT group_id FROM telemetry WHERE id = ?", (from_id,)
    ).fetchone()
    return from_id if row is None else int(row[0])


def finish_eviction(telemetry: Database, records: Database) -> None:
    """Carry out an eviction that was promised (and reported) before a crash."""
    promised = int(records.meta(EVICTED, 0))
    if promised:
        telemetry.begin()
        telemetry.delete_through(Stream.TELEMETRY, promised)
        telemetry.connection.execute("DELETE FROM finished_group WHERE id <= ?", (promised,))
        telemetry.commit()

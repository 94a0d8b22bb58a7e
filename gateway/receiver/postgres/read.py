"""Reading a PostgreSQL store beside its running receivers.

Guarantees: nothing is locked and no transaction outlives one page of PAGE_RECORDS records, so a
long query never holds back the server's vacuum; a question ends at the newest record that was
there when it began. Memory is bounded by one page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.check import VolatileEntry
from gateway.receiver.contract import (
    NEWEST,
    Derived,
    Log,
    PointNames,
    StoredFault,
    StoredGateway,
    StoredRecord,
    StorePathError,
    point_names,
    stream_key,
)
from gateway.receiver.postgres.connect import Connection, connect, one_line, version
from gateway.receiver.postgres.decide import from_multirange

PAGE_RECORDS = 256
"""Each page looks into every day's index once; at 80 KB a record a page is 20 MB."""


class PostgresReader:
    """Read-only view of one store. `close` it."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    @classmethod
    def open(cls, address: str) -> PostgresReader:
        """Connect; raises StorePathError if there is no store there."""
        try:
            db = connect(address)
            db.execute("SET default_transaction_read_only = on")
            found = version(db)
        except psycopg.Error as error:
            raise StorePathError(f"store postgresql: {one_line(error)}") from error
        if not found:
            db.close()
            raise StorePathError("that PostgreSQL database holds no store of a receiver")
        return cls(db)

    def close(self) -> None:
        """Close; may be called twice."""
        self._db.close()

    def logs(self, gateway: str | None = None) -> list[Log]:
        """Logs by gateway id, then in order of first sight; of one gateway if it is named."""
        rows = self._ask(
            "SELECT logs.id, gateways.name, logs.log_id, logs.status, logs.destination,"
            " logs.source_log_id, logs.filter FROM logs"
            " JOIN gateways ON gateways.id = logs.gateway"
            " WHERE %s::text IS NULL OR gateways.name = %s"
            ' ORDER BY gateways.name COLLATE "C", logs.id',
            gateway,
            gateway,
        )
        return [
            Log(number, name, log_id, status, Derived(*derived))
            for number, name, log_id, status, *derived in rows
        ]

    def records(
        self, log: Log, stream: Stream, first: int = 1, last: int = NEWEST
    ) -> Iterator[StoredRecord]:
        """Records first..last of one stream in order of sequence, up to the newest there now."""
        key = stream_key(log.number, stream)
        newest = self._ask("SELECT head_sequence FROM streams WHERE stream_key = %s", key)
        end = min(newest[0][0], last) if newest else 0
        last = max(first, 1) - 1
        while last < end:
            page = self._ask(
                "SELECT sequence, group_sequence, historical, catalogue, time_ns, received_ns,"
                " samples, payload, monotonic_ns, boot_id, synchronised, source_first"
                " FROM records"
                " WHERE stream_key = %s AND sequence > %s AND sequence <= %s"
                " ORDER BY sequence LIMIT %s",
                key,
                last,
                end,
                PAGE_RECORDS,
            )
            if not page:
                return
            last = page[-1][0]
            yield from map(StoredRecord._make, page)

    def stamp(self, log: Log, stream: Stream, first: int) -> StoredRecord | None:
        """The first record at or after a sequence, without its payload; None if none is."""
        rows = self._ask(
            "SELECT sequence, group_sequence, historical, catalogue, time_ns, received_ns,"
            " samples, ''::bytea, monotonic_ns, boot_id, synchronised, source_first"
            " FROM records WHERE stream_key = %s AND sequence >= %s ORDER BY sequence LIMIT 1",
            stream_key(log.number, stream),
            first,
        )
        return StoredRecord._make(rows[0]) if rows else None

    def points(self, catalogue: bytes) -> PointNames | None:
        """Names of a catalogue's points; None if the store does not hold it."""
        rows = self._ask("SELECT encoded FROM catalogues WHERE hash = %s", catalogue)
        return point_names(rows[0][0]) if rows else None

    def faults(self, log: Log) -> list[StoredFault]:
        """Faults noted of one log, newest last."""
        rows = self._ask(
            "SELECT stream, sequence, kind, reason, last_ns, count, faults.hash FROM faults"
            " JOIN logs ON logs.gateway = faults.gateway AND logs.log_id = faults.log_id"
            " WHERE logs.id = %s ORDER BY last_ns, stream, sequence",
            log.number,
        )
        return [StoredFault(*row) for row in rows]

    def gateway(self, log: Log) -> StoredGateway:
        """Who a log belongs to."""
        (row,) = self._ask(
            "SELECT enterprise, software, last_seen_ns, status FROM gateways WHERE name = %s",
            log.gateway,
        )
        return StoredGateway(*row)

    def acknowledged(self, log: Log, stream: Stream) -> RangeSet:
        """Acknowledged sequences of a stream, declared gaps among them."""
        return self._ranges("acknowledged", log, stream)

    def gaps(self, log: Log, stream: Stream) -> RangeSet:
        """Sequences of a stream that the gateway declared gone."""
        return self._ranges("gone", log, stream)

    def volatile(self, log: Log) -> list[VolatileEntry]:
        """Alarms told under a log that have not come as a record, by time."""
        rows = self._ask(
            "SELECT key, payload, time_ns, monotonic_ns, boot_id FROM volatile_alarms"
            " WHERE log = %s ORDER BY time_ns, key",
            log.number,
        )
        return [VolatileEntry(*row) for row in rows]

    def attachments(self, gateway: str) -> dict[bytes, list[str]]:
        """SHA-256s (hexadecimal) of the evidence of each alarm of a gateway."""
        found: dict[bytes, list[str]] = {}
        rows = self._ask(
            "SELECT alarm_id, sha256 FROM attachments WHERE gateway ="
            " (SELECT id FROM gateways WHERE name = %s) ORDER BY sha256",
            gateway,
        )
        for alarm_id, sha256 in rows:
            found.setdefault(alarm_id, []).append(sha256.hex())
        return found

    def _ranges(self, column: str, log: Log, stream: Stream) -> RangeSet:
        rows = self._ask(
            f"SELECT {column}::text FROM streams WHERE stream_key = %s",
            stream_key(log.number, stream),
        )
        return from_multirange(rows[0][0]) if rows else RangeSet()

    def _ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._db.execute(query.encode(), values).fetchall()

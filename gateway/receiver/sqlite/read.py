"""Reading a store beside its running receiver.

Guarantees: the database is opened read-only; no read transaction outlives one page of PAGE_RECORDS
records, so that a long query never makes the receiver's WAL grow; a query ends at the newest
record that was there when it began. Memory is bounded by one page.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

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
from gateway.receiver.sqlite.store import DATABASE

PAGE_RECORDS = 64
"""At 80 KB, the most a gateway puts into a record, a page is 5 MB."""
_BUSY_MS = 5_000
_SEQUENCES = (1 << 40) - 1


class SqliteReader:
    """Read-only view of one store. `close` it."""

    def __init__(self, folder: Path) -> None:
        """Open; raises StorePathError if there is no readable store in `folder`."""
        self._path = folder / DATABASE
        if not self._path.is_file():
            gateways = (folder / "records.db").is_file()
            hint = (
                "; it is a gateway's data directory: plantgate buffer reads it" if gateways else ""
            )
            raise StorePathError(f"{folder} holds no store ({DATABASE} is not there){hint}")
        try:
            self._db = self._connect()
        except sqlite3.Error as error:
            raise StorePathError(f"store {folder}: {error}") from error

    def close(self) -> None:
        """Close; may be called twice."""
        self._db.close()

    def logs(self, gateway: str | None = None) -> list[Log]:
        """Logs by gateway id, then in order of first sight; of one gateway if it is named."""
        rows = self._db.execute(
            "SELECT logs.id, gateways.name, logs.log_id, logs.status, logs.destination,"
            " logs.source_log_id, logs.filter FROM logs"
            " JOIN gateways ON gateways.id = logs.gateway"
            " WHERE ? IS NULL OR gateways.name = ? ORDER BY gateways.name, logs.id",
            (gateway, gateway),
        )
        return [
            Log(number, name, log_id, status, Derived(*derived))
            for number, name, log_id, status, *derived in rows
        ]

    def records(
        self, log: Log, stream: Stream, first: int = 1, last: int = NEWEST
    ) -> Iterator[StoredRecord]:
        """Records first..last of one stream in order of sequence, up to the newest there now."""
        base = stream_key(log.number, stream) << 40
        (end,) = self._db.execute(
            "SELECT max(id) FROM records WHERE id BETWEEN ? AND ?",
            (base + max(first, 1), base + min(last, _SEQUENCES)),
        ).fetchone()
        last = base + max(first, 1) - 1
        while end is not None and last < end:
            page = self._db.execute(
                "SELECT id, group_sequence, historical, catalogue, time_ns,"
                " received_ns, samples, payload, monotonic_ns, boot_id, source_first, synchronised"
                " FROM records"
                " WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
                (last, end, PAGE_RECORDS),
            ).fetchall()
            if not page:
                return
            last = page[-1][0]
            for number, group, historical, *rest, covers, synchronised in page:
                row = (number - base, group, bool(historical), *rest, bool(synchronised), covers)
                yield StoredRecord._make(row)

    def stamp(self, log: Log, stream: Stream, first: int) -> StoredRecord | None:
        """The first record at or after a sequence, without its payload; None if none is."""
        base = stream_key(log.number, stream) << 40
        row = self._db.execute(
            "SELECT id, group_sequence, historical, catalogue, time_ns, received_ns, samples,"
            " monotonic_ns, boot_id, source_first, synchronised FROM records"
            " WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
            (base + first, base + _SEQUENCES),
        ).fetchone()
        if row is None:
            return None
        number, group, historical, *head, monotonic_ns, boot_id, covers, synchronised = row
        of_it = (number - base, group, bool(historical), *head, b"", monotonic_ns, boot_id)
        return StoredRecord._make((*of_it, bool(synchronised), covers))

    def points(self, catalogue: bytes) -> PointNames | None:
        """Names of a catalogue's points; None if the store does not hold it."""
        row = self._db.execute(
            "SELECT encoded FROM catalogues WHERE hash = ?", (catalogue,)
        ).fetchone()
        if row is None:
            return None
        return point_names(row[0])

    def faults(self, log: Log) -> list[StoredFault]:
        """Faults noted of one log, newest last."""
        rows = self._db.execute(
            "SELECT stream, sequence, kind, reason, last_ns, count, faults.hash FROM faults"
            " JOIN logs ON logs.gateway = faults.gateway AND logs.log_id = faults.log_id"
            " WHERE logs.id = ? ORDER BY last_ns",
            (log.number,),
        )
        return [StoredFault(*row) for row in rows]

    def gateway(self, log: Log) -> StoredGateway:
        """Who a log belongs to."""
        row = self._db.execute(
            "SELECT enterprise, software, last_seen_ns, status FROM gateways WHERE name = ?",
            (log.gateway,),
        ).fetchone()
        return StoredGateway(*row)

    def acknowledged(self, log: Log, stream: Stream) -> RangeSet:
        """Acknowledged sequences of a stream, declared gaps among them."""
        return self._ranges("ranges", log, stream)

    def gaps(self, log: Log, stream: Stream) -> RangeSet:
        """Sequences of a stream that the gateway declared gone."""
        return self._ranges("gaps", log, stream)

    def _ranges(self, table: str, log: Log, stream: Stream) -> RangeSet:
        return RangeSet(
            self._db.execute(
                f"SELECT start, stop FROM {table} WHERE stream_key = ? ORDER BY start",
                (stream_key(log.number, stream),),
            )
        )

    def volatile(self, log: Log) -> list[VolatileEntry]:
        """Alarms told under a log that have not come as a record, by time."""
        rows = self._db.execute(
            "SELECT key, payload, time_ns, monotonic_ns, boot_id FROM volatile_alarms"
            " WHERE log = ? ORDER BY time_ns, key",
            (log.number,),
        )
        return [VolatileEntry(*row) for row in rows]

    def attachments(self, gateway: str) -> dict[bytes, list[str]]:
        """SHA-256s (hexadecimal) of the evidence of each alarm of a gateway."""
        found: dict[bytes, list[str]] = {}
        rows = self._db.execute(
            "SELECT alarm_id, sha256 FROM attachments WHERE gateway ="
            " (SELECT id FROM gateways WHERE name = ?) ORDER BY sha256",
            (gateway,),
        )
        for alarm_id, sha256 in rows:
            found.setdefault(alarm_id, []).append(sha256.hex())
        return found

    def _connect(self) -> sqlite3.Connection:
        modes = ["mode=ro"]
        if not self._path.with_name(DATABASE + "-wal").exists():
            modes.append("immutable=1")  # a copy on read-only media, which nobody writes
        for mode in modes:
            db = sqlite3.connect(f"{self._path.absolute().as_uri()}?{mode}", uri=True)
            try:
                db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
                db.execute("SELECT count(*) FROM gateways").fetchone()
            except sqlite3.OperationalError:
                db.close()
                if mode == modes[-1]:
                    raise
                continue
            return db
        raise AssertionError("one of the modes returned or raised")

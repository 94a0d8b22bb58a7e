"""Partitions of `records`, one a day of the record's own time (UTC).

Guarantees: a day from KEEP_DAYS ago to AHEAD_DAYS ahead gets its partition before its first record
is stored, tomorrow's a day ahead; everything else lies in `records_other`, so that a clock that was
never set cannot make thousands of tables. Rows of a day that waited there move into the partition
that is made for it. Nobody waits long for a partition: where `records_other` is being read (a
backup with pg_dump holds it for hours, a new day comes at 08:00 in Beijing), the day's records go
there for now, and it is tried again every AGAIN_NS.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from psycopg import sql
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled

from gateway.observe.log import logger
from gateway.receiver.postgres.connect import Connection, lock

DAY_NS = 86_400 * 1_000_000_000
KEEP_DAYS = 400
"""A gateway keeps 30 days by default; a year and a month of late history still find their day."""
AHEAD_DAYS = 2
AGAIN_NS = 300 * 1_000_000_000
_LOCK_WAIT = "2s"
"""Everything waits for a commit, alarms too."""
_EPOCH = datetime.date(1970, 1, 1)


def day_of(time_ns: int) -> int:
    """Number of the UTC day, 0 for 1970-01-01."""
    return time_ns // DAY_NS


def partition_of(day: int) -> str:
    """Name of a day's table."""
    return f"records_{_EPOCH + datetime.timedelta(days=day):%Y%m%d}"


class Days:
    """Makes partitions as they are needed; remembers those that are there."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        rows = db.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'records'::regclass"
        )
        self._tried_ns: dict[int, int] = {}
        self._there = {str(name).rpartition(".")[2] for (name,) in rows}

    def make(self, times_ns: Iterable[int], now_ns: int) -> None:
        """Make the partitions that records of these times need. Outside a transaction."""
        today = day_of(now_ns)
        for day in sorted({today + 1, *map(day_of, times_ns)}):
            if not today - KEEP_DAYS <= day <= today + AHEAD_DAYS:
                continue
            name = partition_of(day)
            tried_ns = self._tried_ns.get(day)
            waits = tried_ns is not None and abs(now_ns - tried_ns) < AGAIN_NS
            if name not in self._there and not waits:
                self._try(name, day, now_ns)

    def _try(self, name: str, day: int, now_ns: int) -> None:
        try:
            self._make(name, day)
        except (LockNotAvailable, QueryCanceled, DeadlockDetected) as error:
            self._tried_ns[day] = now_ns
            logger("receiver").warning(
                "day.later", table=name, reason=str(error).partition("\n")[0]
            )
        else:
            self._tried_ns.pop(day, None)
            self._there.add(name)

    def _make(self, name: str, day: int) -> None:
        bounds = {"low": day * DAY_NS, "high": (day + 1) * DAY_NS}
        table = sql.Identifier(name)
        with self._db.transaction():
            self._db.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
            lock(self._db)
            row = self._db.execute("SELECT to_regclass(%s)", (name,)).fetchone()
            if row is not None and row[0] is not None:
                return  # another receiver was first
            self._db.execute("LOCK TABLE records_other IN ACCESS EXCLUSIVE MODE")
            self._db.execute(sql.SQL("CREATE TABLE {} (LIKE records INCLUDING ALL)").format(table))
            self._db.execute(
                sql.SQL(
                    "WITH moved AS (DELETE FROM records_other"
                    " WHERE time_ns >= %(low)s AND time_ns < %(high)s RETURNING *)"
                    " INSERT INTO {} SELECT * FROM moved"
                ).format(table),
                bounds,
            )
            self._db.execute(
                sql.SQL(
                    "ALTER TABLE records ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})"
                ).format(table, *map(sql.Literal, bounds.values()))
            )

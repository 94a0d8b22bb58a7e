"""Connections to PostgreSQL, and the schema.

Guarantees: a connection for writing commits synchronously and to a server that syncs (fsync on) and
takes writes, else it is refused, because an acknowledgement would be a lie; of several hosts one
that takes writes is looked for. Migrations run once, whichever of
several receivers comes first. A server that does not answer is noticed within STALL_SECONDS.
"""

from __future__ import annotations

from importlib import resources

import psycopg
from psycopg.conninfo import conninfo_to_dict

from gateway.receiver.contract import NEWER_SCHEMA, migrations

SCHEMA = "plantgate"
STALL_SECONDS = 30
"""Longer than a fail-over of Patroni (ttl 10 s, measured 9 s) and than any commit of 4 MB."""
_LOCK = 0x706C616E74  # "plant": advisory lock of migrations and partitions
Connection = psycopg.Connection[tuple[object, ...]]


def connect(address: str, *, writes: bool = False) -> Connection:
    """Connect for reading; raises psycopg.Error. writes: to a server that takes writes only."""
    milliseconds = STALL_SECONDS * 1000
    wanted = "read-write" if writes else "any"
    said = conninfo_to_dict(address).get("target_session_attrs")
    return psycopg.connect(
        address,
        target_session_attrs=str(said or wanted),
        autocommit=True,
        connect_timeout=5,
        keepalives_idle=5,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=15_000,
        application_name="plantgate",
        options=f"-c search_path={SCHEMA} -c statement_timeout={milliseconds}"
        f" -c lock_timeout={milliseconds} -c timezone=UTC",
    )


def connect_writer(address: str) -> Connection:
    """Connect for writing and bring the schema up to date; raises psycopg.Error."""
    db = connect(address, writes=True)
    try:
        _demand_durability(db)
        _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _demand_durability(db: Connection) -> None:
    if setting(db, "fsync") != "on":
        raise psycopg.OperationalError("the server runs with fsync off, so it keeps nothing")
    if setting(db, "synchronous_commit") in {"off", "local"}:
        db.execute("SET synchronous_commit = on")


def setting(db: Connection, name: str) -> str:
    """Value of one of the server's settings."""
    row = db.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return str(row[0]) if row else ""


def lock(db: Connection) -> None:
    """Be the only receiver that changes tables, until the end of the transaction."""
    db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def version(db: Connection) -> int:
    """Number of the last migration applied; 0 where there is no store."""
    row = db.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.migrations",)).fetchone()
    if row is None or row[0] is None:
        return 0
    row = db.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()
    return int(str(row[0])) if row else 0


def _migrate(db: Connection) -> None:
    schema = resources.files("gateway.receiver.postgres").joinpath("schema.sql").read_text("utf-8")
    scripts = migrations(schema)
    with db.transaction():
        lock(db)
        done = version(db)
        if done > len(scripts):
            raise psycopg.OperationalError(NEWER_SCHEMA.format(done))
        if not done:
            db.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            db.execute("CREATE TABLE migrations (number integer PRIMARY KEY)")
        for number, script in enumerate(scripts[done:], done + 1):
            db.execute(script.encode())
            db.execute("INSERT INTO migrations VALUES (%s)", (number,))


def one_line(error: psycopg.Error) -> str:
    """First line of what the server or its library said."""
    return str(error).strip().partition("\n")[0]

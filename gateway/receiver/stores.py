"""Which store is meant by what a person wrote after `--store`: a folder, or postgresql://...

Engines that are not named are not imported.
"""

from __future__ import annotations

from pathlib import Path

from gateway.receiver.contract import Reader, Store, StorePathError

_POSTGRES = ("postgresql://", "postgres://")


def is_postgres(target: str) -> bool:
    """Tell whether a target names PostgreSQL; raises StorePathError for another kind of address."""
    if target.startswith(_POSTGRES):
        return True
    if "://" in target:
        text = f"store {target!r} is neither a folder nor postgresql://USER@HOST/DATABASE"
        raise StorePathError(text)
    return False


def open_store(target: str) -> Store:
    """Open or create the store; raises StorePathError if it cannot be used."""
    if is_postgres(target):
        try:
            from gateway.receiver.postgres.store import PostgresStore
        except ImportError as error:
            raise _without_psycopg(error) from None
        return PostgresStore.open(target)
    from gateway.receiver.sqlite.store import SqliteStore

    return SqliteStore.open(Path(target))


def open_reader(target: str) -> Reader:
    """Open a store for reading; raises StorePathError if it is not there."""
    if is_postgres(target):
        try:
            from gateway.receiver.postgres.read import PostgresReader
        except ImportError as error:
            raise _without_psycopg(error) from None
        return PostgresReader.open(target)
    from gateway.receiver.sqlite.read import SqliteReader

    return SqliteReader(Path(target))


def shown(target: str) -> str:
    """The target as it may be printed: without a password."""
    scheme, separator, rest = target.partition("://")
    account, at, place = rest.rpartition("@")
    if not separator or not at:
        return target
    return f"{scheme}://{account.partition(':')[0]}@{place}"


def _without_psycopg(error: ImportError) -> StorePathError:
    if error.name not in {"psycopg", "psycopg_binary", "psycopg_c"} and "pq wrapper" not in str(
        error
    ):
        raise error
    return StorePathError("a PostgreSQL store needs psycopg: pip install 'plantgate[postgres]'")

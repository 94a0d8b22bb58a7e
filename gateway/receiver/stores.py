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


def open_journal(target: str, store: str) -> tuple[Store, Store]:
    """Open a journal in front of a store: the store that takes records, and that for Hellos.

    Raises StorePathError if either cannot be used. Close both.
    """
    if not is_postgres(store):
        raise StorePathError("a journal goes in front of a store in PostgreSQL only")
    try:
        from gateway.receiver.journal.follow import Follower
        from gateway.receiver.journal.greet import GreetingStore
        from gateway.receiver.journal.line import Line
        from gateway.receiver.journal.store import JournalStore, Speakers
    except ImportError as error:
        raise without_nats(error) from None
    from gateway.receiver.journal.address import parse_journal

    address = parse_journal(target)
    behind = open_store(store)
    try:
        line = Line.open(address)
    except BaseException:
        behind.close()
        raise
    follower, speakers = Follower(line), Speakers()
    follower.start()
    return JournalStore(line, speakers), GreetingStore(behind, follower, speakers)


def without_nats(error: ImportError) -> StorePathError:
    """Say how nats-py is installed, if that is what is missing; raises the error if not."""
    if (error.name or "").partition(".")[0] != "nats":
        raise error
    return StorePathError("a journal needs nats-py: pip install 'plantgate[nats,postgres]'")


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

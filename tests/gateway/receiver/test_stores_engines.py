"""Every store: restarts, backups, failures, newer versions, and what is no store."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.contract import (
    Entries,
    Gaps,
    Store,
    StoreFailedError,
    StorePathError,
)
from gateway.receiver.postgres.days import AGAIN_NS
from gateway.receiver.stores import open_reader, open_store, shown
from tests.gateway.receiver.places import (
    DAY_NS,
    NOW_NS,
    Place,
    PostgresPlace,
    chained,
    entry,
    greet,
    held,
    kinds,
    place,
    put,
    store,
)
from tests.peers import postgres

__all__ = ["place", "store"]


def test_everything_is_there_after_a_restart(place: Place) -> None:
    with contextlib.closing(place.store()) as store:
        log = greet(store).log
        put(store, Entries(log, Stream.ALARM, chained(1, 2, 3)))
        put(store, Gaps(log, Stream.EVENT, [(1, 9)]))
    with contextlib.closing(place.store()) as store:
        known = greet(store)
        assert known.log == log
        assert list(known.acknowledged[Stream.ALARM]) == [(1, 4)]
        assert list(known.acknowledged[Stream.EVENT]) == [(1, 9)]
        twin = put(store, Entries(log, Stream.ALARM, [entry(3, 9)]))
        assert twin.refused
    assert kinds(place) == [("chain", 3, 1), ("conflict", 3, 1)]


def test_a_restored_store_says_truly_what_it_lacks_and_takes_it_again(place: Place) -> None:
    records = chained(1, 2, 3, 4, 5)
    with contextlib.closing(place.store()) as store:
        put(store, Entries(greet(store).log, Stream.ALARM, records[:2]))
    place.backup()
    with contextlib.closing(place.store()) as store:
        put(store, Entries(greet(store).log, Stream.ALARM, records[2:]))
    place.restore()
    with contextlib.closing(place.store()) as store:
        known = greet(store)
        assert list(known.acknowledged[Stream.ALARM]) == [(1, 3)]
        again = put(store, Entries(known.log, Stream.ALARM, records))
        assert list(again.acknowledged) == [(1, 6)]
    assert [sequence for sequence, _ in held(place)] == [1, 2, 3, 4, 5]
    assert kinds(place) == []


def test_a_failed_commit_leaves_nothing_and_the_next_one_works(place: Place, store: Store) -> None:
    log = greet(store).log
    good = Entries(log, Stream.ALARM, [entry(1)])
    bad = Entries(1 << 40, Stream.ALARM, [entry(1)])  # no such log
    with pytest.raises((StoreFailedError, OverflowError)):
        store.apply([good, bad], NOW_NS)
    store.reopen()
    assert held(place) == []
    assert list(put(store, good).acknowledged) == [(1, 2)]


def test_a_store_of_a_newer_version_is_left_alone(place: Place) -> None:
    place.store().close()
    place.make_newer()
    with pytest.raises(StorePathError, match="newer version"):
        place.store()


def test_what_is_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorePathError, match="holds no store"):
        open_reader(str(tmp_path))
    with pytest.raises(StorePathError, match="neither a folder nor postgresql"):
        open_store("mysql://db/plant")
    assert shown("postgresql://u:secret@h,i/db") == "postgresql://u@h,i/db"
    assert shown("/var/lib/x@y") == "/var/lib/x@y"


@pytest.mark.peer
def test_a_database_without_a_store_is_named(postgres_server: postgres.Postgres) -> None:
    with pytest.raises(StorePathError, match="holds no store"):
        open_reader(postgres_server.database())
    with pytest.raises(StorePathError, match="does not exist"):
        open_store(postgres_server.address_of("nowhere"))


@pytest.mark.peer
def test_days_have_partitions_and_a_clock_never_set_has_none(
    postgres_server: postgres.Postgres,
) -> None:
    place = PostgresPlace(postgres_server)
    with contextlib.closing(place.store()) as store:
        log = greet(store).log
        ahead = NOW_NS + 5 * DAY_NS
        times = [NOW_NS, NOW_NS - DAY_NS, 1, ahead]
        put(
            store,
            Entries(log, Stream.ALARM, [entry(n, 1, time_ns=t) for n, t in enumerate(times, 1)]),
        )
        assert _tables(place) == {"records_20231113": 1, "records_20231114": 1, "records_other": 2}
        later = put(store, Entries(log, Stream.ALARM, [entry(5, 1, time_ns=ahead)]), ahead)
        assert list(later.acknowledged) == [(5, 6)]
        again = put(store, Entries(log, Stream.ALARM, [entry(4, 1, time_ns=ahead)]), ahead)
        assert list(again.acknowledged) == [(4, 5)]  # it moved along, and is still known
    assert _tables(place)["records_20231119"] == 2
    assert [sequence for sequence, _ in held(place)] == [1, 2, 3, 4, 5]


@pytest.mark.peer
def test_a_new_day_waits_for_nobody_who_reads(postgres_server: postgres.Postgres) -> None:
    """A backup holds every table for hours; what comes after midnight is stored all the same."""
    place = PostgresPlace(postgres_server)
    with contextlib.closing(place.store()) as store, psycopg.connect(place.target) as backup:
        log = greet(store).log
        put(store, Entries(log, Stream.ALARM, [entry(1, time_ns=NOW_NS)]))
        backup.execute("SELECT count(*) FROM plantgate.records_other")
        days = [NOW_NS + 2 * DAY_NS, NOW_NS + 2 * DAY_NS + 1]
        for number, time_ns in enumerate(days, 2):
            taken = put(
                store, Entries(log, Stream.ALARM, [entry(number, time_ns=time_ns)]), days[0]
            )
            assert list(taken.acknowledged) == [(number, number + 1)]
        assert _tables(place)["records_other"] == 2
        backup.rollback()
        later = days[0] + AGAIN_NS
        again = put(store, Entries(log, Stream.ALARM, [entry(2, time_ns=days[0])]), later)
        assert list(again.acknowledged) == [(2, 3)]
    assert _tables(place) == {"records_20231114": 1, "records_20231116": 2}
    assert [sequence for sequence, _ in held(place)] == [1, 2, 3]


@pytest.mark.peer
def test_a_server_that_takes_no_writes_is_no_store(postgres_server: postgres.Postgres) -> None:
    """A standby, or a database that was set read-only because its disk is full."""
    place = PostgresPlace(postgres_server)
    name = place.target.rpartition("/")[2]
    with contextlib.closing(place.store()) as store:
        with psycopg.connect(place.target, autocommit=True) as db:
            db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        with pytest.raises(StoreFailedError, match="cannot be reached"):
            store.reopen()
    with pytest.raises(StorePathError, match="read-only"):
        place.store()
    with place.reading() as reader:
        assert reader.logs() == []


@pytest.mark.peer
def test_what_no_standby_has_is_not_acknowledged(postgres_server: postgres.Postgres) -> None:
    """Somebody cancels a commit that waits for a standby: PostgreSQL says done, with a warning."""
    place = PostgresPlace(postgres_server)
    with contextlib.closing(place.store()) as store, ThreadPoolExecutor(1) as thread:
        work = Entries(greet(store).log, Stream.ALARM, [entry(1)])
        with psycopg.connect(place.target, autocommit=True) as db:
            _standbys(db, "nobody")
            try:
                doing = thread.submit(store.apply, [work], NOW_NS)
                cancelled = (
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                    " WHERE wait_event = 'SyncRep' AND datname = current_database()"
                )
                while not doing.done():
                    db.execute(cancelled.encode())
                    time.sleep(0.05)
                with pytest.raises(StoreFailedError, match="with a warning"):
                    doing.result()
            finally:
                _standbys(db, "")
        store.reopen()
        assert list(put(store, work).acknowledged) == [(1, 2)]
    assert len(held(place)) == 1


def _standbys(db: psycopg.Connection[tuple[object, ...]], names: str) -> None:
    db.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'".encode())
    db.execute("SELECT pg_reload_conf()")
    for _ in range(600):
        row = db.execute("SHOW synchronous_standby_names").fetchone()
        if row == (names,):
            return
        time.sleep(0.05)
    raise AssertionError("the server did not take its configuration")


def _tables(place: Place) -> dict[str, int]:
    with psycopg.connect(place.target) as db:
        rows = db.execute(
            "SELECT tableoid::regclass::text, count(*) FROM plantgate.records GROUP BY 1"
        )
        return {str(name).rpartition(".")[2]: count for name, count in rows}


def test_ranges_of_postgres_read_back() -> None:
    from gateway.receiver.postgres.decide import from_multirange, to_multirange

    for ranges in ([], [(1, 2)], [(1, 4), (9, 1 << 40)]):
        assert from_multirange(to_multirange(RangeSet(ranges))) == RangeSet(ranges)
    assert from_multirange("{[1,4),[9,10)}") == RangeSet([(1, 4), (9, 10)])

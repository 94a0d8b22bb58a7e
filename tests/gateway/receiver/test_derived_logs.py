"""Records that speak for a range of another log: acknowledged whole, chained group by group."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from buffer.contract import Stream
from gateway.receiver.contract import Derived, Entries, Gaps, Greeting, Known, Seen, told_twice
from tests.gateway.receiver.places import (
    LOG_ID,
    NOW_NS,
    FolderPlace,
    Place,
    PostgresPlace,
    chained,
    entry,
    greet,
    kinds,
    put,
)
from tests.gateway.receiver.telemetry import CATALOGUE

COUNTY = Derived("county", LOG_ID, "only points a/*")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.peer)])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return FolderPlace(tmp_path)
    return PostgresPlace(request.getfixturevalue("postgres_server"))


def test_a_record_acknowledges_all_it_speaks_for(there: Place) -> None:
    with contextlib.closing(there.store()) as store:
        greet(store)
        [known] = store.apply([Greeting("G-1", "", "", b"D" * 16, (), COUNTY)], NOW_NS)
        assert isinstance(known, Known)
        assert not known.previous_log, "a derived stream replaces no log"
        encoded = (CATALOGUE.hash, CATALOGUE.encoded)
        key = entry(3, 1, 3, CATALOGUE.hash)._replace(source_first=3)
        tail = entry(7, 2, 3)._replace(source_first=4, previous_hash=key.hash)
        following = entry(8, 3, 8, CATALOGUE.hash)._replace(source_first=8)
        work = Entries(known.log, Stream.TELEMETRY, [key, tail, following], [encoded])
        for _ in range(2):
            assert list(put(store, work).acknowledged) == [(3, 9)]
        put(store, Seen(known.log, b"said"))
    assert not kinds(there), "the key of a derived group follows the log, not the record before"
    with there.reading() as reader:
        raw, derived = reader.logs()
        assert (raw.derived.destination, derived.derived) == ("", COUNTY)
        assert (raw.status, derived.status) == (b"", b"said")
        found = list(reader.records(derived, Stream.TELEMETRY))
        assert [(one.first, one.sequence) for one in found] == [(3, 3), (4, 7), (8, 8)]
        assert list(reader.acknowledged(derived, Stream.TELEMETRY)) == [(3, 9)]


def test_a_chain_that_breaks_inside_a_group_is_noted(there: Place) -> None:
    with contextlib.closing(there.store()) as store:
        [known] = store.apply([Greeting("G-1", "", "", b"D" * 16, (), COUNTY)], NOW_NS)
        assert isinstance(known, Known)
        encoded = (CATALOGUE.hash, CATALOGUE.encoded)
        key = entry(1, 1, 1, CATALOGUE.hash)._replace(source_first=1)
        broken = entry(2, 2, 1)._replace(source_first=2, previous_hash=b"x" * 32)
        put(store, Entries(known.log, Stream.TELEMETRY, [key], [encoded]))
        put(store, Entries(known.log, Stream.TELEMETRY, [broken]))
    assert [kind for kind, _, _ in kinds(there)] == ["chain"]


def test_what_the_log_itself_holds_is_told_once(there: Place) -> None:
    with contextlib.closing(there.store()) as store:
        log = greet(store).log
        put(store, Entries(log, Stream.ALARM, chained(1, 2, 3)))
        put(store, Gaps(log, Stream.ALARM, [(4, 6)]))
        store.apply([Greeting("G-1", "", "", b"D" * 16, (), COUNTY)], NOW_NS)
    with there.reading() as reader:
        raw, derived = reader.logs()
        assert not told_twice(reader, raw, Stream.ALARM)
        assert list(told_twice(reader, derived, Stream.ALARM)) == [(1, 4)]

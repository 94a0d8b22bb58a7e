"""Every store: what a record is, once, in order, and what it is told apart by."""

from __future__ import annotations

import pytest

from buffer.contract import Stream
from gateway.receiver.check import VolatileEntry, volatile_key
from gateway.receiver.contract import (
    Entries,
    Gaps,
    Greeting,
    Known,
    Seen,
    Store,
    Stored,
    Volatile,
    Work,
)
from tests.gateway.receiver.places import (
    DAY_NS,
    LOG_ID,
    NOW_NS,
    Place,
    entry,
    greet,
    held,
    kinds,
    place,
    put,
    store,
)

__all__ = ["place", "store"]


def test_a_record_is_stored_once_however_often_it_comes(place: Place, store: Store) -> None:
    log = greet(store).log
    records = [entry(number) for number in (1, 2, 3)]
    for _ in range(3):
        again = put(store, Entries(log, Stream.ALARM, [*records, records[0]]))
        assert list(again.acknowledged) == [(1, 4)]
    assert held(place) == [(1, b"\1"), (2, b"\1"), (3, b"\1")]


def told(place: Place) -> list[bytes]:
    with place.reading() as reader:
        return [one.payload for log in reader.logs() for one in reader.volatile(log)]


def test_a_volatile_alarm_is_there_once_until_it_comes_as_a_record(
    place: Place, store: Store
) -> None:
    log, other = greet(store).log, greet(store, "G-2").log
    alarms = [
        VolatileEntry(volatile_key(bytes([n])), bytes([n]), NOW_NS + n, n, b"B" * 16)
        for n in (1, 2)
    ]
    for _ in range(2):
        assert put(store, Volatile(log, alarms)).volatile == [one.key for one in alarms]
    put(store, Volatile(other, alarms[:1]))
    assert sorted(told(place)) == [b"\1", b"\1", b"\2"]
    put(store, Entries(log, Stream.ALARM, [entry(1, 1)]))
    assert sorted(told(place)) == [b"\1", b"\2"], "of G-2 it has not come"
    put(store, Entries(log, Stream.EVENT, [entry(1, 2)]))
    assert sorted(told(place)) == [b"\1", b"\2"]
    renewed = greet(store, "G-1", b"R" * 16).log
    put(store, Entries(renewed, Stream.ALARM, [entry(1, 2)]))
    assert told(place) == [b"\1"]


def test_what_corrects_a_time_is_kept(place: Place, store: Store) -> None:
    log = greet(store).log
    lost = entry(2)._replace(monotonic_ns=77, boot_id=b"C" * 16, synchronised=False)
    put(store, Entries(log, Stream.ALARM, [entry(1), lost]))
    with place.reading() as reader:
        [found] = reader.logs()
        first, second = reader.records(found, Stream.ALARM)
    assert (first.monotonic_ns, first.boot_id, first.synchronised) == (1, b"B" * 16, True)
    assert (second.monotonic_ns, second.boot_id, second.synchronised) == (77, b"C" * 16, False)


def test_equal_identity_with_another_hash_is_refused_and_counted(
    place: Place, store: Store
) -> None:
    log = greet(store).log
    put(store, Entries(log, Stream.ALARM, [entry(1, 1)]))
    for _ in range(2):
        refused = put(store, Entries(log, Stream.ALARM, [entry(1, 2), entry(2, 2)]))
        assert [fault.sequence for fault in refused.refused] == [1]
        assert list(refused.acknowledged) == [(2, 3)]
    assert held(place) == [(1, b"\1"), (2, b"\2")]
    assert ("conflict", 1, 2) in kinds(place)


@pytest.mark.parametrize("days", [-1000, -40, -1, 1, 3, 1000])
def test_a_twin_with_another_time_is_refused_too(place: Place, store: Store, days: int) -> None:
    """Where a store is cut into days, the key must hold across the days."""
    log = greet(store).log
    put(store, Entries(log, Stream.ALARM, [entry(1, 1)]))
    twin = put(store, Entries(log, Stream.ALARM, [entry(1, 2, time_ns=NOW_NS + days * DAY_NS)]))
    assert [fault.kind for fault in twin.refused] == ["conflict"]
    same = put(store, Entries(log, Stream.ALARM, [entry(1, 1, time_ns=NOW_NS + days * DAY_NS)]))
    assert list(same.acknowledged) == [(1, 2)]
    assert held(place) == [(1, b"\1")]


def test_streams_logs_and_gateways_do_not_mix(place: Place, store: Store) -> None:
    logs = [
        greet(store, name, log_id).log for name in ("G-1", "G-2") for log_id in (LOG_ID, b"M" * 16)
    ]
    assert len(set(logs)) == 4
    for number, log in enumerate(logs):
        for stream in (Stream.ALARM, Stream.EVENT):
            stored = put(store, Entries(log, stream, [entry(1, number + 1)]))
            assert not stored.refused
    assert held(place) == [(1, bytes([n])) for n in (1, 2, 3, 4)]
    assert held(place, Stream.EVENT) == held(place)


def test_works_of_one_transaction_see_each_other_in_order(place: Place, store: Store) -> None:
    known = greet(store)
    works: list[Work] = [
        Entries(known.log, Stream.ALARM, [entry(1, 1)]),
        Entries(known.log, Stream.ALARM, [entry(1, 2)]),
        Entries(known.log, Stream.ALARM, [entry(1, 1), entry(2, 1)]),
        Gaps(known.log, Stream.ALARM, [(3, 5)]),
        Greeting("G-2", "", "", LOG_ID),
        Seen(known.log, b""),
    ]
    first, twin, third, gap, other, seen = store.apply(works, NOW_NS)
    assert isinstance(first, Stored)
    assert isinstance(twin, Stored)
    assert isinstance(third, Stored)
    assert isinstance(gap, Stored)
    assert isinstance(other, Known)
    assert isinstance(seen, Stored)
    assert (list(first.acknowledged), list(third.acknowledged)) == ([(1, 2)], [(1, 3)])
    assert [fault.kind for fault in twin.refused] == ["conflict"]
    assert list(gap.acknowledged) == [(3, 5)]
    assert list(greet(store).acknowledged[Stream.ALARM]) == [(1, 5)]


def test_ranges_are_what_was_stored_and_what_was_declared_gone(place: Place, store: Store) -> None:
    log = greet(store).log
    for start, stop in [(1, 4), (8, 10), (4, 6), (20, 21)]:
        put(store, Entries(log, Stream.ALARM, [entry(n) for n in range(start, stop)]))
    put(store, Gaps(log, Stream.ALARM, [(6, 7), (12, 15), (13, 16)]))
    expected = [(1, 7), (8, 10), (12, 16), (20, 21)]
    assert list(greet(store).acknowledged[Stream.ALARM]) == expected
    with place.reading() as reader:
        [one] = reader.logs()
        assert list(reader.acknowledged(one, Stream.ALARM)) == expected
        assert list(reader.gaps(one, Stream.ALARM)) == [(6, 7), (12, 16)]


def test_a_record_declared_gone_that_comes_after_all_is_stored(place: Place, store: Store) -> None:
    log = greet(store).log
    put(store, Gaps(log, Stream.ALARM, [(1, 4)]))
    stored = put(store, Entries(log, Stream.ALARM, [entry(2, 2)]))
    assert list(stored.acknowledged) == [(2, 3)]
    assert held(place) == [(2, b"\2")]


def test_a_long_stream_is_read_in_order_whatever_order_it_came_in(
    place: Place, store: Store
) -> None:
    log = greet(store).log
    days = (5, 0, 3, 700)
    for step, day in enumerate(days):
        batch = [entry(step + 4 * n + 1, 1, time_ns=NOW_NS - day * DAY_NS + n) for n in range(200)]
        put(store, Entries(log, Stream.ALARM, batch))
    assert [sequence for sequence, _ in held(place)] == list(range(1, 801))
    assert list(greet(store).acknowledged[Stream.ALARM]) == [(1, 801)]

"""Every store: what a reader finds of a stream between two sequences, and where a period lies."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buffer.contract import Stream
from gateway.receiver.check import Entry
from gateway.receiver.contract import NEWEST, Entries, Store, StoredRecord
from gateway.receiver.corrections import Corrections
from gateway.receiver.spans import MARGIN_NS, span
from tests.gateway.receiver.places import DAY_NS, NOW_NS, Place, entry, greet, place, put, store

__all__ = ["place", "store"]

COUNT = 700
HOUR_NS = DAY_NS // 24
HOLE = range(200, 261)
"""Sequences that never came: more than nothing on either side of a page's end."""


@pytest.fixture
def entries(store: Store) -> list[Entry]:
    """An hour a record over a month, the first of a clock never set; beside other streams."""
    made = [
        entry(n, n % 200, n - n % 7, time_ns=7 if n == 1 else NOW_NS - (COUNT - n) * HOUR_NS)
        ._replace(monotonic_ns=n, historical=n % 3 == 0, synchronised=n != 1, samples=n)
        for n in range(1, COUNT + 1) if n not in HOLE
    ]  # fmt: skip
    log = greet(store).log
    put(store, Entries(log, Stream.ALARM, made[::-1]), NOW_NS + 5)
    put(store, Entries(log, Stream.EVENT, [entry(1, 9)._replace(payload=b"")]))
    put(store, Entries(greet(store, "G-2").log, Stream.ALARM, [entry(n, 8) for n in (1, 900)]))
    return made


def as_read(one: Entry) -> StoredRecord:
    return StoredRecord(
        one.sequence, one.group, one.historical, one.catalogue, one.time_ns, NOW_NS + 5,
        one.samples, one.payload, one.monotonic_ns, one.boot_id, one.synchronised, one.source_first,
    )  # fmt: skip


def from_on(entries: Sequence[Entry], first: int) -> list[StoredRecord]:
    return [as_read(one) for one in entries if one.sequence >= first]


def test_records_between_two_sequences_are_those_and_whole(
    place: Place, entries: list[Entry]
) -> None:
    with place.reading() as reader:
        [log] = reader.logs("G-1")

        @settings(max_examples=50)
        @given(st.integers(-2, COUNT + 5), st.one_of(st.integers(-2, COUNT + 5), st.just(NEWEST)))
        def look(first: int, last: int) -> None:
            found = list(reader.records(log, Stream.ALARM, first, last))
            assert found == [one for one in from_on(entries, first) if one.sequence <= last]

        look()
        assert list(reader.records(log, Stream.ALARM)) == from_on(entries, 1)
        assert list(reader.records(log, Stream.TELEMETRY)) == []


def test_a_stamp_is_the_first_record_from_there_on_without_its_payload(
    place: Place, entries: list[Entry]
) -> None:
    with place.reading() as reader:
        [log] = reader.logs("G-1")

        @settings(max_examples=50)
        @given(st.integers(1, COUNT + 5))
        def look(first: int) -> None:
            after = from_on(entries, first)
            wanted = after[0]._replace(payload=b"") if after else None
            assert reader.stamp(log, Stream.ALARM, first) == wanted

        look()
        assert reader.stamp(log, Stream.ALARM, HOLE[0]) == reader.stamp(log, Stream.ALARM, 261)
        assert reader.stamp(log, Stream.TELEMETRY, 1) is None


def test_what_is_stored_while_somebody_reads_waits_for_the_next_look(
    place: Place, store: Store, entries: list[Entry]
) -> None:
    """A page is a look of its own: the end is that of the beginning, also if more comes."""
    with place.reading() as reader:
        [log] = reader.logs("G-1")
        reading = reader.records(log, Stream.ALARM)
        first = next(reading)
        put(store, Entries(log.number, Stream.ALARM, [entry(COUNT + 1, 1)]))
        assert [first, *reading] == from_on(entries, 1)
        assert len(list(reader.records(log, Stream.ALARM))) == len(entries) + 1


def test_a_period_is_found_in_every_store(place: Place, entries: list[Entry]) -> None:
    with place.reading() as reader:
        [log] = reader.logs("G-1")
        true = Corrections(reader)

        @settings(max_examples=25)
        @given(st.integers(0, COUNT), st.integers(0, 100))
        def look(start: int, hours: int) -> None:
            from_ns = NOW_NS - (COUNT - start) * HOUR_NS
            to_ns = from_ns + hours * HOUR_NS
            found = span(reader, log, Stream.ALARM, true, (from_ns, to_ns))
            assert found is not None
            inside = [one.sequence for one in entries if from_ns <= one.time_ns < to_ns]
            assert all(found.first <= sequence <= found.last for sequence in inside)
            assert found.last - found.first <= hours + 2 * MARGIN_NS // HOUR_NS + len(HOLE) + 3

        look()

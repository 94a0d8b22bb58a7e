"""One suite over all stores: what contract.py promises, each of them keeps.

A `Place` is where a store lives; it can be opened again, copied away and put back, as a person
restores a backup.
"""

from __future__ import annotations

import contextlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.check import Attachment, Entry, Fault, VolatileEntry, volatile_key
from gateway.receiver.contract import (
    NEW_LOG,
    Entries,
    Gaps,
    Greeting,
    Known,
    Reader,
    Seen,
    Store,
    Stored,
    StoreFailedError,
    StorePathError,
    Volatile,
    Work,
)
from gateway.receiver.stores import open_reader, open_store, shown
from tests.gateway.receiver.telemetry import CATALOGUE
from tests.peers import postgres

DAY_NS = 86_400 * 1_000_000_000
NOW_NS = 1_700_000_000_000_000_000
LOG_ID = b"L" * 16


class Place(ABC):
    """Where one store lives."""

    target: str

    def store(self) -> Store:
        return open_store(self.target)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reader]:
        with contextlib.closing(open_reader(self.target)) as reader:
            yield reader

    @abstractmethod
    def backup(self) -> None: ...

    @abstractmethod
    def restore(self) -> None: ...

    @abstractmethod
    def make_newer(self) -> None:
        """Pretend that a later version of the program made it."""


class FolderPlace(Place):
    def __init__(self, folder: Path) -> None:
        self.target = str(folder / "store")
        self._copy = folder / "copy"

    def backup(self) -> None:
        shutil.copytree(self.target, self._copy)

    def restore(self) -> None:
        shutil.rmtree(self.target)
        shutil.copytree(self._copy, self.target)

    def make_newer(self) -> None:
        import sqlite3

        db = sqlite3.connect(f"{self.target}/receiver.db")
        db.execute("PRAGMA user_version = 99")
        db.close()


class PostgresPlace(Place):
    def __init__(self, server: postgres.Postgres) -> None:
        self.server = server
        self.target = server.database()

    def backup(self) -> None:
        self._template(self._name, self._name + "_copy")

    def restore(self) -> None:
        self.server.drop(self.target)
        self._template(self._name + "_copy", self._name)

    def make_newer(self) -> None:
        with psycopg.connect(self.target) as db:
            db.execute("INSERT INTO plantgate.migrations VALUES (99)")

    @property
    def _name(self) -> str:
        return self.target.rpartition("/")[2]

    def _template(self, old: str, new: str) -> None:
        with psycopg.connect(self.server.address, autocommit=True) as db:
            db.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(new), sql.Identifier(old)
                )
            )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.peer)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return FolderPlace(tmp_path)
    return PostgresPlace(request.getfixturevalue("postgres_server"))


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with contextlib.closing(place.store()) as opened:
        yield opened


def entry(
    sequence: int, content: int = 1, group: int = 0, catalogue: bytes = b"", *, time_ns: int = 0
) -> Entry:
    return Entry(
        sequence, bytes([content]) * 32, b"p" * 32, time_ns or NOW_NS + sequence, 1, b"B" * 16, 0,
        True, False, group or sequence, catalogue, 1, bytes([content]),
    )  # fmt: skip


def chained(*contents: int) -> list[Entry]:
    """Records from 1 on, each with the hash of the one before it."""
    hashes = [bytes(32), *(bytes([content]) * 32 for content in contents)]
    return [
        entry(number, content)._replace(previous_hash=hashes[number - 1])
        for number, content in enumerate(contents, 1)
    ]


def greet(store: Store, gateway: str = "G-1", log_id: bytes = LOG_ID, *named: bytes) -> Known:
    [known] = store.apply([Greeting(gateway, "91370800TEST", "test/1", log_id, named)], NOW_NS)
    assert isinstance(known, Known)
    return known


def put(store: Store, work: Work, now_ns: int = NOW_NS) -> Stored:
    [stored] = store.apply([work], now_ns)
    assert isinstance(stored, Stored)
    return stored


def held(place: Place, stream: Stream = Stream.ALARM) -> list[tuple[int, bytes]]:
    with place.reading() as reader:
        return [
            (record.sequence, record.payload)
            for log in reader.logs()
            for record in reader.records(log, stream)
        ]


def kinds(place: Place) -> list[tuple[str, int, int]]:
    with place.reading() as reader:
        return [
            (fault.kind, fault.sequence, fault.count)
            for log in reader.logs()
            for fault in reader.faults(log)
        ]


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


def test_a_log_is_told_the_newest_hash_and_the_log_before_it(place: Place, store: Store) -> None:
    first = greet(store)
    assert (first.previous_log, first.checkpoints.get(Stream.ALARM, [])) == (b"", [])
    put(store, Entries(first.log, Stream.ALARM, chained(*range(1, 30))))
    again = greet(store)
    assert again.previous_log == b""
    newest, *others = again.checkpoints[Stream.ALARM]
    assert newest == (29, bytes([29]) * 32)
    assert all(hashed == bytes([sequence]) * 32 for sequence, hashed in others)
    other = greet(store, "G-1", b"M" * 16)
    assert other.previous_log == LOG_ID
    cut = greet(store, "G-1", b"M" * 16)
    assert cut.previous_log == LOG_ID, "a connection that ended before it was noted hid nothing"
    fault = Fault(0, NEW_LOG, b"", "log M is new")
    put(store, Entries(other.log, Stream.EVENT, (), faults=[fault]))
    assert greet(store, "G-1", b"M" * 16).previous_log == b"", "once"
    assert greet(store).previous_log == b"", "the older log is not new"
    assert greet(store, "G-2", b"N" * 16).previous_log == b""


def test_a_broken_chain_is_stored_and_noted(place: Place, store: Store) -> None:
    log = greet(store).log
    put(store, Entries(log, Stream.ALARM, chained(1, 2)))
    stored = put(store, Entries(log, Stream.ALARM, [entry(3, 3)]))
    assert list(stored.acknowledged) == [(3, 4)]
    assert kinds(place) == [("chain", 3, 1)]
    late = chained(1, 2, 3, 4, 5, 6)
    put(store, Entries(log, Stream.ALARM, late[4:5]))  # 4 is not here: nothing to compare with
    put(store, Entries(log, Stream.ALARM, late[3:4]))  # 3 is, and is the one 4 names
    put(store, Entries(log, Stream.ALARM, late[5:]))
    assert kinds(place) == [("chain", 3, 1)]


def test_deltas_of_a_group_that_waits_for_its_catalogue_wait_too(
    place: Place, store: Store
) -> None:
    name, encoded = CATALOGUE.hash, CATALOGUE.encoded
    log = greet(store, "G-1", LOG_ID, name).log
    key, delta = entry(1, 1, 1, name), entry(2, 2, 1)
    for item in (key, delta):
        stored = put(store, Entries(log, Stream.TELEMETRY, [item]))
        assert stored.needed == [name]
        assert not stored.acknowledged
    other = put(store, Entries(log, Stream.TELEMETRY, [entry(9, 9, 8)]))
    assert list(other.acknowledged) == [(9, 10)]  # its key may come later
    put(store, Entries(log, Stream.EVENT, [], catalogues=[(name, encoded)] * 2))
    stored = put(store, Entries(log, Stream.TELEMETRY, [key, delta]))
    assert list(stored.acknowledged) == [(1, 3)]
    assert greet(store, "G-2", LOG_ID, b"?" * 32, name).catalogues == (name,)
    with place.reading() as reader:
        points = reader.points(name)
        assert points is not None
        assert points.names[1] == "gds-1/AT-101"
        assert reader.points(b"?" * 32) is None


def test_evidence_is_attached_to_its_alarm_once(place: Place, store: Store) -> None:
    log = greet(store).log
    files = [
        Attachment(b"a" * 16, b"s" * 32, "image/jpeg"),
        Attachment(b"a" * 16, b"t" * 32, "video/mp4"),
    ]
    for _ in range(2):
        put(store, Entries(log, Stream.EVENT, [entry(1)], attachments=files))
    with place.reading() as reader:
        assert reader.attachments("G-1") == {b"a" * 16: [(b"s" * 32).hex(), (b"t" * 32).hex()]}
        assert reader.attachments("G-2") == {}


def test_faults_are_counted_and_cut(place: Place, store: Store) -> None:
    log = greet(store).log
    fault = Fault(7, "damaged", b"h" * 32, "x\0" * 1000)
    for step in range(3):
        refused = put(store, Entries(log, Stream.EVIDENCE, [], faults=[fault]), NOW_NS + step)
        assert refused.refused == [fault]
    with place.reading() as reader:
        [noted] = reader.faults(reader.logs()[0])
        assert (noted.count, noted.last_ns, len(noted.reason) <= 500) == (3, NOW_NS + 2, True)
        assert (noted.stream, noted.hash) == (Stream.EVIDENCE, b"h" * 32)


def test_a_gateway_is_known_by_what_it_said_last(place: Place, store: Store) -> None:
    log = greet(store).log
    put(store, Seen(log, b"\x3a\x02ok"), NOW_NS + 5)
    greet(store, "G-0")
    with place.reading() as reader:
        assert [one.gateway for one in reader.logs()] == ["G-0", "G-1"]
        assert [one.log_id for one in reader.logs("G-1")] == [LOG_ID]
        assert reader.logs("G-9") == []
        said = reader.gateway(reader.logs("G-1")[0])
        assert said.status == b"\x3a\x02ok"
        assert (said.enterprise, said.last_seen_ns) == ("91370800TEST", NOW_NS + 5)


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

"""The store against a plain dict: whatever comes, in whatever order, however often it restarts."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.check import Entry
from gateway.receiver.store import (
    DATABASE,
    Entries,
    Gaps,
    Greeting,
    Known,
    Store,
    Stored,
    StorePathError,
)

NOW_NS = 1_700_000_000_000_000_000
CATALOGUE = bytes(range(32))


def entry(sequence: int, content: int, group: int = 0, catalogue: bytes = b"") -> Entry:
    digest = bytes([content]) * 32
    return Entry(
        sequence, digest, b"p" * 32, NOW_NS, 1, b"B" * 16, 0, True, False,
        group or sequence, catalogue, 1, bytes([content]),
    )  # fmt: skip


def greet(store: Store, gateway: str, log_id: bytes = b"L" * 16) -> Known:
    [known] = store.apply([Greeting(gateway, "", "", log_id)], NOW_NS)
    assert isinstance(known, Known)
    return known


def put(store: Store, work: Entries | Gaps) -> Stored:
    [stored] = store.apply([work], NOW_NS)
    assert isinstance(stored, Stored)
    return stored


sequences = st.integers(1, 25)
contents = st.integers(0, 2)
identities = st.tuples(st.sampled_from(["G-1", "G-2"]), st.sampled_from([b"L" * 16, b"M" * 16]))
streams = st.sampled_from([Stream.ALARM, Stream.EVENT])


class StoreMachine(RuleBasedStateMachine):
    """Random pushes of few sequences with few contents, gaps and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self._store = Store.open(self._path)
        self._logs: dict[tuple[str, bytes], int] = {}
        self._model: dict[tuple[int, Stream, int], int] = {}
        self._gone: set[tuple[int, Stream, int]] = set()

    def teardown(self) -> None:
        self._store.close()
        self._folder.cleanup()

    @initialize()
    def begin(self) -> None:
        for gateway in ("G-1", "G-2"):
            for log_id in (b"L" * 16, b"M" * 16):
                self._logs[gateway, log_id] = greet(self._store, gateway, log_id).log

    @rule(
        identity=identities,
        stream=streams,
        records=st.lists(st.tuples(sequences, contents), max_size=12),
    )
    def push(
        self, identity: tuple[str, bytes], stream: Stream, records: list[tuple[int, int]]
    ) -> None:
        log = self._logs[identity]
        stored = put(self._store, Entries(log, stream, [entry(*item) for item in records]))
        for sequence, content in records:
            held = self._model.setdefault((log, stream, sequence), content)
            refused = any(
                (item.sequence, item.hash) == (sequence, bytes([content]) * 32)
                for item in stored.refused
            )
            assert refused == (held != content)
        assert set(_each(stored.acknowledged)) == {
            sequence for sequence, content in records
            if self._model[log, stream, sequence] == content
        }  # fmt: skip

    @rule(identity=identities, stream=streams, start=sequences, count=st.integers(1, 6))
    def declare_gap(
        self, identity: tuple[str, bytes], stream: Stream, start: int, count: int
    ) -> None:
        log = self._logs[identity]
        stored = put(self._store, Gaps(log, stream, [(start, start + count)]))
        assert list(stored.acknowledged) == [(start, start + count)]
        self._gone |= {(log, stream, start + step) for step in range(count)}

    @rule()
    def restart(self) -> None:
        self._store.close()
        self._store = Store.open(self._path)

    @rule(identity=identities, stream=streams, sequence=sequences)
    def fail_in_the_middle(
        self, identity: tuple[str, bytes], stream: Stream, sequence: int
    ) -> None:
        """A work that cannot be stored undoes the whole commit, those before it included."""
        good = Entries(self._logs[identity], stream, [entry(sequence, 9)])
        bad = Entries(1 << 40, stream, [entry(sequence, 9)])  # a key beyond 63 bits
        with pytest.raises((sqlite3.Error, OverflowError)):
            self._store.apply([good, bad], NOW_NS)
        self._store.reopen()

    @invariant()
    def acknowledged_is_what_the_model_holds(self) -> None:
        greetings = [Greeting(gateway, "", "", log_id) for gateway, log_id in self._logs]
        answers = self._store.apply(greetings, NOW_NS)
        for known, log in zip(answers, self._logs.values(), strict=True):
            assert isinstance(known, Known)
            assert known.log == log
            for stream in Stream:
                expected = RangeSet()
                for held_log, held_stream, sequence in [*self._model, *self._gone]:
                    if (held_log, held_stream) == (log, stream):
                        expected.add(sequence)
                assert known.acknowledged[stream] == expected

    @invariant()
    def records_are_what_the_model_holds(self) -> None:
        db = sqlite3.connect(f"file:{self._path / DATABASE}?mode=ro", uri=True)
        rows = db.execute("SELECT id >> 42, (id >> 40) % 4 + 1, id & 0xFFFFFFFFFF, payload"
                          " FROM records").fetchall()  # fmt: skip
        db.close()
        found = {(log, Stream(stream), number): payload[0] for log, stream, number, payload in rows}
        assert found == self._model


def _each(ranges: RangeSet) -> list[int]:
    return [number for start, stop in ranges for number in range(start, stop)]


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_deltas_of_a_group_that_waits_for_its_catalogue_wait_too(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    log = greet(store, "G-1").log
    key, delta = entry(1, 1, 1, CATALOGUE), entry(2, 2, 1)
    for item in (key, delta):
        stored = put(store, Entries(log, Stream.TELEMETRY, [item]))
        assert stored.needed == [CATALOGUE]
        assert not stored.acknowledged
    other = put(store, Entries(log, Stream.TELEMETRY, [entry(9, 9, 8)]))
    assert list(other.acknowledged) == [(9, 10)]  # its key may come later
    put(store, Entries(log, Stream.EVENT, [], catalogues=[(CATALOGUE, b"points")]))
    stored = put(store, Entries(log, Stream.TELEMETRY, [key, delta]))
    assert list(stored.acknowledged) == [(1, 3)]
    store.close()


def test_one_receiver_at_a_time(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(StorePathError, match="in use"):
        Store.open(tmp_path)
    store.close()
    Store.open(tmp_path).close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StorePathError, match="file"):
        Store.open(file)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / DATABASE).write_bytes(b"this is no database" * 100)
    with pytest.raises(StorePathError, match="not a database"):
        Store.open(tmp_path / "store")


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    db = sqlite3.connect(tmp_path / DATABASE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorePathError, match="newer version"):
        Store.open(tmp_path)

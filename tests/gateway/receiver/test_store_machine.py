"""Deduplication against a plain dict: whatever comes, in whatever order, to whichever receiver.

The same machine drives SQLite with one receiver and PostgreSQL with two at once.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.check import Entry
from gateway.receiver.contract import (
    Entries,
    Gaps,
    Greeting,
    Known,
    Store,
    Stored,
    StoreFailedError,
)
from gateway.receiver.stores import open_reader, open_store
from tests.peers import postgres

DAY_NS = 86_400 * 1_000_000_000
NOW_NS = 1_700_000_000_000_000_000
IDENTITIES = [(gateway, log_id) for gateway in ("G-1", "G-2") for log_id in (b"L" * 16, b"M" * 16)]
SETTINGS = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

Sent = tuple[int, int, int]
"""Sequence, content, days before now that the record says it was made."""


def entry(sent: Sent) -> Entry:
    sequence, content, day = sent
    return Entry(
        sequence, bytes([content]) * 32, b"p" * 32, NOW_NS - day * DAY_NS, 1, b"B" * 16, 0,
        True, False, sequence, b"", 1, bytes([content]),
    )  # fmt: skip


sequences = st.integers(1, 25)
records = st.lists(
    st.tuples(sequences, st.integers(0, 2), st.sampled_from([0, 1, 900])), max_size=12
)
identities = st.sampled_from(IDENTITIES)
streams = st.sampled_from([Stream.ALARM, Stream.EVENT])
receivers = st.integers(0, 1)


class StoreMachine(RuleBasedStateMachine):
    """Random pushes of few sequences with few contents, gaps, failures and restarts."""

    count: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self._target = self.place()
        self._stores = [open_store(self._target) for _ in range(self.count)]
        self._logs: dict[tuple[str, bytes], int] = {}
        self._model: dict[tuple[int, Stream, int], int] = {}
        self._gone: set[tuple[int, Stream, int]] = set()

    def place(self) -> str:
        """Make an empty place for a store."""
        raise NotImplementedError

    def store(self, receiver: int) -> Store:
        return self._stores[receiver % self.count]

    def teardown(self) -> None:
        for store in self._stores:
            store.close()

    @initialize()
    def begin(self) -> None:
        greetings = [Greeting(gateway, "", "", log_id) for gateway, log_id in IDENTITIES]
        for identity, known in zip(IDENTITIES, self.store(0).apply(greetings, NOW_NS), strict=True):
            assert isinstance(known, Known)
            self._logs[identity] = known.log

    @rule(receiver=receivers, identity=identities, stream=streams, sent=records)
    def push(
        self, receiver: int, identity: tuple[str, bytes], stream: Stream, sent: list[Sent]
    ) -> None:
        log = self._logs[identity]
        stored = self._put(receiver, Entries(log, stream, [entry(item) for item in sent]))
        for sequence, content, _ in sent:
            held = self._model.setdefault((log, stream, sequence), content)
            refused = any(
                (item.sequence, item.hash) == (sequence, bytes([content]) * 32)
                for item in stored.refused
            )
            assert refused == (held != content)
        assert set(_each(stored.acknowledged)) == {
            sequence for sequence, content, _ in sent
            if self._model[log, stream, sequence] == content
        }  # fmt: skip

    @rule(
        receiver=receivers, identity=identities, stream=streams, start=sequences,
        count=st.integers(1, 6),
    )  # fmt: skip
    def declare_gap(
        self, receiver: int, identity: tuple[str, bytes], stream: Stream, start: int, count: int
    ) -> None:
        log = self._logs[identity]
        stored = self._put(receiver, Gaps(log, stream, [(start, start + count)]))
        assert list(stored.acknowledged) == [(start, start + count)]
        self._gone |= {(log, stream, start + step) for step in range(count)}

    @rule(receiver=receivers)
    def restart(self, receiver: int) -> None:
        self.store(receiver).close()
        self._stores[receiver % self.count] = open_store(self._target)

    @rule(receiver=receivers, identity=identities, stream=streams, sequence=sequences)
    def fail_in_the_middle(
        self, receiver: int, identity: tuple[str, bytes], stream: Stream, sequence: int
    ) -> None:
        """A work that cannot be stored undoes the whole commit, those before it included."""
        good = Entries(self._logs[identity], stream, [entry((sequence, 9, 0))])
        bad = Entries(1 << 40, stream, [entry((sequence, 9, 0))])  # no such log
        with pytest.raises((StoreFailedError, OverflowError)):
            self.store(receiver).apply([good, bad], NOW_NS)
        self.store(receiver).reopen()

    @invariant()
    def acknowledged_is_what_the_model_holds(self) -> None:
        greetings = [Greeting(gateway, "", "", log_id) for gateway, log_id in self._logs]
        answers = self.store(len(self._model)).apply(greetings, NOW_NS)
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
        reader = open_reader(self._target)
        found = {
            (log.number, stream, record.sequence): record.payload[0]
            for log in reader.logs()
            for stream in (Stream.ALARM, Stream.EVENT)
            for record in reader.records(log, stream)
        }
        reader.close()
        assert found == self._model

    def _put(self, receiver: int, work: Entries | Gaps) -> Stored:
        [stored] = self.store(receiver).apply([work], NOW_NS)
        assert isinstance(stored, Stored)
        return stored


def _each(ranges: RangeSet) -> list[int]:
    return [number for start, stop in ranges for number in range(start, stop)]


def test_sqlite_is_the_model(tmp_path: Path) -> None:
    class Machine(StoreMachine):
        def place(self) -> str:
            return tempfile.mkdtemp(dir=tmp_path)

    run_state_machine_as_test(Machine, settings=SETTINGS)


@pytest.mark.peer
def test_two_receivers_over_one_postgres_are_the_model(
    postgres_server: postgres.Postgres,
) -> None:
    class Machine(StoreMachine):
        count = 2

        def place(self) -> str:
            return postgres_server.database()

        def teardown(self) -> None:
            super().teardown()
            postgres_server.drop(self._target)

    run_state_machine_as_test(Machine, settings=settings(SETTINGS, max_examples=8))


@pytest.mark.peer
def test_two_receivers_that_fight_over_one_stream_store_each_record_once(
    postgres_server: postgres.Postgres,
) -> None:
    """Both push the same two streams in opposite orders at the same time, from threads."""
    from concurrent.futures import ThreadPoolExecutor

    target = postgres_server.database()
    stores = [open_store(target) for _ in range(4)]
    logs = [_log_of(stores[0], gateway) for gateway in ("G-1", "G-2")]

    def push(number: int) -> int:
        acknowledged = 0
        for first in range(1, 200, 10):
            order = logs if number % 2 else logs[::-1]
            sent = [
                entry((n, number % 2 if n % 50 == 0 else 0, 0)) for n in range(first, first + 10)
            ]
            works = [Entries(log, Stream.ALARM, sent) for log in order]
            for outcome in stores[number].apply(works, NOW_NS):
                assert isinstance(outcome, Stored)
                acknowledged += len(outcome.acknowledged)
        return acknowledged

    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(push, range(4)))
    for store in stores:
        store.close()
    assert sum(counts) == 4 * 2 * 200 - 2 * 2 * 4  # two of four are refused at 50, 100, 150, 200
    reader = open_reader(target)
    for log in reader.logs():
        assert [record.sequence for record in reader.records(log, Stream.ALARM)] == list(
            range(1, 201)
        )
    reader.close()
    postgres_server.drop(target)


def _log_of(store: Store, gateway: str) -> int:
    [known] = store.apply([Greeting(gateway, "", "", b"L" * 16)], NOW_NS)
    assert isinstance(known, Known)
    return known.log

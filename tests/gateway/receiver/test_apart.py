"""One value that the engine does not take: the works and records beside it are stored."""

from __future__ import annotations

import asyncio

import pytest

from buffer.contract import Stream
from gateway.receiver.check import Attachment
from gateway.receiver.commit import Committer, Turn
from gateway.receiver.contract import (
    Entries,
    Gaps,
    Greeting,
    Outcome,
    Store,
    Stored,
    StoreFailedError,
    UnstorableError,
    Work,
)
from gateway.runtime.clock import SystemClock
from tests.gateway.receiver.places import (
    Place,
    chained,
    entry,
    greet,
    held,
    kinds,
    place,
    put,
    store,
)

__all__ = ["place", "store"]
ODD = 1 << 70


def test_a_store_says_which_fault_is_one_of_a_value(place: Place, store: Store) -> None:
    log = greet(store).log
    bad = entry(2)._replace(time_ns=0, monotonic_ns=ODD)
    work = Entries(log, Stream.TELEMETRY, [entry(1, catalogue=b"C" * 32)], [(b"C" * 32, b"")])
    with pytest.raises(UnstorableError):
        store.apply([work, Entries(log, Stream.ALARM, [bad])], 1)
    again = Entries(log, Stream.TELEMETRY, [entry(1, catalogue=b"C" * 32)])
    assert put(store, again).needed == [b"C" * 32], "its catalogue was undone with it"


async def test_what_cannot_be_stored_fails_alone(place: Place, store: Store) -> None:
    log = greet(store).log
    first, second, third, fourth = chained(1, 2, 3, 4)
    second = second._replace(monotonic_ns=ODD)
    defines = [(b"C" * 32, b"")]
    works: list[Work] = [
        Entries(log, Stream.ALARM, [first, second, third], defines, [Attachment(b"A", b"S", "x")]),
        Gaps(log, Stream.EVENT, [(1, 5)]),
        Greeting("G-2\0" if "postgres" in place.target else "G-2\ud800", "", "", b"M" * 16),
        Entries(log, Stream.ALARM, [fourth]),
    ]
    committer = Committer(store, SystemClock())
    results: list[Outcome | BaseException] = []
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        futures = [await committer.submit(work, 1, Turn.URGENT) for work in works]
        group.create_task(committer.run())
        for future in futures:
            try:
                results.append(await future)
            except StoreFailedError as error:
                results.append(error)
        committer.stop()
    one, gaps, greeting, other = results
    assert isinstance(one, Stored)
    assert list(one.acknowledged) == [(1, 2), (3, 4)]
    assert [(fault.sequence, fault.kind) for fault in one.refused] == [(2, "damaged")]
    assert isinstance(gaps, Stored)
    assert isinstance(greeting, StoreFailedError)
    assert isinstance(other, Stored)
    assert list(other.acknowledged) == [(4, 5)]
    assert [sequence for sequence, _ in held(place)] == [1, 3, 4]
    assert ("damaged", 2, 1) in kinds(place)
    with place.reading() as reader:
        assert reader.points(b"C" * 32) is not None
        assert reader.attachments("G-1") == {b"A": [b"S".hex()]}


async def test_a_fault_of_the_program_ends_sessions_and_not_the_receiver() -> None:
    class Broken:
        def apply(self, *_: object) -> list[Outcome]:
            raise ZeroDivisionError

        def probe(self, now_ns: int) -> None: ...

        def reopen(self) -> None: ...

        def close(self) -> None: ...

    told: list[str] = []
    committer = Committer(Broken(), SystemClock(), told.append)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(committer.run())
        for _ in range(2):
            future = await committer.submit(Gaps(1, Stream.ALARM, [(1, 2)]), 1, Turn.URGENT)
            with pytest.raises(StoreFailedError, match="ZeroDivisionError"):
                await future
        committer.stop()
    assert len(told) == 2

"""Receivers and consumers around a real JetStream, and what they have stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buffer.contract import Stream
from gateway.receiver.check import check_push
from gateway.receiver.contract import Entries
from gateway.receiver.evidence import EvidenceFiles
from gateway.receiver.journal.address import parse_journal
from gateway.receiver.journal.consume import DURABLES, Consumer
from gateway.receiver.journal.line import Line
from gateway.receiver.journal.message import Speaker
from gateway.receiver.journal.store import JournalStore, Speakers
from gateway.receiver.postgres.store import PostgresStore
from gateway.receiver.service import Receiver
from gateway.receiver.stores import open_journal, open_reader
from gateway.runtime.clock import SystemClock
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import WireGateway
from tests.gateway.receiver.serving import serving
from tests.peers import jetstream, postgres

TIMEOUT_S = 100


@pytest.fixture(scope="module")
def jet() -> Iterator[jetstream.JetStream]:
    jetstream.require()
    server = jetstream.JetStream()
    server.start()
    yield server
    server.close()


@pytest.fixture
def journal(jet: jetstream.JetStream, request: pytest.FixtureRequest) -> str:
    """A stream of this test's own."""
    name = "".join(letter if letter.isalnum() else "_" for letter in request.node.name)
    return jet.address.replace("/PLANTGATE", f"/{name}")


@pytest.fixture
def target(postgres_server: postgres.Postgres) -> str:
    return postgres_server.database()


@contextlib.asynccontextmanager
async def receiver(journal: str, target: str, files: Path) -> AsyncIterator[str]:
    store, greetings = await asyncio.to_thread(open_journal, journal, target)
    with contextlib.closing(store), contextlib.closing(greetings):
        clock = SystemClock()
        async with serving(
            Receiver(store, EvidenceFiles(files), clock, None, greetings=greetings)
        ) as port:
            yield f"127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def consumer(
    journal: str, target: str, kind: type[PostgresStore] = PostgresStore, **how: Any
) -> AsyncIterator[None]:
    line = await asyncio.to_thread(Line.open, parse_journal(journal))
    stores = [await asyncio.to_thread(kind.open, target) for _ in DURABLES]
    consumers = [
        Consumer(line, lane, store, SystemClock(), **how)
        for lane, store in zip(DURABLES, stores, strict=True)
    ]
    runs = [line.begin(one.run()) for one in consumers]
    try:
        yield
    finally:
        for one in consumers:
            line.soon(one.stop)
        for run in runs:
            await asyncio.wrap_future(run)
        for store in stores:
            store.close()
        await asyncio.to_thread(line.close)


def alarm(text: str) -> bytes:
    return wire.Alarm(alarm_id=b"a" * 16, source="gds-1/AT-101", text=text).SerializeToString()


def told(gateway: WireGateway, stream: int = wire.STREAM_ALARM) -> set[int]:
    return {
        number
        for held in gateway.welcome.acknowledged
        if held.stream == stream
        for item in held.ranges
        for number in range(item.start, item.stop)
    }


def stored(target: str, stream: Stream = Stream.ALARM) -> list[bytes]:
    with contextlib.closing(open_reader(target)) as reader:
        return [one.payload for log in reader.logs() for one in reader.records(log, stream)]


async def until(look: Callable[[], bool]) -> None:
    """Look again and again, in a thread, until it is so."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            if await asyncio.to_thread(look):
                return
            await asyncio.sleep(0.1)


async def stored_in_time(target: str, count: int, stream: Stream = Stream.ALARM) -> list[bytes]:
    await until(lambda: len(stored(target, stream)) >= count)
    return stored(target, stream)


def left(journal: str) -> int:
    """Messages in the journal."""
    with contextlib.closing(Line.open(parse_journal(journal))) as line:
        first, last = line.call(line.extent)
        return last + 1 - first


@contextlib.contextmanager
def publisher(journal: str, *catalogues: bytes) -> Iterator[Callable[[Stream, wire.Record], None]]:
    """Publish records as a receiver does that knows these catalogues, one message each."""
    line, speakers = Line.open(parse_journal(journal)), Speakers()
    speakers.learn(catalogues)
    log = speakers.number(Speaker("G-1", "91370800TEST", "test/1", b"L" * 16))

    def publish(stream: Stream, record: wire.Record) -> None:
        push = wire.Push(stream=wire.Stream.ValueType(int(stream)), records=[record])
        entries = check_push(push, b"B" * 16).entries
        JournalStore(line, speakers).apply([Entries(log, stream, entries)], 1)

    with contextlib.closing(line):
        yield publish

"""Receivers with a journal in a real JetStream, in front of a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from buffer.contract import Stream
from gateway.receiver.check import check_push, volatile_key
from gateway.receiver.contract import (
    Entries,
    Outcome,
    Stored,
    StoreFailedError,
    StorePathError,
    Work,
)
from gateway.receiver.corrections import Corrections
from gateway.receiver.evidence import EvidenceFiles
from gateway.receiver.journal.address import parse_journal
from gateway.receiver.journal.consume import DURABLES, Consumer
from gateway.receiver.journal.line import Line
from gateway.receiver.journal.message import URGENT, Message, Speaker
from gateway.receiver.journal.store import JournalStore, Speakers
from gateway.receiver.notices import alarm_rows
from gateway.receiver.postgres.journals import Arrived
from gateway.receiver.postgres.store import PostgresStore
from gateway.receiver.service import Receiver
from gateway.receiver.stores import open_journal, open_reader
from gateway.runtime.clock import SystemClock
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import Chain, WireGateway
from tests.gateway.receiver.serving import serving
from tests.gateway.receiver.telemetry import Telemetry, batch
from tests.peers import jetstream, postgres

pytestmark = pytest.mark.peer
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


async def test_a_gateway_that_changes_receivers_in_mid_stream_is_stored_once(
    tmp_path: Path, journal: str, target: str
) -> None:
    chain = Chain(Stream.ALARM)
    records = [chain.record(alarm(f"{number}")) for number in range(300)]
    acknowledged: set[int] = set()
    async with (
        receiver(journal, target, tmp_path) as first,
        receiver(journal, target, tmp_path) as second,
    ):
        for turn in range(6):
            # Nothing consumes at first: what is acknowledged is in the journal alone.
            moving = consumer(journal, target) if turn > 2 else contextlib.nullcontext()
            async with moving, WireGateway((first, second)[turn % 2]) as gateway:
                assert acknowledged <= told(gateway), "what one acknowledged, the other must know"
                for start in range(0, 300, 10):
                    await gateway.push(Stream.ALARM, *records[start : start + 10])
                acknowledged |= await gateway.acknowledged(1)  # and away, the rest under way
        async with WireGateway(second) as gateway:
            await gateway.push(Stream.ALARM, *records)
            assert len(await gateway.acknowledged(300)) == 300
    async with consumer(journal, target):
        found = await stored_in_time(target, 300)
    assert found == [record.payload for record in records]
    with contextlib.closing(open_reader(target)) as reader:
        [log] = reader.logs()
        assert reader.faults(log) == []


async def test_a_catalogue_and_its_telemetry_come_through(
    tmp_path: Path, journal: str, target: str
) -> None:
    telemetry = Telemetry()
    record = telemetry.record(batch([1, 4], np.array([1.5, 2.5])))
    async with (
        consumer(journal, target),
        receiver(journal, target, tmp_path) as first,
        receiver(journal, target, tmp_path) as second,
    ):
        async with WireGateway(first) as bulk:
            await bulk.push(Stream.TELEMETRY, record)
            assert (await bulk.next()).need_catalogue.hashes == [telemetry.catalogue.hash]
            async with WireGateway(second, lane=wire.LANE_PRIORITY) as priority:
                await priority.push(Stream.EVENT, telemetry.event())
                await priority.acknowledged(1)
            async with WireGateway(first, lane=wire.LANE_PRIORITY,
                                   catalogues=[telemetry.catalogue.hash]) as again:  # fmt: skip
                assert again.welcome.catalogues_held == [telemetry.catalogue.hash]
            await bulk.push(Stream.TELEMETRY, record)
            assert await bulk.acknowledged(1) == {1}
        await stored_in_time(target, 1, Stream.TELEMETRY)


async def test_receivers_go_on_while_the_store_is_away(tmp_path: Path, journal: str) -> None:
    server = postgres.Postgres()
    server.start()
    target = server.database()
    chain = Chain(Stream.ALARM)
    records = [chain.record(alarm(f"{number}")) for number in range(40)]
    try:
        async with consumer(journal, target), receiver(journal, target, tmp_path) as address:
            async with WireGateway(address) as gateway:
                await gateway.push(Stream.ALARM, *records[:10])
                await gateway.acknowledged(10)
                await stored_in_time(target, 10)
                await asyncio.to_thread(server.stop)
                await gateway.push(Stream.ALARM, *records[10:20])
                assert await gateway.acknowledged(10) == set(range(11, 21))
            async with WireGateway(address) as gateway:  # from memory and the journal
                assert told(gateway) == set(range(1, 21))
                await gateway.push(Stream.ALARM, *records[20:30])
                assert await gateway.acknowledged(10) == set(range(21, 31))
            stranger = WireGateway(address, gateway_id="G-2", log_id=b"M" * 16)
            with pytest.raises(Exception, match="was not greeted here before"):
                await stranger.__aenter__()
            await asyncio.to_thread(server.start)
            found = await stored_in_time(target, 30)
            assert found == [record.payload for record in records[:30]]
            async with asyncio.timeout(TIMEOUT_S):
                while True:
                    try:
                        async with WireGateway(address, gateway_id="G-2", log_id=b"M" * 16):
                            break
                    except Exception:
                        await asyncio.sleep(0.2)
            async with WireGateway(address) as gateway:
                assert told(gateway) == set(range(1, 31))
    finally:
        server.close()


async def test_a_journal_that_is_killed_loses_nothing(tmp_path: Path, target: str) -> None:
    server = jetstream.JetStream()
    server.start()
    chain = Chain(Stream.ALARM)
    records = [chain.record(alarm(f"{number}")) for number in range(30)]
    acknowledged: set[int] = set()
    try:
        async with (
            consumer(server.address, target),
            receiver(server.address, target, tmp_path) as address,
        ):
            async with WireGateway(address) as gateway:
                await gateway.push(Stream.ALARM, *records[:10])
                await gateway.acknowledged(10)
                await asyncio.to_thread(server.kill)
                await gateway.push(Stream.ALARM, *records[10:])
                await asyncio.to_thread(server.start)
                with contextlib.suppress(Exception):  # ended, if it took longer than it waits
                    acknowledged = await gateway.acknowledged(20)
            async with asyncio.timeout(TIMEOUT_S):
                while acknowledged < set(range(1, 31)):
                    with contextlib.suppress(Exception):
                        async with WireGateway(address) as gateway:
                            acknowledged |= told(gateway)
                            await gateway.push(Stream.ALARM, *records)
                            acknowledged |= await gateway.acknowledged(30)
            assert await stored_in_time(target, 30) == [record.payload for record in records]
    finally:
        server.close()


class _Forgetful(PostgresStore):
    """A store whose answer to the first commit is lost on its way, after it happened."""

    lost = False

    def take(self, works: Sequence[Work], now_ns: int, arrived: Arrived) -> list[Outcome]:
        """Commit, and fail once."""
        outcomes = super().take(works, now_ns, arrived)
        if not type(self).lost:
            type(self).lost = True
            raise StoreFailedError("the connection was lost after the commit")
        return outcomes


async def test_what_was_committed_and_not_acknowledged_comes_again_and_is_stored_once(
    tmp_path: Path, journal: str, target: str
) -> None:
    chain = Chain(Stream.ALARM)
    records = [chain.record(alarm(f"{number}")) for number in range(5)]
    async with receiver(journal, target, tmp_path) as address, WireGateway(address) as gateway:
        await gateway.push(Stream.ALARM, *records)
        await gateway.acknowledged(5)
        async with consumer(journal, target, _Forgetful):
            await stored_in_time(target, 5)
            await until(lambda: not _left(journal))
    assert _Forgetful.lost
    assert stored(target) == [record.payload for record in records]


def _left(journal: str) -> int:
    """Messages in the journal."""
    with contextlib.closing(Line.open(parse_journal(journal))) as line:
        first, last = line.call(line.extent)
        return last + 1 - first


async def test_another_record_of_one_identity_is_set_aside_and_noted(
    tmp_path: Path, journal: str, target: str
) -> None:
    first, twin = Chain(Stream.ALARM).record(alarm("1")), Chain(Stream.ALARM).record(alarm("2"))
    async with (
        consumer(journal, target),
        receiver(journal, target, tmp_path) as address,
        WireGateway(address) as gateway,
    ):
        await gateway.push(Stream.ALARM, first)
        await gateway.acknowledged(1)
        await stored_in_time(target, 1)
        await gateway.push(Stream.ALARM, twin)
        await gateway.acknowledged(1)
        await until(lambda: bool(_aside(target)))
    assert [wire.Record.FromString(one).payload for one in _aside(target)] == [twin.payload]
    assert stored(target) == [first.payload]
    with contextlib.closing(open_reader(target)) as reader:
        assert [fault.kind for fault in reader.faults(reader.logs()[0])] == ["conflict"]


def _aside(target: str) -> list[bytes]:
    with psycopg.connect(target) as db:
        return [bytes(row[0]) for row in db.execute("SELECT content FROM plantgate.aside")]


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


async def test_what_is_set_aside_leaves_the_journal_like_all_else(
    journal: str, target: str
) -> None:
    """A group whose catalogue never comes must not keep what comes after it in the journal."""
    telemetry = Telemetry()
    record = telemetry.record(batch([1, 4], np.array([1.5, 2.5])))
    with publisher(journal, telemetry.catalogue.hash) as publish:
        await asyncio.to_thread(publish, Stream.TELEMETRY, record)
        await asyncio.to_thread(publish, Stream.ALARM, Chain(Stream.ALARM).record(alarm("1")))
    async with consumer(journal, target, catalogue_tries=2):
        await until(lambda: bool(_aside(target)))
        await until(lambda: not _left(journal))
    assert stored(target) == [alarm("1")]


async def test_a_catalogue_larger_than_other_messages_comes_through(
    journal: str, target: str
) -> None:
    """4,000 points: without it no telemetry of that gateway would ever be stored."""
    event = wire.Event(kind="catalogue")
    for number in range(1, 4001):
        event.catalogue.points.add(
            id=number, name=f"dcs/FIC-{number:05d}.PV", description="x" * 150
        )
    payload = event.SerializeToString(deterministic=True)
    assert 600_000 < len(payload) < 900_000
    chain = Chain(Stream.EVENT)
    records = [chain.record(b""), chain.record(payload), chain.record(b"")]
    with publisher(journal) as publish:
        for record in records:
            await asyncio.to_thread(publish, Stream.EVENT, record)
        async with consumer(journal, target):
            held = await stored_in_time(target, 3, Stream.EVENT)
    assert held == [b"", payload, b""]


async def test_what_the_store_never_takes_is_set_aside_and_all_else_is_stored(
    journal: str, target: str
) -> None:
    """Of one message, and of those behind it: a database takes no NUL in a text."""
    line = await asyncio.to_thread(Line.open, parse_journal(journal))
    logs = [{"gateway_id": name, "log_id": b"L" * 16} for name in ("G-1", "G-2", "G-\0", "G-3")]
    odd = wire.JournalFault(stream=wire.STREAM_ALARM, sequence=1, kind="\0")
    works = [wire.JournalWork(**log, faults=[odd]) for log in logs[1:]]  # type: ignore[arg-type]
    fine = Chain(Stream.ALARM)
    pushed = wire.Push(stream=wire.STREAM_ALARM, records=[fine.record(alarm("1"))])
    for record in pushed.records:
        record.boot_id = b"B" * 16
    works.insert(1, wire.JournalWork(**logs[0], push=pushed))  # type: ignore[arg-type]
    body = wire.JournalBatch(works=works).SerializeToString()
    message = Message(URGENT, "odd", "", body)
    await asyncio.to_thread(line.publish, [message])
    await asyncio.to_thread(line.close)
    with publisher(journal) as publish:
        await asyncio.to_thread(publish, Stream.ALARM, fine.record(alarm("2")))
        async with consumer(journal, target):
            await until(lambda: len(stored(target)) == 2)
            await until(lambda: not _left(journal))
    assert stored(target) == [alarm("1"), alarm("2")]
    assert _aside(target) == [body]


class _Lossy(PostgresStore):
    """A store that lacks its first commit, as one that was failed over to may."""

    lost = False

    def take(self, works: Sequence[Work], now_ns: int, arrived: Arrived) -> list[Outcome]:
        """Commit all but the first time."""
        if not type(self).lost:
            type(self).lost = True
            return [Stored() for _ in works]
        return super().take(works, now_ns, arrived)


@pytest.mark.parametrize("stuck_s", [1.0, 1e6], ids=["by itself", "by the next consumer"])
async def test_what_the_store_lost_after_it_was_acknowledged_is_taken_again(
    journal: str, target: str, stuck_s: float
) -> None:
    chain = Chain(Stream.ALARM)
    first, second = chain.record(alarm("1")), chain.record(alarm("2"))
    _Lossy.lost = False
    with publisher(journal) as publish:
        async with consumer(journal, target, _Lossy, stuck_s=stuck_s):
            await asyncio.to_thread(publish, Stream.ALARM, first)
            await until(lambda: _Lossy.lost)
            await asyncio.to_thread(publish, Stream.ALARM, second)
            await stored_in_time(target, 1)
            if stuck_s == 1.0:
                await stored_in_time(target, 2)
    async with consumer(journal, target):
        found = await stored_in_time(target, 2)
        await until(lambda: not _left(journal))
    assert found == [first.payload, second.payload]


async def test_an_alarm_in_memory_only_comes_through_and_gives_way_to_its_record(
    tmp_path: Path, journal: str, target: str
) -> None:
    payload = alarm("the disk takes nothing")
    volatile = wire.VolatileAlarm(payload=payload, time_ns=7, monotonic_ns=3)
    message = wire.GatewayMessage(volatile_alarms=wire.VolatileAlarms(alarms=[volatile]))
    async with (
        receiver(journal, target, tmp_path) as address,
        WireGateway(address, lane=wire.LANE_PRIORITY) as gateway,
    ):
        for _ in range(2):  # over each new connection, until it is heard of
            await gateway.send(message)
            answer = await gateway.next()
            assert list(answer.ack.volatile_keys) == [volatile_key(payload)], "replicated by now"
        async with consumer(journal, target):
            await until(lambda: _shown(target) == [("the disk takes nothing", False)])
            await gateway.push(Stream.ALARM, Chain(Stream.ALARM).record(payload))
            await gateway.acknowledged(1)
            await until(lambda: _shown(target) == [("the disk takes nothing", True)])
            await gateway.send(message)  # late, and by another way: it is no second alarm
            await gateway.next()
            await until(lambda: not _left(journal))
    assert _shown(target) == [("the disk takes nothing", True)]


def _shown(target: str) -> list[tuple[object, object]]:
    """Text and `durable` of each alarm, as `plantgate query --alarms` shows them."""
    with contextlib.closing(open_reader(target)) as reader:
        return [
            (row["text"], row["durable"])
            for log in reader.logs()
            for row in alarm_rows(reader, log, Corrections(reader))
        ]


async def test_a_store_restored_from_a_backup_asks_for_what_it_lost(
    tmp_path: Path, journal: str, postgres_server: postgres.Postgres
) -> None:
    target, copy = postgres_server.database(), postgres_server.database()
    chain = Chain(Stream.ALARM)
    records = [chain.record(alarm(f"{number}")) for number in range(20)]
    for start, then in ((0, (target, copy)), (10, (copy, target))):
        async with consumer(journal, target), receiver(journal, target, tmp_path) as address:
            async with WireGateway(address) as gateway:
                assert told(gateway) == set(range(1, start + 1))
                await gateway.push(Stream.ALARM, *records[start : start + 10])
                await gateway.acknowledged(10)
            await stored_in_time(target, start + 10)
        await asyncio.to_thread(_copy, postgres_server, *then)
    async with consumer(journal, target), receiver(journal, target, tmp_path) as address:
        async with asyncio.timeout(TIMEOUT_S):
            while True:  # what the journal still holds is moved again; the rest the gateway sends
                async with WireGateway(address) as gateway:
                    if told(gateway) >= set(range(1, 11)):
                        await gateway.push(Stream.ALARM, *records)
                        await gateway.acknowledged(20)
                        break
        assert await stored_in_time(target, 20) == [record.payload for record in records]


def _copy(server: postgres.Postgres, source: str, to: str) -> None:
    server.drop(to)
    names = [sql.Identifier(one.rpartition("/")[2]) for one in (to, source)]
    with psycopg.connect(server.address, autocommit=True) as db:
        db.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(*names))


async def test_a_new_log_is_noted_once_though_the_store_does_not_know_yet(
    tmp_path: Path, journal: str, target: str
) -> None:
    async with receiver(journal, target, tmp_path) as address:
        async with WireGateway(address):
            pass
        for lane in (wire.LANE_PRIORITY, wire.LANE_BULK):
            async with WireGateway(address, log_id=b"M" * 16, lane=lane) as gateway:
                await gateway.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("1")))
                answer = await gateway.next()
                assert (answer.WhichOneof("body") == "notice") == (lane == wire.LANE_PRIORITY)
        async with consumer(journal, target):
            await stored_in_time(target, 1)
    with contextlib.closing(open_reader(target)) as reader:
        faults = [
            (fault.kind, fault.count) for log in reader.logs() for fault in reader.faults(log)
        ]
    assert faults == [("new_log", 1)]


async def test_a_stream_that_could_forget_is_refused(journal: str) -> None:
    address = parse_journal(journal)
    line = await asyncio.to_thread(Line.open, address)

    async def spoil() -> None:
        config = (await line.jet.stream_info(address.stream)).config
        config.max_age = 3600
        await line.jet.update_stream(config)

    await asyncio.wrap_future(line.begin(spoil()))
    await asyncio.wrap_future(line.begin(line.extent()))  # as each Hello asks
    with pytest.raises(StoreFailedError, match="it forgets by age"):
        await asyncio.to_thread(line.publish, [Message(URGENT, "one", "", b"")])
    await asyncio.to_thread(line.close)
    with pytest.raises(StorePathError, match="may lose what was acknowledged: it forgets by age"):
        await asyncio.to_thread(Line.open, address)


async def test_a_stream_of_fewer_copies_than_asked_for_is_refused(journal: str) -> None:
    line = await asyncio.to_thread(Line.open, parse_journal(journal))
    await asyncio.to_thread(line.close)
    with pytest.raises(StorePathError, match=r"keeps 1 of 3 copies .*\?replicas=1"):
        await asyncio.to_thread(Line.open, parse_journal(f"{journal}?replicas=3"))


async def test_a_journal_that_is_not_there_is_named() -> None:
    with pytest.raises(StorePathError, match="no JetStream with a leader answered"):
        await asyncio.to_thread(Line.open, parse_journal("nats://127.0.0.1:1"), 1.0)

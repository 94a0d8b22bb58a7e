"""What the store behind a journal refuses, loses or takes twice: nothing goes missing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql

from buffer.contract import Stream
from gateway.receiver.contract import (
    Outcome,
    Stored,
    StoreFailedError,
    Work,
)
from gateway.receiver.journal.address import parse_journal
from gateway.receiver.journal.line import Line
from gateway.receiver.journal.message import URGENT, Message
from gateway.receiver.postgres.journals import Arrived
from gateway.receiver.postgres.store import PostgresStore
from gateway.receiver.stores import open_reader
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import Chain, WireGateway
from tests.gateway.receiver.journal_rig import (
    TIMEOUT_S,
    alarm,
    consumer,
    jet,
    journal,
    left,
    publisher,
    receiver,
    stored,
    stored_in_time,
    target,
    told,
    until,
)
from tests.gateway.receiver.telemetry import Telemetry, batch
from tests.peers import postgres

__all__ = ["jet", "journal", "target"]
pytestmark = pytest.mark.peer


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
    _Forgetful.lost = False
    async with receiver(journal, target, tmp_path) as address, WireGateway(address) as gateway:
        await gateway.push(Stream.ALARM, *records)
        await gateway.acknowledged(5)
        async with consumer(journal, target, _Forgetful):
            await stored_in_time(target, 5)
            await until(lambda: not left(journal))
    assert _Forgetful.lost
    assert stored(target) == [record.payload for record in records]


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
        await until(lambda: not left(journal))
    assert stored(target) == [alarm("1")]


async def test_what_the_store_never_takes_is_set_aside_and_all_else_is_stored(
    journal: str, target: str
) -> None:
    """Of one message, and of those behind it: a database takes no NUL in a text."""
    line = await asyncio.to_thread(Line.open, parse_journal(journal))
    fine, *others = [
        partial(wire.JournalWork, gateway_id=name, log_id=b"L" * 16)
        for name in ("G-1", "G-2", "G-\0", "G-3")
    ]
    odd = wire.JournalFault(stream=wire.STREAM_ALARM, sequence=1, kind="\0")
    works = [work(faults=[odd]) for work in others]
    chain = Chain(Stream.ALARM)
    pushed = wire.Push(stream=wire.STREAM_ALARM, records=[chain.record(alarm("1"))])
    for record in pushed.records:
        record.boot_id = b"B" * 16
    works.insert(1, fine(push=pushed))
    body = wire.JournalBatch(works=works).SerializeToString()
    message = Message(URGENT, "odd", "", body)
    await asyncio.to_thread(line.publish, [message])
    await asyncio.to_thread(line.close)
    with publisher(journal) as publish:
        await asyncio.to_thread(publish, Stream.ALARM, chain.record(alarm("2")))
        async with consumer(journal, target):
            await until(lambda: len(stored(target)) == 2)
            await until(lambda: not left(journal))
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
        await until(lambda: not left(journal))
    assert found == [first.payload, second.payload]


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

"""Receivers with a journal in a real JetStream, in front of a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import numpy as np
import pytest

from buffer.contract import Stream
from gateway.receiver.check import volatile_key
from gateway.receiver.contract import (
    StoreFailedError,
    StorePathError,
)
from gateway.receiver.corrections import Corrections
from gateway.receiver.journal.address import parse_journal
from gateway.receiver.journal.line import Line
from gateway.receiver.journal.message import URGENT, Message
from gateway.receiver.notices import alarm_rows
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
    stored_in_time,
    target,
    told,
    until,
)
from tests.gateway.receiver.telemetry import Telemetry, batch
from tests.peers import jetstream, postgres

__all__ = ["jet", "journal", "target"]
pytestmark = pytest.mark.peer


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
    jetstream.require()
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
            await until(lambda: not left(journal))
    assert _shown(target) == [("the disk takes nothing", True)]


def _shown(target: str) -> list[tuple[object, object]]:
    """Text and `durable` of each alarm, as `plantgate query --alarms` shows them."""
    with contextlib.closing(open_reader(target)) as reader:
        return [
            (row["text"], row["durable"])
            for log in reader.logs()
            for row in alarm_rows(reader, log, Corrections(reader))
        ]


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

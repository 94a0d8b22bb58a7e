"""Several receivers over one PostgreSQL: any gateway on any of them, changing in mid-stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from buffer.contract import Stream
from gateway.cli.main import main
from gateway.receiver.evidence import EvidenceFiles
from gateway.receiver.service import Receiver
from gateway.receiver.stores import open_reader, open_store
from gateway.runtime.clock import SystemClock
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import Chain, WireGateway
from tests.gateway.receiver.serving import serving
from tests.peers import postgres

pytestmark = pytest.mark.peer


@contextlib.asynccontextmanager
async def receiver(target: str, files: Path) -> AsyncIterator[str]:
    with contextlib.closing(open_store(target)) as store:
        async with serving(Receiver(store, EvidenceFiles(files), SystemClock(), None)) as port:
            yield f"127.0.0.1:{port}"


def alarm(text: str) -> bytes:
    return wire.Alarm(alarm_id=b"a" * 16, source="gds-1/AT-101", text=text).SerializeToString()


async def test_a_gateway_that_changes_receivers_in_mid_stream_is_stored_once(
    tmp_path: Path, postgres_server: postgres.Postgres
) -> None:
    target = postgres_server.database()
    chain = Chain(Stream.ALARM)
    records = [chain.record(alarm(f"{number}")) for number in range(300)]
    async with receiver(target, tmp_path) as first, receiver(target, tmp_path) as second:
        acknowledged: set[int] = set()
        for turn in range(6):
            async with WireGateway((first, second)[turn % 2]) as gateway:
                held = {item.stream: item.ranges for item in gateway.welcome.acknowledged}
                told = {
                    number
                    for item in held[wire.STREAM_ALARM]
                    for number in range(item.start, item.stop)
                }
                assert acknowledged <= told, "what one acknowledged, the other must know"
                for start in range(0, 300, 10):
                    await gateway.push(Stream.ALARM, *records[start : start + 10])
                acknowledged |= await gateway.acknowledged(1)  # and away, with the rest under way
        async with WireGateway(second) as gateway:
            await gateway.push(Stream.ALARM, *records)
            assert len(await gateway.acknowledged(300)) == 300
    with contextlib.closing(open_reader(target)) as reader:
        [log] = reader.logs()
        stored = [record.payload for record in reader.records(log, Stream.ALARM)]
        assert stored == [record.payload for record in records]
        assert [fault.kind for fault in reader.faults(log)] == []


async def test_both_lanes_may_be_on_different_receivers(
    tmp_path: Path, postgres_server: postgres.Postgres
) -> None:
    from tests.gateway.receiver.telemetry import Telemetry, batch

    target = postgres_server.database()
    telemetry = Telemetry()
    import numpy as np

    record = telemetry.record(batch([1, 4], np.array([1.5, 2.5])))
    async with (
        receiver(target, tmp_path) as first,
        receiver(target, tmp_path) as second,
        WireGateway(first, lane=wire.LANE_PRIORITY) as priority,
        WireGateway(second, lane=wire.LANE_BULK) as bulk,
    ):
        await bulk.push(Stream.TELEMETRY, record)
        assert (await bulk.next()).need_catalogue.hashes == [telemetry.catalogue.hash]
        await priority.push(Stream.EVENT, telemetry.event())
        await priority.acknowledged(1)
        await bulk.push(Stream.TELEMETRY, record)
        assert await bulk.acknowledged(1) == {1}
    result = CliRunner().invoke(main, ["query", "--store", target])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1:] == [
        "G-1,gds-1/AT-101,2026-01-01T00:00:00.000Z,1.5,good,false",
        "G-1,gds-1/state,2026-01-01T00:00:00.000Z,2.5,good,false",
    ]
    result = CliRunner().invoke(main, ["query", "--store", target, "--gateways", "--json"])
    assert '"telemetry": 1' in result.output


async def test_a_database_that_goes_away_loses_nothing(
    tmp_path: Path,
) -> None:
    """The server is stopped under a connected gateway; what was not acknowledged is sent again."""
    postgres.require()
    server = postgres.Postgres()
    server.start()
    target = server.database()
    chain = Chain(Stream.ALARM)
    records = [chain.record(alarm(f"{number}")) for number in range(20)]
    try:
        async with receiver(target, tmp_path) as address:
            async with WireGateway(address) as gateway:
                await gateway.push(Stream.ALARM, *records[:10])
                await gateway.acknowledged(10)
                await asyncio.to_thread(server.stop)
                await gateway.push(Stream.ALARM, *records[10:])
                error = await gateway.ended()
                assert error.code().name == "UNAVAILABLE"
                assert "store" in (error.details() or "")
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(60):
                while True:
                    try:
                        async with WireGateway(address) as gateway:
                            await gateway.push(Stream.ALARM, *records)
                            await gateway.acknowledged(20)
                            break
                    except Exception:  # noqa: S112  # as a gateway does, until it is back
                        continue
        with contextlib.closing(open_reader(target)) as reader:
            [log] = reader.logs()
            assert len(list(reader.records(log, Stream.ALARM))) == 20
    finally:
        server.close()

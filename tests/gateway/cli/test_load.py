"""`plantgate load` against a real receiver: what it says it sent is what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buffer.block import BlockDecoder
from buffer.contract import Stream
from gateway.cli.load_fleet import OneWriter
from gateway.cli.load_records import Plan, Telemetry
from gateway.receiver.check import check_push
from gateway.receiver.stores import open_reader
from gateway.wire.v1 import uplink_pb2 as wire
from tests.gateway.receiver.conftest import run_receiver

__all__ = ["run_receiver"]


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(100, 5000))
def test_what_is_sent_is_what_a_gateway_would_send(
    points: int, records: int, most_bytes: int
) -> None:
    telemetry = Telemetry(Plan(points, records, 1_700_000_000_000_000_000))
    decoder = BlockDecoder()
    following = 1
    for message in telemetry.history(1, records + 1, most_bytes):
        push = wire.GatewayMessage.FromString(message.encoded).push
        checked = check_push(push, bytes(16))
        assert not checked.faults
        assert [entry.sequence for entry in checked.entries] == list(
            range(message.first, message.stop)
        )
        assert message.first == following
        following = message.stop
        for entry in checked.entries:
            [batch] = decoder.feed(entry.payload)
            assert len(batch) == points
    assert following == records + 1


@pytest.mark.parametrize("backlog", ["0", "0.05"])
async def test_a_fleet_is_stored_whole(tmp_path: Path, run_receiver: object, backlog: str) -> None:
    async with run_receiver(tmp_path) as running:  # type: ignore[operator]  # a fixture of another folder
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "plantgate"),
            "load", "--target", running.target, "--gateways", "5", "--points", "20", "--seconds",
            "6", "--backlog-hours", backlog, "--herd", "--json", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output
    result = json.loads(output)
    assert result["refused"] == 0
    history = int(float(backlog) * 3600)
    assert result["history_records"] == 5 * history
    with contextlib.closing(open_reader(str(tmp_path))) as reader:
        logs = reader.logs()
        assert [log.gateway for log in logs] == [f"LOAD-{number:05d}" for number in range(5)]
        held = [reader.acknowledged(log, Stream.TELEMETRY) for log in logs]
        for ranges in held:
            assert [start for start, _ in ranges] == [1]
        assert sum(map(len, held)) >= result["live_records"] + result["history_records"]
        assert all(not reader.faults(log) for log in logs)


async def test_tasks_that_write_at_once_do_not_end_their_stream() -> None:
    """With a reader that is slower than both; without turns gRPC ends it with INTERNAL."""

    async def read_slowly(_requests: object, context: Any) -> None:
        for _ in range(40):
            await context.read()
            await asyncio.sleep(0.01)

    untyped: Any = grpc
    handler = untyped.stream_stream_rpc_method_handler(read_slowly)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (untyped.method_handlers_generic_handler("a.B", {"C": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.stream_stream("/a.B/C")
        call = method()
        writer = OneWriter(call)

        async def write(size_bytes: int) -> None:
            for _ in range(20):
                await writer.write(bytes(size_bytes))

        async with asyncio.TaskGroup() as group:
            group.create_task(write(100_000))
            group.create_task(write(100))
        assert await writer.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
    await server.stop(None)

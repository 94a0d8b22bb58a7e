"""`plantgate completeness` at both ends: the same holes, the same score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from buffer.contract import Stream
from gateway.cli.main import main
from gateway.wire.v1 import uplink_pb2 as wire
from tests.buffer.conftest import HandClock
from tests.fakes.wire_gateway import WireGateway
from tests.gateway.cli.test_buffer import RECORDS, buffer, fill
from tests.gateway.receiver.conftest import run_receiver
from tests.gateway.receiver.telemetry import Telemetry, batch

__all__ = ["run_receiver"]


def asked(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(main, ["completeness", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


async def test_gaps_of_a_store_are_explained_or_not(tmp_path: Path, run_receiver: Any) -> None:
    telemetry = Telemetry()
    records = [
        telemetry.record(batch([1], np.array([n / 10]), quality=[0 if n < 8 else 0x8005]), key=True)
        for n in range(10)
    ]
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVENT, telemetry.event())
        await gateway.acknowledged(1)
        await gateway.push(Stream.TELEMETRY, *records[:2], *records[5:])
        await gateway.acknowledged(7)
        gone = wire.GapRanges(stream=wire.STREAM_TELEMETRY, ranges=[wire.Range(start=3, stop=5)])
        await gateway.send(wire.GatewayMessage(gaps=gone))
        await gateway.acknowledged(2)
    [row] = [row for row in asked("--store", str(tmp_path)) if row["stream"] == "telemetry"]
    assert (row["expected"], row["received"]) == (10, 7)
    assert (row["gaps_explained"], row["gaps_unexplained"]) == (2, 1)
    assert row["late"] == 7  # its records say 2023
    assert row["score"] == 0.7
    point, *others = asked("--store", str(tmp_path), "--points")
    assert [(one["samples"], one["score"]) for one in others] == [(0, None)] * 3, "never sent"
    assert (point["point"], point["good"], point["other"]) == ("gds-1/AT-101", 5, 2)
    assert point["reasons"] == "bad:comm_failure=2"
    [hazard] = asked("--store", str(tmp_path), "--hazards")
    assert (hazard["hazard"], hazard["samples"]) == ("", 7)


async def test_a_stream_of_which_nothing_came_is_told(tmp_path: Path, run_receiver: Any) -> None:
    """The gateway says that it has made 99 records of telemetry; not one is here."""
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        state = wire.StreamState(stream=wire.STREAM_TELEMETRY, first_sequence=1, next_sequence=100)
        await gateway.send(wire.GatewayMessage(status=wire.Status(streams=[state], ping=7)))
        assert (await gateway.next()).ack.pong == 7
        await gateway.push(Stream.EVENT, Telemetry().event())
        await gateway.acknowledged(1)
    rows = {row["stream"]: row for row in asked("--store", str(tmp_path))}
    told = rows["telemetry"]
    assert (told["expected"], told["gaps_unexplained"], told["score"]) == (99, 99, 0.0)
    assert told["running"] is True


async def test_the_site_sees_what_its_log_holds(tmp_path: Path) -> None:
    clock = HandClock()
    async with buffer(tmp_path, clock) as log:
        await fill(log, clock)
    told = [row for row in asked("--data", str(tmp_path)) if row["stream"] == "telemetry"]
    telemetry, *since = told  # the clock there stood still long ago, and this one goes on
    assert {row["score"] for row in since} <= {0.0}
    assert telemetry["received"] == telemetry["expected"] > 0
    assert telemetry["score"] == 1.0
    points = {row["point"]: row for row in asked("--data", str(tmp_path), "--points")}
    assert points["gds-1/AT-101"]["good"] == RECORDS
    assert points["gds-1/AT-102"]["reasons"] == f"bad:comm_failure={RECORDS}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give either --store or --data"),
        (["--store", "a", "--data", "b"], "give either --store or --data"),
        (["--store", "nowhere"], "holds no store"),
        (["--data", "nowhere"], "is no directory"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(main, ["completeness", *arguments])
    assert result.exit_code == 2
    assert says in result.output

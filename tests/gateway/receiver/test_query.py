"""plantgate query over stores that a receiver wrote: exact output, order, filters, gaps."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner, Result

from buffer.contract import Stream
from drivers.contract import Quality
from gateway.cli.main import main
from gateway.model.event import event, evidence_attached_event
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import Chain, WireGateway
from tests.gateway.receiver.telemetry import START_NS, Telemetry, batch

if TYPE_CHECKING:
    from tests.gateway.receiver.conftest import RunReceiver

HEADING = "gateway,point,time,value,quality,historical\n"


def query(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["query", "--store", str(folder), *arguments])


def printed(folder: Path, *arguments: str) -> list[str]:
    result = query(folder, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.removeprefix(HEADING).splitlines()


async def fill(
    folder: Path,
    run_receiver: RunReceiver,
    records: list[wire.Record],
    telemetry: Telemetry,
    **hello: str | bytes,
) -> None:
    async with (
        run_receiver(folder) as running,
        WireGateway(running.target, **hello) as gateway,  # type: ignore[arg-type]  # by keyword
    ):
        await gateway.push(Stream.EVENT, telemetry.event())
        await gateway.acknowledged(1)
        await gateway.push(Stream.TELEMETRY, *records)
        await gateway.acknowledged(len(records))


async def test_every_kind_prints_exactly(tmp_path: Path, run_receiver: RunReceiver) -> None:
    made = Telemetry()
    nan = math.nan
    records = [
        made.record(
            batch([1, 1], np.array([20.899999618530273, nan]),
                  quality=[0, Quality.BAD_ILLEGAL_ADDRESS], source_ms=[0, 1]),
            batch([2], np.array([2**64 - 1], np.uint64)),
        ),
        made.record(
            batch([3, 3], np.array([-(2**63), 5], np.int64),
                  quality=[Quality.UNCERTAIN_WARM_UP, Quality.BAD_COMM_FAILURE], source_ms=999),
            historical=True,
        ),
        made.record(batch([4], ('on, "hot"',), source_ms=1000)),
        made.record(batch([1, 9], np.array([1e300, 1.0]), quality=[0x80AB, 0]), key=True),
    ]  # fmt: skip
    await fill(tmp_path, run_receiver, records, made)
    result = query(tmp_path, "--format", "csv")
    assert result.stderr == ""
    assert result.stdout == HEADING + (
        "G-1,gds-1/AT-101,2026-01-01T00:00:00.000Z,20.899999618530273,good,false\n"
        "G-1,gds-1/AT-101,2026-01-01T00:00:00.001Z,,bad:illegal_address,false\n"
        'G-1,"gds-1/总量, t",2026-01-01T00:00:00.000Z,18446744073709551615,good,false\n'
        "G-1,gds-1/delta,2026-01-01T00:00:00.999Z,-9223372036854775808,uncertain:warm_up,true\n"
        "G-1,gds-1/delta,2026-01-01T00:00:00.999Z,,bad:comm_failure,true\n"
        'G-1,gds-1/state,2026-01-01T00:00:01.000Z,"on, ""hot""",good,false\n'
        "G-1,gds-1/AT-101,2026-01-01T00:00:00.000Z,1e+300,bad:0x80AB,false\n"
        "G-1,#9,2026-01-01T00:00:00.000Z,1.0,good,false\n"
    )
    rows = [json.loads(line) for line in printed(tmp_path, "--json")]
    assert [row["value"] for row in rows] == [
        20.899999618530273, None, 2**64 - 1, -(2**63), None, 'on, "hot"', 1e300, 1.0,
    ]  # fmt: skip
    assert rows[3] == {
        "gateway": "G-1",
        "point": "gds-1/delta",
        "time": "2026-01-01T00:00:00.999Z",
        "value": -(2**63),
        "quality": "uncertain:warm_up",
        "historical": True,
    }


async def test_values_that_do_not_change_print_again(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    made = Telemetry()
    points = batch([1, 1, 1], np.zeros(3)).points
    records = []
    expected = []
    rng = np.random.default_rng(7)
    values = np.zeros(3)
    for step in range(50):
        values = np.where(rng.random(3) < 0.3, rng.normal(size=3), values)
        values[rng.integers(3)] *= -1 if step % 7 == 0 else 1  # also -0.0
        one = batch([1, 1, 1], values.copy(), source_ms=step)
        object.__setattr__(one, "points", points)
        records.append(made.record(one, key=step % 20 == 0))
        expected += [repr(value) for value in values.tolist()]
    await fill(tmp_path, run_receiver, records, made)
    assert [line.split(",")[3] for line in printed(tmp_path)] == expected


async def test_filters_by_gateway_point_and_time(tmp_path: Path, run_receiver: RunReceiver) -> None:
    made = Telemetry()
    records = [
        made.record(batch([1, 3], np.array([float(n), -1.0]), source_ms=n * 1000))
        for n in range(10)
    ]
    await fill(tmp_path, run_receiver, records, made)
    await fill(tmp_path, run_receiver, records, made, gateway_id="G-0")
    lines = printed(tmp_path, "--gateway", "G-1", "--point", "gds-1/AT-101",
                    "--from", "2026-01-01T00:00:02Z",
                    "--to", "2026-01-01T08:00:05+08:00")  # fmt: skip
    assert [line.split(",")[3] for line in lines] == ["2.0", "3.0", "4.0"]
    assert [line[:3] for line in printed(tmp_path)] == ["G-0"] * 20 + ["G-1"] * 20
    assert printed(tmp_path, "--point", "no/such") == []
    assert printed(tmp_path, "--gateway", "no-such") == []


async def test_records_print_in_order_of_sequence_however_they_came(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    made = Telemetry()
    records = [
        made.record(batch([1], np.array([float(n)]), source_ms=n), key=n % 5 == 0)
        for n in range(20)
    ]
    await fill(tmp_path, run_receiver, records[10:] + records[:10], made)
    lines = printed(tmp_path)
    assert [line.split(",")[3] for line in lines] == [f"{n}.0" for n in range(20)]


async def test_deltas_without_their_key_wait(tmp_path: Path, run_receiver: RunReceiver) -> None:
    made = Telemetry()
    records = [made.record(batch([1], np.array([float(n)])), key=n % 5 == 0) for n in range(15)]
    there = records[1:5] + records[5:7] + records[8:]  # no key of group 1; a hole in group 2
    await fill(tmp_path, run_receiver, there, made)
    result = query(tmp_path)
    assert [line.split(",")[3] for line in result.stdout.splitlines()[1:]] == [
        f"{n}.0" for n in (5, 6, 10, 11, 12, 13, 14)
    ]
    assert result.stderr == "6 records wait for their key\n"
    await fill(tmp_path, run_receiver, [records[0], records[7]], made)
    assert len(printed(tmp_path)) == 15


async def test_a_block_that_does_not_decode_is_counted(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    made = Telemetry()
    records = [made.chain.record(b"no block", catalogue=made.catalogue.hash)]
    records.append(made.record(batch([1], np.array([1.0])), key=True))
    await fill(tmp_path, run_receiver, records, made)
    result = query(tmp_path)
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.startswith("1 records cannot be decoded: ")


async def test_alarms_print_with_their_evidence(tmp_path: Path, run_receiver: RunReceiver) -> None:
    alarm = wire.Alarm(
        alarm_id=bytes(range(16)),
        source="gds-1/AT-101",
        condition="high_high",
        state=wire.ALARM_STATE_UNACKNOWLEDGED_ACTIVE,
        priority=1,
        value=52.5,
        limit=50.0,
        unit="%LEL",
        source_time_ns=START_NS,
        text="可燃气体, 高高报",
    )
    chain, events = Chain(Stream.ALARM), Chain(Stream.EVENT)
    attached = [
        evidence_attached_event(bytes(range(16)), "cam", bytes([n]) * 32, "image/jpeg", 9, 1)
        for n in (2, 1)
    ]
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.ALARM, chain.record(alarm.SerializeToString()))
        await gateway.push(Stream.EVENT, *[events.record(payload) for payload in attached])
        await gateway.push(
            Stream.EVENT, events.record(event("link.down", "dcs", START_NS, "gone", {"n": 1}))
        )
        await gateway.acknowledged(4)
        evidence = f"{'01' * 32} {'02' * 32}"
        assert query(tmp_path, "--alarms").stdout == (
            "gateway,time,source,condition,state,value,limit,unit,quality,priority,text,alarm_id,"
            "historical,evidence,rule,operator,reason,declaration,durable,condition_id,late\n"
            "G-1,2026-01-01T00:00:00.000Z,gds-1/AT-101,high_high,unacknowledged_active,52.5,50.0,"
            '%LEL,good,1,"可燃气体, 高高报",000102030405060708090a0b0c0d0e0f,false,'
            + evidence
            + ",,,,,true,,false\n"
        )
        [row] = [json.loads(line) for line in printed(tmp_path, "--alarms", "--json")]
        assert row["text"] == "可燃气体, 高高报"
        assert row["limit"] == 50.0
        assert printed(tmp_path, "--alarms", "--json", "--point", "other") == []
        assert query(tmp_path, "--events").stdout.splitlines()[-1] == (
            'G-1,2026-01-01T00:00:00.000Z,link.down,dcs,gone,"{""n"": ""1""}",false'
        )
        found = [json.loads(line) for line in printed(tmp_path, "--events", "--json")]
        assert found[0]["attributes"] == {
            "alarm_id": row["alarm_id"], "media_type": "image/jpeg", "sha256": "02" * 32,
            "total_bytes": "9",
        }  # fmt: skip
        later = printed(tmp_path, "--events", "--json", "--from", "2026-01-01")
        assert len(later) == 1


async def test_gateways_and_faults_are_told(tmp_path: Path, run_receiver: RunReceiver) -> None:
    forged = Chain(Stream.ALARM).record(b"\x12\x01x")
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.ALARM, Chain(Stream.ALARM).record(b""))
        await gateway.acknowledged(1)
        await gateway.push(Stream.ALARM, forged)
        await gateway.next()
        status = wire.Status(health="degraded: disk", backlog_records=7)
        await gateway.send(wire.GatewayMessage(status=status))
        await gateway.next()
    [fault] = [json.loads(line) for line in printed(tmp_path, "--faults", "--json")]
    assert (fault["kind"], fault["stream"], fault["sequence"]) == ("conflict", "alarm", 1)
    assert fault["hash"] == forged.hash.hex()
    [row] = [json.loads(line) for line in printed(tmp_path, "--gateways", "--json")]
    assert (row["health"], row["backlog"], row["alarms"]) == ("degraded: disk", 7, 1)
    assert row["enterprise"] == "91370800TEST"


async def test_query_while_the_receiver_writes(tmp_path: Path, run_receiver: RunReceiver) -> None:
    made = Telemetry()
    records = [
        made.record(batch([1], np.array([float(n)]), source_ms=n), key=n % 60 == 0)
        for n in range(2000)
    ]
    seen = [0]
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVENT, made.event())
        await gateway.acknowledged(1)
        for start in range(0, 2000, 100):
            await gateway.push(Stream.TELEMETRY, *records[start : start + 100])
            if start % 500 == 0:
                result = await asyncio.to_thread(query, tmp_path)
                values = [line.split(",")[3] for line in result.stdout.splitlines()[1:]]
                assert values == [f"{n}.0" for n in range(len(values))]
                assert len(values) >= seen[-1]
                seen.append(len(values))
        await gateway.acknowledged(2000)
        assert len((await asyncio.to_thread(query, tmp_path)).stdout.splitlines()) == 2001


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "yesterday"], "ISO 8601"),
        (["--format", "xml"], "xml"),
        (["--alarms", "--events"], "exclude"),
        (["--alarms", "--format", "parquet"], "csv or json"),
        ([], "holds no store"),
    ],
)
def test_mistakes_end_with_two_and_a_reason(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    result = query(tmp_path, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output


async def test_a_store_of_a_receiver_that_is_gone_opens(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    made = Telemetry()
    await fill(tmp_path, run_receiver, [made.record(batch([1], np.array([1.5])))], made)
    out = tmp_path / "out.csv"
    assert query(tmp_path, "--output", str(out)).exit_code == 0
    assert out.read_text().splitlines()[1].split(",")[3] == "1.5"


async def test_parquet_or_one_clear_line(tmp_path: Path, run_receiver: RunReceiver) -> None:
    made = Telemetry()
    big = batch([2], np.array([2**63 + 1], np.uint64))
    await fill(tmp_path, run_receiver, [made.record(batch([1], np.array([1.5])), big)], made)
    out = tmp_path / "out.parquet"
    result = query(tmp_path, "--format", "parquet", "--output", str(out))
    if importlib.util.find_spec("pyarrow") is None:
        assert result.exit_code == 2
        assert not out.exists()
        assert result.stderr == (
            "plantgate query: --format parquet needs pyarrow: pip install pyarrow,"
            " or use csv or json\n"
        )
        return
    assert result.exit_code == 0, result.output
    rows = importlib.import_module("pyarrow.parquet").read_table(out).to_pylist()
    assert [row["value"] for row in rows] == [1.5, float(2**63 + 1)]
    assert [row["text"] for row in rows] == [None, str(2**63 + 1)]


async def test_a_point_that_nobody_names_and_a_wrong_directory_are_said(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    telemetry = Telemetry()
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVENT, telemetry.event())
        await gateway.acknowledged(1)
    asked = CliRunner().invoke(main, ["query", "--store", str(tmp_path), "--point", "gds-1/AT-1"])
    meant = "no catalogue here names a point 'gds-1/AT-1'; did you mean gds-1/AT-101?\n"
    assert (asked.exit_code, asked.stderr) == (0, meant)
    asked = CliRunner().invoke(main, ["query", "--store", str(tmp_path), "--gateway", "elsewhere"])
    said = "nothing came from a gateway 'elsewhere'; from: G-1\n"
    assert (asked.exit_code, asked.stderr) == (0, said)
    asked = CliRunner().invoke(main, ["query", "--store", str(tmp_path), "--point", "gds-1/AT-101"])
    assert (asked.exit_code, asked.stderr) == (0, "")
    (tmp_path / "records.db").touch()
    (tmp_path / "receiver.db").unlink()
    asked = CliRunner().invoke(main, ["query", "--store", str(tmp_path)])
    assert asked.exit_code == 2
    assert "it is a gateway's data directory: plantgate buffer reads it" in asked.stderr

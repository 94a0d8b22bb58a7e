"""`plantgate buffer`: what each subcommand says of a good, a running and a damaged directory."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from buffer.contract import Stream
from buffer.policy import BufferConfig
from buffer.ranges import RangeSet
from buffer.store import Buffer
from drivers.contract import Quality
from gateway.cli.main import main
from gateway.model.catalogue import Catalogue
from gateway.model.event import catalogue_event, event, gap_event
from gateway.model.point import Point
from gateway.wire.v1 import uplink_pb2 as wire
from tests.buffer.conftest import BOOT_ID, HandClock

NAMES = ("gds-1/AT-101", "gds-1/AT-102", "dcs/井口压力")
RECORDS = 40


def buffer(path: Path, clock: HandClock) -> Buffer:
    config = BufferConfig(commit_ms=1, reserve_bytes=0, key_every_s=10)
    return Buffer.open(path, config, clock=clock, boot_id=BOOT_ID, encode_gap=gap_event)


async def fill(log: Buffer, clock: HandClock) -> None:
    points = [Point(id=number, name=name) for number, name in enumerate(NAMES, 1)]
    catalogue = Catalogue.of(points)
    payload = catalogue_event(catalogue, clock.wall)
    await log.add_record(Stream.EVENT, payload, keep=catalogue.hash)
    log.set_catalogue(catalogue.hash)
    ids = np.array([1, 2, 3], np.int32)
    quality = np.array([Quality.GOOD, Quality.BAD_COMM_FAILURE, Quality.GOOD], np.uint16)
    for number in range(RECORDS):
        clock.advance(5)
        values = np.array([number + 0.5, np.nan, 3.0])
        await log.add_batch(ids, values, quality, clock.wall, clock.wall)
    await log.add_record(Stream.EVENT, event("link.down", "province", clock.wall, "No answer."))
    log.acknowledge("province", Stream.TELEMETRY, RangeSet([(1, 11)]))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def data(tmp_path: Path, clock: HandClock) -> Path:
    """Directory of a gateway that has stopped."""
    async with buffer(tmp_path / "data", clock) as log:
        await fill(log, clock)
        for _ in range(6_000):
            if await log.rollup(1, 0, 1 << 62):
                break
            await asyncio.sleep(0.01)
    return tmp_path / "data"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["buffer", *map(str, arguments)])


def lines_of(*arguments: object) -> list[dict[str, Any]]:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def spoil(data: Path, statement: str) -> None:
    with sqlite3.connect(data / "telemetry.db") as connection:
        connection.execute(statement)
    connection.close()


def test_stat_tells_what_is_held(data: Path) -> None:
    (facts,) = lines_of("stat", data, "--quota", 1)
    assert facts["gateway_running"] is False
    streams = {row["stream"]: row for row in facts["streams"]}
    assert streams["telemetry"]["records"] == RECORDS
    assert streams["telemetry"]["held_hours"] == round(195 / 3600, 4)
    rate = streams["telemetry"]["used_bytes"] / (195 / 3600)
    assert streams["telemetry"]["bytes_per_hour"] == pytest.approx(rate, rel=0.01)
    assert streams["telemetry"]["capacity_hours"] == pytest.approx((1 << 30) / rate, rel=0.01)
    assert streams["event"]["records"] == 2
    assert streams["alarm"]["capacity_hours"] is None
    (cursor,) = facts["cursors"]
    assert cursor["destination"] == "province"
    assert (cursor["acknowledged"], cursor["backlog"]) == ([[1, 11]], 30)
    said = call("stat", data).stdout
    assert "not running" in said
    assert "province" in said


def test_ls_tells_keys_from_deltas(data: Path) -> None:
    found = lines_of("ls", data, "--last", 6)
    assert [row["sequence"] for row in found] == list(range(RECORDS - 5, RECORDS + 1))
    assert {row["kind"] for row in found} == {"key", "delta"}
    assert lines_of("ls", data, "--from", 3, "--to", 4)[0]["samples"] == 3
    assert [row["kind"] for row in lines_of("ls", data, "--stream", "event")] == ["event"] * 2


def test_tail_names_points_and_quality(data: Path) -> None:
    found = lines_of("tail", data, "-n", 1)
    assert [row["point"] for row in found] == list(NAMES)
    assert [row["quality"] for row in found] == ["good", "bad:comm_failure", "good"]
    assert [row["value"] for row in found] == [RECORDS - 0.5, None, 3.0]
    (last,) = lines_of("tail", data, "-n", 1, "--stream", "event")
    assert last["content"]["text"] == "No answer."
    assert "link.down  province  No answer." in call("tail", data, "--stream", "event").stdout


def test_export_cuts_to_point_and_time(data: Path) -> None:
    result = call("export", data, "--point", NAMES[0], "--from", "2026-09-21T14:14:00Z",
                  "--to", "2026-09-21T14:14:10Z")  # fmt: skip
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "point,time,value,quality",
        f"{NAMES[0]},2026-09-21T14:14:00.000Z,{(14 * 60 - 800) / 5 - 0.5},good",
        f"{NAMES[0]},2026-09-21T14:14:05.000Z,{(14 * 60 - 795) / 5 - 0.5},good",
    ]
    assert len(lines_of("export", data)) == 3 * RECORDS
    assert call("export", data, "--point", "no/such").stdout.splitlines() == [
        "point,time,value,quality"
    ]


def test_export_of_a_point_that_is_not_there_names_the_one_that_was_meant(data: Path) -> None:
    asked = CliRunner().invoke(main, ["buffer", "export", str(data), "--point", "gds-1/at-101"])
    assert (asked.exit_code, asked.stdout) == (0, "point,time,value,quality\n")
    meant = "no catalogue here names a point 'gds-1/at-101'; did you mean gds-1/AT-101?\n"
    assert asked.stderr == meant


def test_parquet_without_pyarrow_is_one_line(data: Path) -> None:
    result = call("export", data, "--format", "parquet", "--output", data / "x.parquet")
    assert result.exit_code in {0, 2}
    if result.exit_code:
        assert "pyarrow" in result.output.splitlines()[-1]


def test_verify_names_the_first_bad_record(data: Path) -> None:
    assert {row["ok"] for row in lines_of("verify", data)} == {True}
    spoil(data, "UPDATE telemetry SET payload = x'00' WHERE id IN (17, 20)")
    result = call("verify", data)
    assert result.exit_code == 1
    assert "telemetry: record 17 is bad: its hash does not follow" in result.stdout
    assert "event: 2 records good" in result.stdout


def test_verify_finds_a_missing_record_and_a_block_that_does_not_decode(data: Path) -> None:
    spoil(data, "DELETE FROM telemetry WHERE id = 9")
    assert "record 10 is bad" in call("verify", data, "--stream", "telemetry").stdout


async def test_everything_works_while_the_gateway_runs(tmp_path: Path, clock: HandClock) -> None:
    data = tmp_path / "data"
    async with buffer(data, clock) as log:
        await fill(log, clock)
        (facts,) = lines_of("stat", data)
        assert facts["gateway_running"] is True
        assert {row["ok"] for row in lines_of("verify", data)} == {True}
        assert len(lines_of("tail", data, "-n", 2)) == 6
        assert call("fsck", data).stdout == "nothing to repair\n"
        refused = call("fsck", data, "--repair")
        assert refused.exit_code == 2
        assert "in use by another process" in refused.output
        await log.add_record(Stream.ALARM, b"next")


def test_fsck_says_what_a_start_would_do_and_does_it(data: Path) -> None:
    assert call("fsck", data).exit_code == 0
    spoil(data, "UPDATE telemetry SET payload = x'00' WHERE id = 17")
    before = (data / "telemetry.db").read_bytes()
    result = call("fsck", data)
    assert result.exit_code == 1
    assert "telemetry.db would be set aside and rebuilt: telemetry record 17" in result.stdout
    assert (data / "telemetry.db").read_bytes() == before
    done = call("fsck", data, "--repair")
    assert done.exit_code == 0, done.output
    assert "done: telemetry.db was set aside" in done.stdout
    assert call("verify", data).exit_code == 0
    (facts,) = lines_of("stat", data)
    assert any("lost (corruption)" in text for text in facts["repairs"])


async def test_fsck_tells_of_evidence_without_a_record_and_of_records_without_their_file(
    data: Path, clock: HandClock
) -> None:
    evidence = data / "evidence"
    async with buffer(data, clock) as log:
        alone = (await log.put_file(b"its record never came")).hex()
        for content in (b"one", b"two"):
            file = wire.EvidenceFile(sha256=await log.put_file(content))
            await log.add_record(Stream.EVIDENCE, file.SerializeToString())
        (evidence / file.sha256.hex()[:2] / file.sha256.hex()[2:]).unlink()
        gone = "note: 1 evidence files that records name are gone (quota, or damage)"
        said = call("fsck", data).stdout.splitlines()
        assert said == ["nothing to repair", gone], "what lies alone may wait for its record"
    orphaned = "1 evidence files that no record names would be deleted"
    found = call("fsck", data)
    assert (found.exit_code, found.stdout.splitlines()) == (1, [orphaned, gone])
    assert (evidence / alone[:2] / alone[2:]).exists(), "fsck alone writes nothing"
    aside = data / "records.db.set-aside-1"
    aside.touch()
    kept = "note: 1 evidence files that no record names are kept: a records.db was set aside or"
    said = call("fsck", data, "--repair").stdout.splitlines()
    assert said == ["nothing to repair", gone, f"{kept} missing"]
    aside.unlink()
    done = call("fsck", data, "--repair")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        orphaned, "done: 1 evidence files that no record names were deleted", gone,
    ]  # fmt: skip
    assert len(list(evidence.glob("*/*"))) == 1


@pytest.mark.parametrize("name", ["stat", "ls", "tail", "verify", "export", "fsck"])
def test_a_directory_without_a_buffer_is_one_line_and_exit_2(name: str, tmp_path: Path) -> None:
    for path, words in ((tmp_path, "holds no buffer"), (tmp_path / "none", "is no directory")):
        result = call(name, path)
        assert result.exit_code == 2
        (line,) = result.output.splitlines()
        assert words in line


def test_a_file_that_is_no_database_is_one_line(data: Path) -> None:
    (data / "telemetry.db").write_bytes(b"nonsense" * 1000)
    for name in ("stat", "verify", "tail"):
        result = call(name, data)
        assert result.exit_code == 2
        assert "telemetry.db" in result.output
    assert "would be set aside" in call("fsck", data).stdout


def test_export_of_the_rollup_has_a_row_a_minute(data: Path) -> None:
    result = call("export", data, "--rollup", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    first = [row for row in rows if row["point"] == NAMES[0]]
    assert first, result.output
    assert all(row["low"] <= row["mean"] <= row["high"] for row in first)
    assert sum(row["used"] for row in first) <= RECORDS
    bad = [row for row in rows if row["point"] == NAMES[1]]
    assert {row["quality"] for row in bad} == {"bad:comm_failure"}
    assert {(row["used"], row["mean"]) for row in bad} == {(0, None)}
    text = call("export", data, "--rollup", "--point", NAMES[2]).stdout.splitlines()
    assert text[0] == "point,minute,low,high,mean,quality,used,bad"
    assert text[1].startswith(f"{NAMES[2]},2026-")
    assert len(text) == 1 + len(first)


def test_export_without_a_rollup_says_so(data: Path) -> None:
    for file in data.glob("rollup.db*"):
        file.unlink()
    result = CliRunner().invoke(main, ["buffer", "export", str(data), "--rollup"])
    assert result.exit_code == 1
    assert "no rollup" in result.output

"""Damaged, foreign, empty, missing, older and newer files: it starts, and says what it lost."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from buffer.block import BlockDecoder
from buffer.contract import BufferPathError, Record, Stream, UnreadableError
from buffer.database import TELEMETRY, Database
from buffer.ranges import RangeSet
from tests.buffer.test_store import GOOD, POINTS, START_NS, check_chain, everything

if TYPE_CHECKING:
    from tests.buffer.conftest import HandClock, OpenBuffer

RECORDS = 120


async def fill(open_buffer: OpenBuffer, clock: HandClock) -> bytes:
    """Telemetry of 12 groups, alarms and one catalogue; gives the log id."""
    rng = np.random.default_rng(1)
    async with open_buffer(key_every_s=10) as log:
        log.set_catalogue(b"c" * 32)
        await log.add_record(Stream.EVENT, b"catalogue", keep=b"c" * 32, state={"ids": b"7"})
        for number in range(RECORDS):
            clock.advance(1)
            values = np.append(rng.random(9), number)
            await log.add_batch(POINTS, values, GOOD, clock.wall, clock.wall)
        for number in range(30):
            await log.add_record(Stream.ALARM, b"alarm %d" % number)
        return log.log_id


def numbers(records: list[Record]) -> list[int]:
    decoder = BlockDecoder()
    return [int(decoder.feed(record.payload)[0].values[9]) for record in records]


async def reopened(open_buffer: OpenBuffer, former: bytes) -> tuple[list[int], list[bytes], str]:
    """Open after damage: telemetry numbers, alarms, gap texts; checks what must always hold."""
    async with open_buffer() as log:
        assert log.log_id != former
        assert log.notes
        telemetry = await everything(log, Stream.TELEMETRY)
        check_chain(telemetry)
        assert [record.sequence for record in telemetry] == list(range(1, len(telemetry) + 1))
        found = numbers(telemetry)
        assert found == sorted(set(found))
        alarms = [record.payload for record in await everything(log, Stream.ALARM)]
        await log.add_batch(POINTS, np.ones(10), GOOD, START_NS, START_NS)
        await log.add_record(Stream.ALARM, b"next")
        name = log.log_id
        check_chain(await everything(log, Stream.ALARM))
        for digest, sequence in log.catalogue_records().items():
            kept = await log.read(Stream.EVENT, sequence, last=sequence, max_bytes=1)
            assert (digest, kept[0].payload) == (b"c" * 32, b"catalogue")
    async with open_buffer() as log:
        assert log.log_id == name
        assert not log.notes
        events = await everything(log, Stream.EVENT)
        check_chain(events)
        texts = [event.payload.decode() for event in events if event.payload.startswith(b"gap")]
    return found, alarms, "\n".join(texts)


def aside(tmp_path: Path, name: str) -> list[Path]:
    return [p for p in (tmp_path / "data").glob(f"{name}.set-aside-*") if p.suffix == ""] or list(
        (tmp_path / "data").glob(f"{name}.set-aside-*")
    )


def payload_of(path: Path, row: int) -> bytes:
    """Payload of a row of telemetry.db."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT payload FROM telemetry WHERE id = ?", [row]).fetchone()
    return bytes(found[0])


def damage_page(path: Path, text: bytes) -> None:
    """Overwrite the head of the page that holds `text`, as a failing disk does."""
    page = path.read_bytes().index(text) // 4096 * 4096
    with path.open("r+b") as file:
        file.seek(page)
        file.write(b"\xff" * 8)


async def test_telemetry_with_flipped_bytes(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    former = await fill(open_buffer, clock)
    path = tmp_path / "data" / "telemetry.db"
    content = bytearray(path.read_bytes())
    payload = payload_of(path, 66)
    at = content.index(payload)
    content[at + 20 : at + 30] = bytes(10)
    path.write_bytes(content)
    found, alarms, gaps = await reopened(open_buffer, former)
    assert len(alarms) == 30
    assert len(found) == RECORDS - 5
    assert "gap TELEMETRY corruption 0 0" in gaps
    assert sum(int(line.split()[5]) for line in gaps.splitlines()) == RECORDS - len(found)
    assert aside(tmp_path, "telemetry.db")


async def test_damage_met_while_reading(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    former = await fill(open_buffer, clock)
    path = tmp_path / "data" / "telemetry.db"
    payload = payload_of(path, 66)
    async with open_buffer() as log:
        damage_page(path, payload)
        log._mender.stop()  # as if the gateway ended before that: the next start repairs
        held = await everything(log, Stream.TELEMETRY)
        assert [one.sequence for one in held] == list(range(1, len(held) + 1))
        assert 40 <= len(held) < 66
        first = len(held) + 1
        while first <= 66:  # none of these is taken for one that is gone
            with pytest.raises(UnreadableError) as failure:
                await log.read(Stream.TELEMETRY, first, last=RECORDS, max_bytes=1 << 30)
            assert failure.value.first == first < failure.value.stop
            first = failure.value.stop
        for first in range(first, RECORDS):  # noqa: B020 - on to the next page
            with contextlib.suppress(UnreadableError):
                assert await log.read(Stream.TELEMETRY, first, last=RECORDS, max_bytes=1)
                break
        else:
            raise AssertionError("what lies behind the damage cannot be read either")
        good, text = log.health()
        assert not good
        assert "cannot be read" in text
    found, alarms, gaps = await reopened(open_buffer, former)
    assert 60 <= len(found) < RECORDS
    assert len(alarms) == 30
    assert "gap TELEMETRY corruption" in gaps


async def test_telemetry_cut_short(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    former = await fill(open_buffer, clock)
    path = tmp_path / "data" / "telemetry.db"
    path.write_bytes(path.read_bytes()[: 4096 * 5 + 100])
    found, alarms, gaps = await reopened(open_buffer, former)
    assert len(alarms) == 30
    assert len(found) < RECORDS
    assert "gap TELEMETRY corruption" in gaps


@pytest.mark.parametrize("empty", [["telemetry"], ["telemetry", "records"], ["records"]])
async def test_a_first_start_that_was_cut_off_lost_nothing(
    empty: list[str], open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    """Its empty files are no damage (found by the sweep: the very first write failed)."""
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    for name in empty:
        (data / f"{name}.db").touch()
    if empty == ["records"]:  # telemetry.db was made; the log id is settled with both
        Database(data / "telemetry.db", TELEMETRY).close()
    async with open_buffer() as log:
        assert not log.notes
        await log.add_record(Stream.ALARM, b"first")
    async with open_buffer() as log:
        assert not log.notes
        assert not await everything(log, Stream.EVENT)
    assert not list(data.glob("*.set-aside-*"))


@pytest.mark.parametrize("name", ["telemetry.db", "records.db"])
@pytest.mark.parametrize("damage", ["foreign", "empty", "other program", "newer", "missing"])
async def test_files_that_are_not_ours(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path, name: str, damage: str
) -> None:
    former = await fill(open_buffer, clock)
    path = tmp_path / "data" / name
    if damage == "foreign":
        path.write_bytes(b"GIF89a" + bytes(5_000))
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "missing":
        path.unlink()
    else:
        with sqlite3.connect(path) as connection:
            pragma = "application_id = 7" if damage == "other program" else "user_version = 99"
            connection.execute(f"PRAGMA {pragma}")
        connection.close()
    found, alarms, _ = await reopened(open_buffer, former)
    if damage == "newer":
        assert (len(found), len(alarms)) == (RECORDS, 30)
    elif name == "records.db":
        assert len(found) == RECORDS
    else:
        assert len(alarms) == 30
    if damage != "missing":
        assert aside(tmp_path, name)


async def test_records_with_flipped_bytes_keep_state_and_catalogue(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    former = await fill(open_buffer, clock)
    path = tmp_path / "data" / "records.db"
    content = bytearray(path.read_bytes())
    at = content.index(b"alarm 20")
    content[at : at + 8] = b"ALARM 20"
    path.write_bytes(content)
    found, alarms, gaps = await reopened(open_buffer, former)
    assert len(found) == RECORDS
    assert len(alarms) == 29
    assert "gap ALARM corruption 0 0 1" in gaps
    async with open_buffer() as log:
        assert log.state("ids") == b"7"
        assert set(log.catalogue_records()) == {b"c" * 32}


async def test_one_file_from_a_backup(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    former = await fill(open_buffer, clock)
    backup = tmp_path / "backup.db"
    shutil.copy(tmp_path / "data" / "telemetry.db", backup)
    async with open_buffer() as log:
        await log.add_batch(POINTS, np.ones(10), GOOD, START_NS, START_NS)
        log.acknowledge("province", Stream.TELEMETRY, RangeSet([(1, RECORDS + 2)]))
    shutil.copy(backup, tmp_path / "data" / "telemetry.db")
    async with open_buffer() as log:
        assert log.log_id != former
        assert any("log id is new" in note for note in log.notes)


async def test_data_directory_below_a_file(tmp_path: Path, open_buffer: OpenBuffer) -> None:
    (tmp_path / "data").write_bytes(b"a file")
    with pytest.raises(BufferPathError, match=r"Data directory .* cannot be used"):
        open_buffer()


async def test_a_repair_sends_again_what_was_not_acknowledged_and_nothing_else(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    """Sequences of the damaged file start above 1 after an eviction; those of the new log at 1."""
    former = await fill(open_buffer, clock)
    quota = {**dict.fromkeys(Stream, 1 << 30), Stream.TELEMETRY: 16_000}
    async with open_buffer(key_every_s=10, quota_bytes=quota) as log:
        for number in range(RECORDS, RECORDS + 15):
            clock.advance(1)
            values = np.append(np.zeros(9), number)
            await log.add_batch(POINTS, values, GOOD, clock.wall, clock.wall)
        first = log.bounds(Stream.TELEMETRY).first
        assert first > 20
        log.acknowledge("province", Stream.TELEMETRY, RangeSet([(1, 101)]))
        log.acknowledge("province", Stream.ALARM, RangeSet([(1, 11)]))
    with sqlite3.connect(tmp_path / "data" / "telemetry.db") as connection:
        connection.execute("UPDATE telemetry SET payload = x'00' WHERE id = 125")
    connection.close()
    found, alarms, _ = await reopened(open_buffer, former)
    assert found == [*range(100, 120), *range(120, 124), *range(130, RECORDS + 15)]
    assert alarms == [b"alarm %d" % number for number in range(10, 30)]


async def test_a_new_file_is_not_trimmed_by_evictions_of_the_one_before(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    await fill(open_buffer, clock)
    quota = {**dict.fromkeys(Stream, 1 << 30), Stream.TELEMETRY: 5_000}
    async with open_buffer(quota_bytes=quota) as log:
        await log.add_batch(POINTS, np.ones(10), GOOD, clock.wall, clock.wall)
        await log.add_record(Stream.ALARM, b"after the eviction was promised")
    (tmp_path / "data" / "telemetry.db").unlink()
    for number in range(2):
        async with open_buffer() as log:
            values = np.append(np.zeros(9), number)
            await log.add_batch(POINTS, values, GOOD, clock.wall, clock.wall)
    async with open_buffer() as log:
        assert numbers(await everything(log, Stream.TELEMETRY)) == [0, 1]

"""Damage far back in a large file: found in the background, and repaired."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from buffer import recover
from buffer.contract import Stream
from buffer.store import Buffer
from tests.buffer.test_store import add, everything
from tests.waiting import until

if TYPE_CHECKING:
    from tests.buffer.conftest import OpenBuffer

RECORDS = recover.VERIFY_ROWS + 300


async def repaired(log: Buffer) -> str:
    """What is said of the damage; waits until it is repaired."""
    told: list[str] = []
    log.add_repair_listener(told.append)
    await until(lambda: told)
    return told[0]


async def test_damage_far_back_is_found_in_the_background_and_repaired(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer() as log:
        for number in range(RECORDS):
            log.add_record(Stream.EVENT, b"event %d" % number)
        await add(log, 1)
        log_id = log.log_id
    with sqlite3.connect(tmp_path / "data" / "records.db") as db:
        db.execute("UPDATE event SET payload = CAST('forged' AS BLOB) WHERE id = 100")
    db.close()
    async with open_buffer(verify_whole_bytes=4_096) as log:
        assert not log.notes, "the start did not look so far back"
        assert log.log_id == log_id
        text = await repaired(log)
        assert "records.db was set aside" in text
        assert "event record 100 is not intact" in text
        await log.add_record(Stream.ALARM, b"an alarm is stored all the same")
        assert log.health()[0]
    async with open_buffer(verify_whole_bytes=4_096) as log:
        assert not log.notes
        assert len(await everything(log, Stream.EVENT)) >= RECORDS - 1
        assert log.health()[0]


async def test_a_sound_file_is_looked_through_and_nothing_is_said(
    open_buffer: OpenBuffer,
) -> None:
    async with open_buffer() as log:
        for number in range(300):
            log.add_record(Stream.ALARM, b"%d" % number)
        await add(log, 1)
    async with open_buffer(verify_whole_bytes=1) as log:
        await until(log._scrub.done.is_set)
        assert log.health()[0]

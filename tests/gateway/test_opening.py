"""A gateway in memory holds its data directory, also after a try that failed."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from buffer.contract import BufferPathError
from buffer.memory_folder import Folder
from buffer.policy import BufferConfig
from buffer.stand_in import HandOver, StandIn, in_memory
from buffer.store import Buffer
from gateway.config.load import load
from gateway.model.event import gap_event
from gateway.runtime.clock import SystemClock
from gateway.sources.opening import Disk
from tests.waiting import until

SITE = """
[gateway]
id = "SD-370800-000123-01"
enterprise = "91370800MA3C000000"
data_dir = "data"
"""


class Hasty(SystemClock):
    """Waits for nothing long."""

    async def sleep_until(self, monotonic_ns: int) -> None:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("records", [True, False])
async def test_an_operator_is_told_that_no_camera_is_recorded(
    tmp_path: Path, records: bool
) -> None:
    site, folder, clock = tmp_path / "site.toml", Folder(tmp_path / "data"), Hasty()
    try:
        memory = StandIn.open(
            tmp_path / "memory", in_memory(BufferConfig()), clock=clock, boot_id=bytes(16),
            encode_gap=gap_event,
        )  # fmt: skip
        disk = Disk(tmp_path / "data", folder, lambda: load(site), clock)
        why = BufferPathError("The disk is read-only.", passes=True)
        async with memory:
            disk.begin(memory, why, HandOver(), records=records)
            well, said = memory.health()
        assert not well
        assert said.startswith("The disk is read-only. Everything is in memory only")
        assert ("No camera is recorded." in said) == records
        assert ("无录像" in said) == records
    finally:
        folder.remove()


async def test_the_data_directory_is_held_again_after_a_try_that_failed(tmp_path: Path) -> None:
    data, site = tmp_path / "data", tmp_path / "site.toml"
    site.write_text(SITE, encoding="utf-8")
    clock = Hasty()
    boot, config = bytes(16), BufferConfig()
    async with Buffer.open(data, config, clock=clock, boot_id=boot, encode_gap=gap_event):
        pass
    folder = Folder(data)
    disk = Disk(data, folder, lambda: load(site), clock)
    with closing(sqlite3.connect(data / "records.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        async with asyncio.TaskGroup() as group:
            trying = group.create_task(disk.run())
            await until(lambda: disk.statistics()["tries"] > 0 and "locked" in disk.health()[1])
            with pytest.raises(BufferPathError, match="in use by another process"):
                Folder(data)
            assert not disk.is_back
            other.execute("ROLLBACK")
            other.close()
            await until(lambda: disk.is_back)
            with pytest.raises(BufferPathError, match="in use by another process"):
                Folder(data)
            trying.cancel()
    disk.leave()
    Folder(data).remove()

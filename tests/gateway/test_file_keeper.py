"""Evidence files and records kept together, with the real log: what goes, and what is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from buffer.contract import Stream
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.runtime.clock import SystemClock
from gateway.sources.file_keeper import FileKeeper
from gateway.wire.v1 import uplink_pb2 as wire
from tests.buffer.conftest import BOOT_ID, encode_gap


def opened(folder: Path) -> Buffer:
    config = BufferConfig(commit_ms=1, reserve_bytes=0, rollup_quota_bytes=0)
    return Buffer.open(folder, config, clock=SystemClock(), boot_id=BOOT_ID, encode_gap=encode_gap)


async def test_an_orphan_is_deleted_and_told_and_a_file_that_is_gone_is_told_once(
    tmp_path: Path,
) -> None:
    told: list[tuple[str, Mapping[str, str]]] = []
    async with opened(tmp_path) as log:
        alone = await log.put_file(b"a crash came before its record")
        for content in (b"one", b"two"):
            file = wire.EvidenceFile(sha256=await log.put_file(content), total_bytes=3)
            await log.add_record(Stream.EVIDENCE, file.SerializeToString())
        await log.add_record(Stream.EVIDENCE, b"\xff no message")
    async with opened(tmp_path) as log:
        keeper = FileKeeper(log, SystemClock(), lambda kind, _, __, more: told.append((kind, more)))
        await keeper.look()
        assert told == [("evidence.collected", {"files": "1"})]
        name = alone.hex()
        assert not (tmp_path / "evidence" / name[:2] / name[2:]).exists()
        for path in (tmp_path / "evidence").glob("*/*"):
            path.unlink()
        await keeper.look()
        await keeper.look()
        assert told[1:] == [("evidence.missing", {"files": "2"})]

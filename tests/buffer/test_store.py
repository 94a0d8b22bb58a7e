"""Buffer on disk: receipts, chain, restart, reading, cursors, evidence."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from buffer.block import BlockDecoder
from buffer.contract import (
    NO_HASH,
    BufferPathError,
    Record,
    Stream,
    chain_hash,
)
from buffer.policy import BufferConfig
from buffer.ranges import RangeSet
from buffer.store import Buffer

if TYPE_CHECKING:
    from tests.buffer.conftest import HandClock, OpenBuffer

POINTS = np.arange(10, dtype=np.int32)
GOOD = np.zeros(10, np.uint16)


START_NS = 1_790_000_000 * 10**9


async def add(log: Buffer, value: float, at_ns: int = START_NS) -> None:
    await log.add_batch(POINTS, np.full(10, value), GOOD, at_ns, at_ns)


async def everything(log: Buffer, stream: Stream) -> list[Record]:
    bounds = log.bounds(stream)
    return await log.read(stream, bounds.first, last=bounds.next, max_bytes=1 << 30)


def check_chain(records: Sequence[Record], previous: bytes = NO_HASH) -> None:
    for record in records:
        assert record.previous_hash == previous
        previous = chain_hash(previous, record.stream, record.sequence, record.payload)
        assert record.hash == previous


async def test_receipt_completes_when_the_batch_can_be_read(open_buffer: OpenBuffer) -> None:
    async with open_buffer() as log:
        log.set_catalogue(b"c" * 32)
        heard: list[Record] = []
        log.add_listener(lambda stream, records: heard.extend(records))
        for value in (1.5, 2.5, 3.5):
            await add(log, value)
        records = await everything(log, Stream.TELEMETRY)
        assert records == heard
        assert [record.sequence for record in records] == [1, 2, 3]
        assert [record.group for record in records] == [1, 1, 1]
        assert records[0].catalogue == b"c" * 32
        check_chain(records)
        decoder = BlockDecoder()
        values = [decoder.feed(record.payload)[0].values[0] for record in records]
        assert values == [1.5, 2.5, 3.5]
        assert await log.group_start(3) == 1


async def test_restart_continues_the_log(open_buffer: OpenBuffer) -> None:
    async with open_buffer() as log:
        name = log.log_id
        await add(log, 1.0)
        await add(log, 2.0)
        assert await log.add_record(Stream.ALARM, b"one", state={"open": b"1"}) == 1
        log.acknowledge("province", Stream.TELEMETRY, RangeSet([(1, 2)]))
    async with open_buffer() as log:
        assert log.log_id == name
        assert log.state("open") == b"1"
        assert list(log.cursor("province", Stream.TELEMETRY)) == [(1, 2)]
        await add(log, 3.0)
        assert await log.add_record(Stream.ALARM, b"two") == 2
        records = await everything(log, Stream.TELEMETRY)
        assert [(record.sequence, record.group) for record in records] == [(1, 1), (2, 1), (3, 3)]
        check_chain(records)
        check_chain(await everything(log, Stream.ALARM))
        assert not log.notes


async def test_cursors_alone_wait_for_no_disk_and_every_record_does(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    full, normal = 2, 1  # sqlite.org/pragma.html#pragma_synchronous

    async def acknowledged(log: Buffer, stop: int) -> int:
        """Save a cursor, wait until it is in the file; how far that commit waited for the disk."""
        database = log._records_writer.database.connection
        log.acknowledge("province", Stream.ALARM, RangeSet([(1, stop)]))
        log._saver.now()
        while True:
            row = database.execute("SELECT ranges FROM cursor WHERE stream = 1").fetchone()
            if row is not None and row[0] == f"1-{stop}":
                return int(database.execute("PRAGMA synchronous").fetchone()[0])
            await asyncio.sleep(0.01)

    async with open_buffer() as log:
        database = log._records_writer.database.connection
        for number in range(2, 5):
            await log.add_record(Stream.ALARM, b"alarm")
            assert database.execute("PRAGMA synchronous").fetchone()[0] == full
            assert await acknowledged(log, number) == normal
        clock.advance(31)
        assert await acknowledged(log, 5) == full, "at most so old after a power cut"
    async with open_buffer() as log:
        assert list(log.cursor("province", Stream.ALARM)) == [(1, 5)]


async def test_leaving_stores_what_is_queued(open_buffer: OpenBuffer) -> None:
    async with open_buffer(commit_ms=60_000) as log:
        receipt = log.add_batch(POINTS, np.ones(10), GOOD, 1, 1)
    assert receipt.done()
    assert receipt.exception() is None
    async with open_buffer() as log:
        assert len(await everything(log, Stream.TELEMETRY)) == 1


async def test_evidence_is_read_in_parts(open_buffer: OpenBuffer) -> None:
    async with open_buffer() as log:
        digest = await log.put_file(b"0123456789")
        assert digest == hashlib.sha256(b"0123456789").digest()
        assert await log.read_file(digest, 4, 3) == b"456"
        assert await log.read_file(digest, 10, 3) == b""
        with pytest.raises(FileNotFoundError):
            await log.read_file(bytes(32), 0, 1)


async def test_evidence_quota_takes_the_oldest_file(open_buffer: OpenBuffer) -> None:
    quota = {**BufferConfig().quota_bytes, Stream.EVIDENCE: 2_500}
    async with open_buffer(quota_bytes=quota) as log:
        digests = [await log.put_file(bytes([number]) * 1_000) for number in range(4)]
        with pytest.raises(FileNotFoundError):
            await log.read_file(digests[0], 0, 1)
        assert await log.read_file(digests[3], 0, 1) == b"\3"
    async with open_buffer() as log:
        events = [record.payload for record in await everything(log, Stream.EVENT)]
        assert events == [b"gap EVIDENCE quota 0 0 1"] * 2


async def test_a_file_that_is_given_again_is_not_the_oldest(open_buffer: OpenBuffer) -> None:
    """A camera that shows the same picture: the evidence of today's alarm was taken for old."""
    quota = {**BufferConfig().quota_bytes, Stream.EVIDENCE: 2_500}
    async with open_buffer(quota_bytes=quota) as log:
        digests = [await log.put_file(bytes([number]) * 1_000) for number in (0, 1, 0, 2)]
        with pytest.raises(FileNotFoundError):
            await log.read_file(digests[1], 0, 1)
        assert await log.read_file(digests[0], 0, 1) == b"\0"


async def test_new_log_id_carries_what_nobody_acknowledged(open_buffer: OpenBuffer) -> None:
    async with open_buffer(key_every_s=0) as log:
        for value in range(5):
            await add(log, float(value))
        await log.add_record(Stream.ALARM, b"alarm")
        log.acknowledge("province", Stream.TELEMETRY, RangeSet([(1, 4)]))
        former = log.log_id
        assert log.renew_log_id("the receiver knows more") != former
        await add(log, 5.0)
        assert await log.add_record(Stream.ALARM, b"next") == 2
        records = await everything(log, Stream.TELEMETRY)
        assert [record.sequence for record in records] == [1, 2, 3]
        check_chain(records)
        check_chain(await everything(log, Stream.ALARM))
        decoded = [BlockDecoder().feed(record.payload)[0].values[0] for record in records]
        assert decoded == [3.0, 4.0, 5.0]
        assert not log.cursor("province", Stream.TELEMETRY)
        name = log.log_id
    async with open_buffer() as log:
        assert log.log_id == name
        assert len(await everything(log, Stream.TELEMETRY)) == 3


async def test_records_of_a_new_log_id_stay_intact_while_those_before_it_are_evicted(
    open_buffer: OpenBuffer,
) -> None:
    quota = {**BufferConfig().quota_bytes, Stream.TELEMETRY: 2_000}
    firsts = []
    async with open_buffer(key_every_s=0, quota_bytes=quota, commit_ms=0) as log:
        for value in range(4):
            await add(log, float(value))
        log.acknowledge("province", Stream.TELEMETRY, RangeSet([(1, 5)]))
        log.renew_log_id("the receiver knows more")
        for value in range(4, 40):
            await add(log, float(value))
            first, *others = await everything(log, Stream.TELEMETRY)
            firsts.append(first.sequence)
            check_chain([first, *others], NO_HASH if first.sequence == 1 else first.previous_hash)
        last = log.bounds(Stream.TELEMETRY).next
    assert firsts[0] == 1 < firsts[-1], "records from before and after were evicted"
    async with open_buffer(key_every_s=0, quota_bytes=quota) as log:
        assert log.bounds(Stream.TELEMETRY).next == last
        assert not log.notes


async def test_time_range_gives_whole_groups(open_buffer: OpenBuffer, clock: HandClock) -> None:
    async with open_buffer() as log:
        for second in range(6):
            if second % 2 == 0:
                log.request_key()
            await add(log, 1.0, START_NS + second)
        assert await log.sequences_between(Stream.TELEMETRY, START_NS + 3, START_NS + 3) == (3, 4)
        assert await log.sequences_between(Stream.TELEMETRY, START_NS + 1, START_NS + 4) == (1, 6)
        assert await log.sequences_between(Stream.TELEMETRY, 0, 10) == (1, 0)


async def test_second_process_is_kept_out(open_buffer: OpenBuffer) -> None:
    async with open_buffer():
        with pytest.raises(BufferPathError, match="in use"):
            open_buffer()


async def test_a_lock_that_cannot_be_opened_is_said(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    (tmp_path / "data" / "lock").mkdir(parents=True)
    with pytest.raises(BufferPathError, match="cannot be used: lock: Is a directory"):
        open_buffer()


async def test_path_that_is_a_file_is_refused(open_buffer: OpenBuffer, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(BufferPathError, match="cannot be used"):
        open_buffer()


async def test_what_is_known_of_the_clock_is_on_every_record_until_it_is_set(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    async with open_buffer() as log:
        await log.add_record(Stream.EVENT, b"before anybody knew")
        base_ns = clock.wall - clock.monotonic
        log.set_clock_quality(5, synchronised=True, wall_less_monotonic_ns=base_ns)
        await log.add_record(Stream.EVENT, b"known to be right")
        clock.wall += 3_600 * 10**9
        await log.add_record(Stream.EVENT, b"set, and not judged yet")
        await add(log, 1.0)
        log.set_clock_quality(-7, synchronised=False, wall_less_monotonic_ns=base_ns)
        clock.wall -= 3_600 * 10**9
        await log.add_record(Stream.EVENT, b"known to be wrong")
        found = await everything(log, Stream.EVENT)
        assert [(one.clock_offset_ns, one.synchronised) for one in found] == [
            (0, False), (5, True), (5, False), (-7, False),
        ]  # fmt: skip
        assert [one.synchronised for one in await everything(log, Stream.TELEMETRY)] == [False]

"""Orphan collection: what goes is what no record names and nobody may still name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from buffer.contract import Stream
from buffer.filing import Collected, Waiting, orphans

if TYPE_CHECKING:
    from tests.buffer.conftest import OpenBuffer

NAMES = st.sets(st.sampled_from([bytes([at]) * 32 for at in range(6)]))


@given(files=NAMES, named=NAMES, waiting=NAMES)
def test_an_orphan_is_there_named_by_nobody_and_waits_for_nothing(
    files: set[bytes], named: set[bytes], waiting: set[bytes]
) -> None:
    gone = orphans(files, named, waiting)
    assert gone <= files
    assert not gone & (named | waiting)
    assert files - gone <= named | waiting


STEPS = st.lists(
    st.tuples(st.sampled_from(["give", "commit", "evict", "collect"]), st.integers(0, 2)),
    max_size=40,
)


@given(steps=STEPS)
@example(  # given again while an older record of it is held, which then goes
    steps=[("give", 0), ("commit", 0), ("give", 0), ("collect", 0), ("evict", 0), ("collect", 0)]
)
def test_what_was_given_stays_until_its_own_record_is_committed_and_evicted(
    steps: list[tuple[str, int]],
) -> None:
    """Against a plain model: a list of givings without a record, and one of records held."""
    waiting = Waiting()
    lying: set[bytes] = set()
    givings: list[bytes] = []
    records: list[bytes] = []
    for step, which in steps:
        digest = bytes([which]) * 32
        if step == "give":
            lying.add(digest)
            givings.append(digest)
            waiting.give(digest)
        elif step == "commit" and digest in givings:
            givings.remove(digest)
            records.append(digest)
            waiting.committed(digest)
        elif step == "evict" and records:
            records.pop(0)
        elif step == "collect":
            lying -= orphans(lying, records, waiting.files())
            assert lying == {*records, *givings}


def test_a_record_of_a_file_that_nobody_gave_takes_no_later_givings_place() -> None:
    waiting = Waiting()
    waiting.committed(b"left by an earlier run")
    waiting.give(b"left by an earlier run")
    assert waiting.files() == {b"left by an earlier run"}


def named_by(payload: bytes) -> bytes:
    """The test's evidence records hold nothing but the name of their file."""
    return payload


def lying(folder: Path) -> set[bytes]:
    found = (folder / "data" / "evidence").glob("*/*")
    return {bytes.fromhex(path.parent.name + path.name) for path in found}


async def test_a_file_without_a_record_goes_at_the_next_start_and_no_other(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer() as log:
        named = await log.put_file(b"named")
        await log.add_record(Stream.EVIDENCE, named)
        alone = await log.put_file(b"its record never came")
        assert await log.collect_files(named_by) == Collected(0, 0), "it may still be named"
        assert lying(tmp_path) == {named, alone}
    async with open_buffer() as log:
        again = await log.put_file(b"its record never came")  # as a camera would, after a restart
        assert again == alone
        assert await log.collect_files(named_by) == Collected(0, 0)
    async with open_buffer() as log:
        assert await log.collect_files(named_by) == Collected(1, 0)
        assert lying(tmp_path) == {named}
        assert await log.read_file(named, 0, 100) == b"named"


async def test_a_record_whose_file_is_gone_is_counted(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer() as log:
        for content in (b"one", b"two"):
            await log.add_record(Stream.EVIDENCE, await log.put_file(content))
        name = hashlib.sha256(b"one").hexdigest()
        (tmp_path / "data" / "evidence" / name[:2] / name[2:]).unlink()
        assert await log.collect_files(named_by) == Collected(0, 1)


async def test_a_file_goes_with_the_record_that_named_it(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    quota = {**dict.fromkeys(Stream, 1 << 30), Stream.EVIDENCE: 1_000}
    async with open_buffer(quota_bytes=quota) as log:
        for number in range(40):
            await log.add_record(Stream.EVIDENCE, await log.put_file(bytes([number]) * 10))
        for _ in range(3):  # an eviction under way is over by the next look
            await log.collect_files(named_by)
        held = await log.read(Stream.EVIDENCE, 1, last=100, max_bytes=1 << 20)
        assert len(held) < 10
        assert {record.payload for record in held} <= lying(tmp_path)


async def test_content_given_again_outlives_the_older_record_that_named_it(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    quota = {**dict.fromkeys(Stream, 1 << 30), Stream.EVIDENCE: 1_000}
    async with open_buffer(quota_bytes=quota) as log:
        older = await log.add_record(Stream.EVIDENCE, await log.put_file(b"still"))
        again = await log.put_file(b"still")  # its record is to come
        assert await log.collect_files(named_by) == Collected(0, 0), "the older record names it"
        for number in range(60):  # until the older record is evicted
            await log.add_record(Stream.EVIDENCE, await log.put_file(bytes([number]) * 10))
        assert log.bounds(Stream.EVIDENCE).first > older
        for _ in range(3):
            await log.collect_files(named_by)
        assert again in lying(tmp_path)
        await log.add_record(Stream.EVIDENCE, again)
        await log.collect_files(named_by)
        assert again in lying(tmp_path), "named again"
        for number in range(60):
            await log.add_record(Stream.EVIDENCE, await log.put_file(bytes([number]) * 11))
        for _ in range(3):
            await log.collect_files(named_by)
        assert again not in lying(tmp_path), "its protection ended with its record"


async def test_nothing_goes_where_the_file_of_records_was_missing(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer() as log:
        alone = await log.put_file(b"named by what is missing")
        await log.add_record(Stream.EVIDENCE, alone)
    for file in (tmp_path / "data").glob("records.db*"):
        file.unlink()
    for _ in range(2):  # nor at a later start
        async with open_buffer() as log:
            assert await log.collect_files(named_by) == Collected(0, 0)
        assert lying(tmp_path) == {alone}


async def test_nothing_goes_where_a_damaged_file_of_records_was_set_aside(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer() as log:
        alone = await log.put_file(b"named by what was set aside")
    (tmp_path / "data" / "records.db.set-aside-1").write_bytes(b"damaged")
    async with open_buffer() as log:
        assert await log.collect_files(named_by) == Collected(0, 0)
    assert lying(tmp_path) == {alone}

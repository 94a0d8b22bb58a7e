"""One-minute rollup: the arithmetic, and that it keeps up with the log through anything."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffer.block import ColumnBatch
from buffer.patient import is_damage
from buffer.policy import BufferConfig
from buffer.rollup import MINUTE_NS, Minute, Roller, decode, encode, merged
from buffer.rollup_writer import FILE, RollupReader, RollupWriter
from buffer.store import Buffer
from tests.buffer.test_store import START_NS

if TYPE_CHECKING:
    from tests.buffer.conftest import HandClock, OpenBuffer

SAMPLE = st.tuples(
    st.integers(0, 700),
    st.one_of(st.floats(width=32), st.just(math.nan), st.just(math.inf)),
    st.sampled_from([0, 0x4000, 0x8000, 0x80AA]),
)


def batch_of(samples: list[tuple[int, float, int]]) -> ColumnBatch:
    points, values, quality = zip(*samples, strict=True) if samples else ((), (), ())
    return ColumnBatch(
        np.array(points, np.int32), np.array(values, np.float64), np.array(quality, np.uint16), 0, 0
    )


def plainly(samples: list[tuple[int, float, int]], point: int) -> Minute | None:
    """The same, one value at a time."""
    mine = [(value, quality) for at, value, quality in samples if at == point]
    if not mine:
        return None
    used = [value for value, quality in mine if quality < 0x8000 and not math.isnan(value)]
    with np.errstate(invalid="ignore"):
        mean = float(np.sum(np.array(used))) / len(used) if used else math.nan
    return Minute(
        0, len(used), len(mine) - len(used), min(used, default=math.nan),
        max(used, default=math.nan), mean, max(quality for _, quality in mine),
    )  # fmt: skip


def same(one: Minute | None, other: Minute | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(
        a == b
        or (math.isnan(a) and math.isnan(b))
        or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6)
        for a, b in zip(one, other, strict=True)
    )


@given(st.lists(st.lists(SAMPLE, max_size=20), max_size=5))
def test_a_minute_is_what_its_samples_say(batches: list[list[tuple[int, float, int]]]) -> None:
    roller = Roller()
    for samples in batches:
        roller.feed(batch_of(samples))
    columns = roller.take(0)
    everything = [one for samples in batches for one in samples]
    # Sums of huge values cancel in whatever order they come.
    if not any(abs(value) > 1e30 for _, value, _ in everything):
        for point in {at for at, _, _ in everything} | {9_999}:
            assert same(columns.minute(point), plainly(everything, point))
    for chunk, payload in encode(columns):
        again = decode(0, payload)
        assert {int(point) // 256 for point in again.points} == {chunk}
        for point in again.points.tolist():
            assert same(again.minute(point), columns.minute(point))
    assert len(roller.take(1).points) == 0, "it begins anew"


@given(st.lists(SAMPLE, min_size=1, max_size=30), st.integers(0, 30))
def test_parts_of_a_minute_add_up(samples: list[tuple[int, float, int]], cut: int) -> None:
    samples = [(1, value, quality) for _, value, quality in samples if abs(value) < 1e30]
    parts = []
    for some in (samples[:cut], samples[cut:]):
        roller = Roller()
        roller.feed(batch_of(some))
        parts += [row for row in [roller.take(0).minute(1)] if row is not None]
    assert same(next(iter(merged(parts)), None), plainly(samples, 1))


@pytest.mark.parametrize("payload", [b"", b"\x01\x02\x00abc", b"\x09\x00\x00"])
def test_what_is_no_rollup_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="rollup"):
        decode(0, payload)


def test_text_is_counted() -> None:
    roller = Roller()
    points, quality = np.array([3, 3], np.int32), np.array([0, 0x8000], np.uint16)
    roller.feed(ColumnBatch(points, ("on", "off"), quality, 0, 0))
    found = roller.take(0).minute(3)
    assert found is not None
    assert (found.used, found.bad, found.quality) == (1, 1, 0x8000)
    assert math.isnan(found.mean)


async def fill(log: Buffer, clock: HandClock, first: int, count: int) -> None:
    """A value a second: point 7 has the number of the second."""
    for second in range(first, first + count):
        await log.add_batch(
            np.array([7], np.int32), np.array([float(second)]), np.zeros(1, np.uint16),
            clock.wall, clock.wall,
        )  # fmt: skip
        clock.advance(1)


async def minutes(log: Buffer, count: int) -> list[Minute]:
    """The rollup of point 7, once it has so many minutes."""
    for _ in range(6_000):
        found = await log.rollup(7, 0, 1 << 62)
        if len(found) >= count:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{len(found)} minutes, not {count}")


def check(found: list[Minute], seconds: int) -> None:
    """Each second counts once."""
    first_s = START_NS // 10**9
    for row in found:
        inside = [s for s in range(seconds) if (first_s + s) // 60 == row.minute_ns // MINUTE_NS]
        assert (row.used, row.bad, row.quality) == (len(inside), 0, 0)
        assert (row.low, row.high) == (inside[0], inside[-1])
        assert math.isclose(row.mean, sum(inside) / len(inside))


async def test_the_rollup_follows_the_log_over_restarts(
    open_buffer: OpenBuffer, clock: HandClock
) -> None:
    for run in range(3):
        async with open_buffer(rollup_quota_bytes=1 << 20, key_every_s=20) as log:
            await fill(log, clock, 130 * run, 130)
            found = await minutes(log, 1 + 2 * run)
            assert log.health()[0]
    async with open_buffer(rollup_quota_bytes=1 << 20) as log:
        await fill(log, clock, 390, 1)
        found = await minutes(log, 6)
    check(found, 390)


async def test_what_the_log_holds_is_caught_up_with_and_a_damaged_file_is_made_anew(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    async with open_buffer(key_every_s=20) as log:
        await fill(log, clock, 0, 300)
        assert await log.rollup(7, 0, 1 << 62) == []
    path = tmp_path / "data" / "rollup.db"
    path.write_bytes(b"this is no database " * 100)
    async with open_buffer(rollup_quota_bytes=1 << 20) as log:
        check(await minutes(log, 4), 300)
    assert list(path.parent.glob("rollup.db.set-aside-*"))


async def test_a_range_is_cut_by_minutes_and_the_oldest_go_at_the_quota(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    async with open_buffer(rollup_quota_bytes=1 << 20, key_every_s=20) as log:
        await fill(log, clock, 0, 400)
        found = await minutes(log, 6)
        second = found[2].minute_ns
        cut = await log.rollup(7, second, second + 2 * MINUTE_NS)
        assert cut == found[2:4]
        assert await log.rollup(8, 0, 1 << 62) == []
    async with open_buffer(rollup_quota_bytes=1, key_every_s=20) as log:
        await fill(log, clock, 400, 200)
        for _ in range(6_000):
            left = await log.rollup(7, 0, 1 << 62)
            if left and left[0].minute_ns > found[0].minute_ns:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("nothing was taken")
    reader = RollupReader(tmp_path / "data")
    assert reader.points() == [7]
    reader.close()
    with sqlite3.connect(tmp_path / "data" / "telemetry.db") as db:
        assert db.execute("SELECT count(*) FROM telemetry").fetchone()[0] == 600
    db.close()


def test_a_rollup_that_cannot_be_written_does_not_make_the_log_suspect(
    clock: HandClock, tmp_path: Path
) -> None:
    """A full disk had the sound file of telemetry repaired, and began a new log id."""
    (tmp_path / FILE).mkdir()
    suspected: list[tuple[str, str]] = []
    writer = RollupWriter(tmp_path, BufferConfig(), clock, lambda *told: suspected.append(told))
    writer.start()
    for _ in range(12_000):
        if writer.failure:
            break
        threading.Event().wait(0.01)
    writer.stop()
    assert "not written" in writer.failure
    assert not suspected


@pytest.mark.parametrize(
    ("code", "damage"),
    [
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_IOERR_WRITE, False),
        (sqlite3.SQLITE_IOERR_FSYNC, False),
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_NOTADB, True),
        (sqlite3.SQLITE_IOERR_READ, True),
    ],
)
def test_only_what_is_in_a_file_is_damage(code: int, damage: bool) -> None:
    failure = sqlite3.OperationalError("said so")
    failure.sqlite_errorcode = code
    assert is_damage(failure) is damage
    assert not is_damage(OSError(28, "No space left on device"))

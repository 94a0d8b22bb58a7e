"""Rows of the log: the codec against memory, the buffer against raw write and fdatasync.

Each figure and its limit are measured in turns in this process, the median of ROUNDS pairs counts,
so that a machine that slows down slows both. Payload bytes and the limit's bytes are the same.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from buffer.block import BlockDecoder, BlockEncoder, ColumnBatch
from buffer.contract import Record, Stream
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.model.event import gap_event
from gateway.runtime.clock import SystemClock, boot_id
from tests.bench.signals import seconds
from tests.bench.table import Row

POINTS = 5000
GROUP_S = 60
ROUNDS = 5
COMMITS = 300
HOUR_RECORDS = 3600


def batches(count: int, *, every_ns: int = 10**9, hold: int = 1) -> list[ColumnBatch]:
    """`count` batches of POINTS points; each second's values stay for `hold` batches."""
    points = np.arange(1, POINTS + 1, dtype=np.int32)
    good = np.zeros(POINTS, np.uint16)
    made: list[ColumnBatch] = []
    for values in islice(seconds(POINTS), -(-count // hold)):
        for _ in range(hold):
            at_ns = 1_790_000_000 * 10**9 + len(made) * every_ns
            made.append(ColumnBatch(points, values, good, at_ns, at_ns))
    return made[:count]


def encode_group(group: list[ColumnBatch]) -> list[bytes]:
    """One key and its deltas, a record a batch, as the gateway writes them."""
    encoder = BlockEncoder()
    return [
        encoder.encode([batch], key=not number, catalogue=b"") for number, batch in enumerate(group)
    ]


def _took_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def codec_rows() -> list[Row]:
    """Bytes a value, and values a second, of a group of 60 records of 1 s."""
    group = batches(GROUP_S)
    blocks = encode_group(group)
    fast = encode_group(batches(10 * GROUP_S, every_ns=10**8, hold=10))
    samples = GROUP_S * POINTS
    matrix = np.concatenate(
        [batch.values for batch in group if isinstance(batch.values, np.ndarray)]
    )

    def decode() -> None:
        decoder = BlockDecoder()
        for block in blocks:
            decoder.feed(block)

    encode_s, decode_s, copy_s = [], [], []
    for _ in range(ROUNDS):
        encode_s.append(_took_s(lambda: encode_group(group)))
        decode_s.append(_took_s(decode))
        copy_s.append(_took_s(lambda: [matrix.copy() for _ in range(20)]) / 20)
    often = sum(map(len, fast)) / (10 * samples)
    encode_m, decode_m, copy_m = (
        samples / statistics.median(took) / 1e6 for took in (encode_s, decode_s, copy_s)
    )
    copied = f"a bare copy of the values ({copy_m:,.0f} M/s)"
    return [
        Row("codec: bytes a value, 5,000 points at 1 s, groups of 60 s",
            sum(map(len, blocks)) / samples, "B", 0.6,
            detail=f"the same points polled each 100 ms: {often:.3f} B"),
        Row("codec: encode, records of 5,000 values", encode_m, "M/s", 20, more_is_better=True,
            limit=f"{encode_m / copy_m:.3f} of {copied}"),
        Row("codec: decode, the same", decode_m, "M/s", 40, more_is_better=True,
            limit=f"{decode_m / copy_m:.3f} of {copied}"),
    ]  # fmt: skip


def raw_commits_s(path: Path, group: list[ColumnBatch]) -> float:
    """Seconds to encode each batch, append it and fdatasync: the limit of a durable log."""
    encoder = BlockEncoder()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        began = time.perf_counter()
        for number, batch in enumerate(group):
            os.write(descriptor, encoder.encode([batch], key=not number, catalogue=b""))
            os.fdatasync(descriptor)
        return time.perf_counter() - began
    finally:
        os.close(descriptor)
        path.unlink()


async def _commits_s(folder: Path, group: Iterable[ColumnBatch]) -> tuple[float, int, int]:
    """Seconds to commit each batch durably, one after the other; payload and file bytes."""
    config = BufferConfig(commit_bytes=1, reserve_bytes=0)  # each batch is a commit of its own
    log = Buffer.open(folder, config, clock=SystemClock(), boot_id=boot_id(), encode_gap=gap_event)
    payload_bytes = 0

    def count(_: Stream, records: Sequence[Record]) -> None:
        nonlocal payload_bytes
        payload_bytes += sum(len(record.payload) for record in records)

    async with log:
        log.add_listener(count)
        began = time.perf_counter()
        for batch in group:
            await log.add_batch(
                batch.points, batch.values, batch.quality, batch.source_time_ns,
                batch.gateway_time_ns,
            )  # fmt: skip
        took_s = time.perf_counter() - began
    return took_s, payload_bytes, (folder / "telemetry.db").stat().st_size


def buffer_rows(folder: Path) -> list[Row]:
    """Durable commits of 5,000 values each, against write and fdatasync of the same bytes."""
    group = batches(COMMITS)
    ratios, rates = [], []
    for number in range(ROUNDS):
        raw_s = raw_commits_s(folder / f"raw-{number}", group)
        took_s, _, _ = asyncio.run(_commits_s(folder / f"log-{number}", group))
        ratios.append(raw_s / took_s)
        rates.append(COMMITS / took_s)
    rate = statistics.median(rates)
    return [
        Row("buffer: durable commits, one at a time, of encode + write + fdatasync alone",
            statistics.median(ratios), "", 0.6, more_is_better=True,
            limit=f"{min(ratios):.2f} to {max(ratios):.2f} of the same bytes in the same turns",
            detail=f"{rate:,.0f} commits/s of {POINTS:,} values, {rate * POINTS / 1e6:.1f} M/s"),
        *(_disk_row(folder / f"hour-{points}", points) for points in (1_000, POINTS, 6_000)),
    ]  # fmt: skip


def _disk_row(folder: Path, points: int) -> Row:
    """What 3,600 records of so many values take on disk, for each byte of payload.

    It depends on how many rows fit a page of 4,096 bytes; what an empty file takes is in it.
    """
    ids, good = np.arange(1, points + 1, dtype=np.int32), np.zeros(points, np.uint16)
    start_ns = 1_790_000_000 * 10**9
    hour = (
        ColumnBatch(ids, values, good, start_ns + at * 10**9, start_ns + at * 10**9)
        for at, values in enumerate(islice(seconds(points), HOUR_RECORDS))
    )
    _, payload_bytes, file_bytes = asyncio.run(_commits_s(folder, hour))
    return Row(f"buffer: bytes on disk a byte of payload, 3,600 records of {points:,} values",
               file_bytes / payload_bytes, "", 1.1,
               detail=f"{payload_bytes / HOUR_RECORDS:,.0f} B a record")  # fmt: skip


def rows(folder: Path) -> list[Row]:
    """All rows of the log."""
    folder.mkdir(parents=True, exist_ok=True)
    return codec_rows() + buffer_rows(folder)

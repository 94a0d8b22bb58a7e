"""One-minute rollup: least, greatest, mean, worst quality and count of each point. Pure.

Guarantees: every sample of a point counts once: among `count` if its value can be used (quality not
bad, a number), else among `bad`. Worst quality is the greatest number, as the severity is in its
top bits (OPC UA Part 4, 7.39: 0 good, 1 uncertain, 2 bad). Text has no least, greatest or mean.
Memory is one row a point, whatever the rate.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard

from buffer.block import ColumnBatch

MINUTE_NS = 60 * 10**9
BAD = 0x8000
CHUNK_POINTS = 256
"""Points that are stored in one row of a minute, so that the history of one reads little else."""
_HEAD = struct.Struct("<BH")
_VERSION = 1


class Minute(NamedTuple):
    """One minute of one point. used, bad: samples that count, or do not, for low, high and mean.

    low, high, mean: NaN where used is 0. quality: the worst.
    """

    minute_ns: int
    used: int
    bad: int
    low: float
    high: float
    mean: float
    quality: int


@dataclass(frozen=True, slots=True)
class MinuteColumns:
    """One minute of many points; points int32[n] ascending, the others [n]."""

    minute_ns: int
    points: npt.NDArray[np.int32]
    count: npt.NDArray[np.uint32]
    bad: npt.NDArray[np.uint32]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint16]

    def minute(self, point: int) -> Minute | None:
        """The row of one point; None if it is not here."""
        at = int(np.searchsorted(self.points, point))
        if at == len(self.points) or self.points[at] != point:
            return None
        return Minute(
            self.minute_ns, int(self.count[at]), int(self.bad[at]), float(self.low[at]),
            float(self.high[at]), float(self.mean[at]), int(self.quality[at]),
        )  # fmt: skip


class Roller:
    """Adds up one minute; `take` gives it and begins anew."""

    def __init__(self) -> None:
        self._reset(0)

    def _reset(self, size: int) -> None:
        self._count = np.zeros(size, np.uint32)
        self._bad = np.zeros(size, np.uint32)
        self._low = np.full(size, np.inf)
        self._high = np.full(size, -np.inf)
        self._total = np.zeros(size)
        self._quality = np.zeros(size, np.uint16)

    def feed(self, batch: ColumnBatch) -> None:
        """Take in a batch; its points are numbers from 0 on."""
        if not len(batch):
            return
        points, quality = batch.points, batch.quality
        self._grow(int(points.max()) + 1)
        if isinstance(batch.values, tuple):
            usable = np.zeros(len(points), np.bool_)
            values = np.zeros(len(points))
            np.add.at(self._count, points[quality < BAD], np.uint32(1))
            np.add.at(self._bad, points[quality >= BAD], np.uint32(1))
        else:
            values = batch.values.astype(np.float64)
            usable = (quality < BAD) & ~np.isnan(values)
            np.add.at(self._count, points[usable], np.uint32(1))
            np.add.at(self._bad, points[~usable], np.uint32(1))
        at, used = points[usable], values[usable]
        np.minimum.at(self._low, at, used)
        np.maximum.at(self._high, at, used)
        with np.errstate(invalid="ignore", over="ignore"):  # of infinities, which plants send
            np.add.at(self._total, at, used)
        np.maximum.at(self._quality, points, quality)

    def take(self, minute_ns: int) -> MinuteColumns:
        """What was fed since the last time, as the minute that begins at minute_ns."""
        points = np.flatnonzero(self._count + self._bad).astype(np.int32)
        count = self._count[points]
        low, high = self._low[points], self._high[points]
        nothing = low > high
        with np.errstate(invalid="ignore"):
            mean = np.where(nothing, np.nan, self._total[points] / np.maximum(count, 1))
        found = MinuteColumns(
            minute_ns, points, count, self._bad[points], np.where(nothing, np.nan, low),
            np.where(nothing, np.nan, high), mean, self._quality[points],
        )  # fmt: skip
        self._reset(len(self._count))
        return found

    def _grow(self, size: int) -> None:
        more = size - len(self._count)
        if more <= 0:
            return
        self._count = np.concatenate((self._count, np.zeros(more, np.uint32)))
        self._bad = np.concatenate((self._bad, np.zeros(more, np.uint32)))
        self._low = np.concatenate((self._low, np.full(more, np.inf)))
        self._high = np.concatenate((self._high, np.full(more, -np.inf)))
        self._total = np.concatenate((self._total, np.zeros(more)))
        self._quality = np.concatenate((self._quality, np.zeros(more, np.uint16)))


def merged(parts: Iterable[Minute]) -> list[Minute]:
    """Minutes in order; parts of the same one (a restart, a clock that stepped back) added up."""
    found: dict[int, Minute] = {}
    for part in parts:
        other = found.get(part.minute_ns)
        found[part.minute_ns] = part if other is None else _both(other, part)
    return [found[minute_ns] for minute_ns in sorted(found)]


def encode(columns: MinuteColumns) -> list[tuple[int, bytes]]:
    """Payloads of a minute by chunk (point // CHUNK_POINTS)."""
    chunks = columns.points // CHUNK_POINTS
    edges = np.flatnonzero(np.diff(chunks)) + 1
    packed = []
    for part in np.split(np.arange(len(chunks)), edges):
        if len(part):
            fields = (
                columns.points[part].astype("<i4"), columns.count[part].astype("<u4"),
                columns.bad[part].astype("<u4"), columns.low[part].astype("<f8"),
                columns.high[part].astype("<f8"), columns.mean[part].astype("<f8"),
                columns.quality[part].astype("<u2"),
            )  # fmt: skip
            body = b"".join(field.tobytes() for field in fields)
            content = _HEAD.pack(_VERSION, len(part)) + zstandard.compress(body, 1)
            packed.append((int(chunks[part[0]]), content))
    return packed


def decode(minute_ns: int, payload: bytes) -> MinuteColumns:
    """Undo `encode` for one chunk; raises ValueError where it is none."""
    try:
        version, size = _HEAD.unpack_from(payload)
        if version != _VERSION:
            raise ValueError(f"rollup of version {version}")
        body = zstandard.decompress(payload[_HEAD.size :], max_output_size=38 * size)
    except (struct.error, zstandard.ZstdError) as failure:
        raise ValueError(f"no rollup: {failure}") from failure
    if len(body) != 38 * size:
        raise ValueError(f"a rollup of {size} points has {38 * size} bytes, not {len(body)}")
    columns = []
    start = 0
    for kind in ("<i4", "<u4", "<u4", "<f8", "<f8", "<f8", "<u2"):
        columns.append(np.frombuffer(body, kind, size, start))
        start += size * np.dtype(kind).itemsize
    return MinuteColumns(minute_ns, *columns)


def _both(one: Minute, other: Minute) -> Minute:
    weighted = [part for part in (one, other) if part.used and not math.isnan(part.mean)]
    shares = sum(part.used for part in weighted)
    mean = sum(part.mean * part.used for part in weighted) / shares if shares else float("nan")
    return Minute(
        one.minute_ns,
        one.used + other.used,
        one.bad + other.bad,
        _least(one.low, other.low),
        -_least(-one.high, -other.high),
        mean,
        max(one.quality, other.quality),
    )


def _least(one: float, other: float) -> float:
    if math.isnan(one):
        return other
    return one if math.isnan(other) else min(one, other)

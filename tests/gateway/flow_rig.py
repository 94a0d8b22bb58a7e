"""Points, rules, a log in memory and a clock moved by hand, around a Pipeline or a Judge."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from buffer.contract import NotStoredError, Record, Stream
from buffer.memory import MemoryLog
from drivers.contract import Batch, SourceEvent
from gateway.model.alarm import AlarmChange
from gateway.model.catalogue import Catalogue
from gateway.model.point import Limits, Point
from gateway.normalise.scale import Normaliser
from gateway.pipeline import Pipeline
from gateway.rules.judge import Judge
from gateway.wire.v1 import uplink_pb2 as wire

S = 1_000_000_000
WALL_NS = 1_750_000_000 * S
ZONE = "cam/yard"
JPEG = b"\xff\xd8\xff picture"


class HandClock:
    """Stands still until `advance`."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._moved = asyncio.Event()
        self.sleeping_to_ns: list[int] = []

    def wall_ns(self) -> int:
        return WALL_NS + self._now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    async def sleep_until(self, monotonic_ns: int) -> None:
        self.sleeping_to_ns.append(monotonic_ns)
        try:
            while self._now_ns < monotonic_ns:
                await self._moved.wait()
        finally:
            self.sleeping_to_ns.remove(monotonic_ns)

    def advance(self, seconds: float) -> None:
        self._now_ns += round(seconds * S)
        self._moved.set()
        self._moved = asyncio.Event()


class FullLog(MemoryLog):
    """No room for batches until `space` is set."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock=clock)
        self.space = asyncio.Event()

    async def room(self) -> None:
        await self.space.wait()


class BrokenLog(MemoryLog):
    """Every receipt fails, as on a disk that takes nothing."""

    def _commit(self) -> None:
        self._scheduled = False
        waiting, queued = self._waiting, self._queued
        self._waiting, self._queued = [], []
        for _, receipt, _ in waiting:
            receipt.set_exception(NotStoredError("the disk is full"))
        for number, _ in queued:
            number.set_exception(NotStoredError("the disk is full"))

    async def put_file(self, content: bytes) -> bytes:
        raise NotStoredError("evidence file: no space left on device")


def counting_ids() -> Callable[[], bytes]:
    numbers: Iterator[int] = itertools.count(1)
    return lambda: next(numbers).to_bytes(16, "big")


def points() -> list[Point]:
    """1: high 10.  2: high 10 after 5 s.  3: no limit.  4: low 0, returns after 2 s."""
    return [
        Point(1, "gds/a", unit="ppm", limits=Limits(high=10.0), description="泵房入口可燃气"),
        Point(2, "gds/b", unit="ppm", limits=Limits(high=10.0, on_delay_s=5.0)),
        Point(3, "gds/c"),
        Point(4, "gds/d", limits=Limits(low=0.0, off_delay_s=2.0)),
    ]


def judge(
    state: Mapping[str, bytes] | None = None, zones: Collection[str] = (ZONE,),
    judged: Sequence[Point] | None = None,
) -> Judge:  # fmt: skip
    return Judge(
        points() if judged is None else judged,
        zones,
        new_id=counting_ids(),
        state=state,
    )


def pipeline(log: MemoryLog, clock: HandClock, rules: Judge | None = None) -> Pipeline:
    catalogue = Catalogue.of(points())
    return Pipeline(log, catalogue, Normaliser(catalogue.points), rules or judge(), clock)


def batch(values: Mapping[int, float], quality: int = 0) -> Batch:
    return Batch(
        np.array(list(values), np.int32),
        np.array(list(values.values()), np.float64),
        np.full(len(values), quality, np.uint16),
        WALL_NS,
        WALL_NS,
        0,
    )


def over_count(*, active: bool, picture: bytes = b"", zone: str = "yard") -> SourceEvent:
    attributes = {"zone": zone, "people": 7 if active else 2, "limit": 4, "active": active}
    return SourceEvent("vision.over_count", "cam", WALL_NS, "Too many people.", attributes, picture)


async def records(log: MemoryLog, stream: Stream) -> list[Record]:
    """All records of a stream, once what is queued is committed."""
    await asyncio.sleep(0)
    return await log.read(stream, 1, last=1 << 40, max_bytes=1 << 40)


async def alarms(log: MemoryLog) -> list[AlarmChange]:
    return [AlarmChange.decode(record.payload) for record in await records(log, Stream.ALARM)]


async def events(log: MemoryLog) -> list[wire.Event]:
    return [wire.Event.FromString(record.payload) for record in await records(log, Stream.EVENT)]

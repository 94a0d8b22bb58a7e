"""Buffer against MemoryLog: any order of actions, with restarts, gives the same log."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from buffer.block import BlockDecoder
from buffer.contract import Log, Record, Stream
from buffer.memory import MemoryLog
from buffer.policy import BufferConfig
from buffer.ranges import RangeSet
from buffer.store import Buffer
from tests.buffer.conftest import BOOT_ID, HandClock, encode_gap

ResultT = TypeVar("ResultT")
LAYOUTS = [np.arange(3, dtype=np.int32), np.array([7, 7, 1, 900_000], np.int32)]
RECORD_STREAMS = st.sampled_from([Stream.ALARM, Stream.EVENT, Stream.EVIDENCE])


def both_are_logs(disk: Buffer, memory: MemoryLog) -> tuple[Log, Log]:
    """Checked by mypy: both fit the protocol."""
    return disk, memory


class LogMachine(RuleBasedStateMachine):
    """The same actions on both logs; both are asked the same questions."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = HandClock()
        self.model = MemoryLog(clock=self.clock, boot_id=BOOT_ID)
        self.log = self.opened()
        self.do(self.log.__aenter__())
        self.names = {self.log.log_id}

    def do(self, action: Coroutine[Any, Any, ResultT]) -> ResultT:
        return self.loop.run_until_complete(action)

    def opened(self) -> Buffer:
        config = BufferConfig(commit_ms=1, reserve_bytes=0, key_every_s=10_000)
        return Buffer.open(
            Path(self.folder.name),
            config,
            clock=self.clock,
            boot_id=BOOT_ID,
            encode_gap=encode_gap,
        )

    @rule(layout=st.sampled_from(LAYOUTS), number=st.integers(-5, 5), count=st.integers(1, 3))
    def add_batches(
        self, layout: np.ndarray[Any, np.dtype[np.int32]], number: int, count: int
    ) -> None:
        self.clock.advance(1)
        values = np.linspace(number, number + 1, len(layout))
        quality = np.full(len(layout), abs(number), np.uint16)

        async def both() -> None:
            receipts = [
                log.add_batch(layout, values, quality, self.clock.wall, self.clock.wall + at)
                for at in range(count)
                for log in (self.log, self.model)
            ]
            for receipt in receipts:
                await receipt

        self.do(both())

    @rule(
        stream=RECORD_STREAMS, payload=st.binary(max_size=20), key=st.sampled_from(["", "a", "b"])
    )
    def add_record(self, stream: Stream, payload: bytes, key: str) -> None:
        state = {key: payload} if key else None

        async def both() -> tuple[int, int]:
            keep = payload.ljust(32) if stream is Stream.EVENT and key else None
            one = self.log.add_record(stream, payload, state=state, keep=keep)
            other = self.model.add_record(stream, payload, state=state, keep=keep)
            return await one, await other

        one, other = self.do(both())
        assert one == other

    @rule(name=st.sampled_from([b"c" * 32, b"d" * 32]))
    def set_catalogue(self, name: bytes) -> None:
        self.log.set_catalogue(name)
        self.model.set_catalogue(name)

    @rule()
    def request_key(self) -> None:
        self.log.request_key()
        self.model.request_key()

    @rule(
        destination=st.sampled_from(["province", "park"]),
        stream=st.sampled_from(list(Stream)),
        start=st.integers(1, 10),
        length=st.integers(0, 10),
        replace=st.booleans(),
    )
    def acknowledge(
        self, destination: str, stream: Stream, start: int, length: int, replace: bool
    ) -> None:
        async def both() -> None:
            for log in (self.log, self.model):
                change = log.replace_cursor if replace else log.acknowledge
                change(destination, stream, RangeSet([(start, start + length)]))

        self.do(both())

    @rule()
    def restart(self) -> None:
        self.do(self.log.__aexit__(None, None, None))
        self.model.restart()
        name = self.log.log_id
        catalogue = self.log._catalogue
        self.log = self.opened()
        assert self.log.log_id == name
        assert not self.log.notes
        self.log.set_catalogue(catalogue)
        self.do(self.log.__aenter__())

    @rule()
    def renew(self) -> None:
        async def both() -> None:
            name = self.log.renew_log_id("test")
            self.model.renew_log_id("test")
            assert name not in self.names
            self.names.add(name)
            for _ in range(12_000):  # a minute: a machine may be busy
                if all(self.log.bounds(one) == self.model.bounds(one) for one in Stream):
                    return
                await asyncio.sleep(0.005)

        self.do(both())

    @invariant()
    def same_bounds_and_cursors(self) -> None:
        for stream in Stream:
            assert self.log.bounds(stream) == self.model.bounds(stream)
            for destination in ("province", "park"):
                mine = self.log.cursor(destination, stream)
                assert mine == self.model.cursor(destination, stream)
        for key in ("a", "b"):
            assert self.log.state(key) == self.model.state(key)
        assert dict(self.log.catalogue_records()) == dict(self.model.catalogue_records())

    @rule(first=st.integers(1, 12), count=st.integers(0, 12), max_bytes=st.integers(1, 500))
    def read(self, first: int, count: int, max_bytes: int) -> None:
        for stream in Stream:
            mine = self.do(self.log.read(stream, first, last=first + count, max_bytes=1 << 20))
            his = self.do(self.model.read(stream, first, last=first + count, max_bytes=1 << 20))
            assert [essence(record) for record in mine] == [essence(record) for record in his]
            few = self.do(self.log.read(stream, first, last=first + count, max_bytes=max_bytes))
            assert few == mine[: len(few)]
            assert bool(few) == bool(mine)
        assert self.do(self.log.group_start(first)) == self.do(self.model.group_start(first))

    def teardown(self) -> None:
        self.do(self.log.__aexit__(None, None, None))
        bounds = self.model.bounds(Stream.TELEMETRY)
        decoder = BlockDecoder()
        held = self.do(self.model.read(Stream.TELEMETRY, 1, last=bounds.next, max_bytes=1 << 30))
        for record in held:
            decoder.feed(record.payload)
        self.loop.close()
        self.folder.cleanup()


def essence(record: Record) -> tuple[object, ...]:
    """What must be the same in both; telemetry bytes may differ by what its encoder remembers."""
    content: object = record.payload
    if record.stream is Stream.TELEMETRY:
        content = record.samples
    return (
        record.stream,
        record.sequence,
        record.group,
        record.catalogue,
        content,
        record.boot_id,
        record.first_ns if record.stream is Stream.TELEMETRY else 0,
    )


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

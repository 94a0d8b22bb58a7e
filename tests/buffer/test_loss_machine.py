"""Both logs against a plain model, through crashes at any moment and evictions of every kind.

A crash here: one writer is stopped at its k-th look at the clock, whatever it is doing; the disk is
copied as it is then (the stopped writer's file with its WAL, byte by byte), and the log opened
from the copy. The sweep of tests/chaos does the same inside of a transaction.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from buffer.contract import Gap, Record, Stream
from buffer.memory import MemoryLog
from buffer.policy import BufferConfig
from buffer.ranges import RangeSet
from buffer.store import Buffer
from tests.buffer.conftest import BOOT_ID, HandClock, encode_gap
from tests.buffer.loss_model import LossModel

ResultT = TypeVar("ResultT")
POINTS = np.arange(12, dtype=np.int32)
GOOD = np.zeros(12, np.uint16)
RECORD_STREAMS = (Stream.ALARM, Stream.EVENT, Stream.EVIDENCE)
DESTINATION = "province"
PATIENCE = 6_000
"""Polls of 10 ms: a machine may be busy for a minute."""
# Quotas hold more than one step gives, so that the model sees everything before it goes.
CONFIG = BufferConfig(
    commit_ms=0,
    key_every_s=10,
    retention_days=1,
    quota_bytes={
        Stream.ALARM: 1_800, Stream.EVENT: 3_600, Stream.TELEMETRY: 4_000, Stream.EVIDENCE: 1_800,
    },
    quota_hours={Stream.EVIDENCE: 36.0, Stream.TELEMETRY: 60.0},
    min_free_bytes=0,
    reserve_bytes=0,
    rollup_quota_bytes=0,
)  # fmt: skip


@dataclass
class GateClock(HandClock):
    """A clock that can stop one thread for good at its n-th look."""

    thread: str = ""
    looks: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def arm(self, thread: str, looks: int) -> None:
        self.looks, self.thread = looks, thread

    def release(self) -> None:
        """Let go on whoever was stopped, or is about to be; the next gate is a new one."""
        self.thread = ""
        self.released.set()
        self.stopped, self.released = threading.Event(), threading.Event()

    def wall_ns(self) -> int:
        self._gate()
        return super().wall_ns()

    def monotonic_ns(self) -> int:
        self._gate()
        return super().monotonic_ns()

    def _gate(self) -> None:
        stopped, released = self.stopped, self.released  # before `thread`: see `release`
        if self.thread and threading.current_thread().name == self.thread:
            self.looks -= 1
            if self.looks < 0:
                stopped.set()
                released.wait()


class OnDisk:
    """The log in a folder; each crash leaves that folder behind and goes on with a copy."""

    log: Buffer
    patience = PATIENCE

    def __init__(self, clock: GateClock) -> None:
        self._clock = clock
        self._folders = tempfile.TemporaryDirectory()
        self._number = 0

    @property
    def _folder(self) -> Path:
        return Path(self._folders.name) / str(self._number)

    async def start(self) -> None:
        self.log = Buffer.open(
            self._folder, CONFIG, clock=self._clock, boot_id=BOOT_ID, encode_gap=encode_gap
        )
        assert not self.log.notes
        self.log.set_destinations({DESTINATION: tuple(Stream)})
        await self.log.__aenter__()

    async def stop(self) -> None:
        await self.log.__aexit__(None, None, None)

    async def crash(self) -> None:
        before, stopped = self._folder, self._clock.thread if self._clock.stopped.is_set() else ""
        self._number += 1
        self._folder.mkdir()
        # Telemetry first: what it does of its own accord follows what the other file says.
        for kind in ("telemetry", "records"):
            if stopped == f"buffer-{kind}":
                for name in (f"{kind}.db", f"{kind}.db-wal"):
                    shutil.copy(before / name, self._folder / name)
            else:
                copy_moment(before / f"{kind}.db", self._folder / f"{kind}.db")
        self._clock.release()
        await self.stop()
        shutil.rmtree(before)
        await self.start()

    def pending(self) -> list[Gap]:
        """Losses that the file keeps for their next report."""
        path = self._folder / "records.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as file:
            rows = file.execute(
                "SELECT stream, cause, first, last, first_ns, last_ns, count FROM pending_gap"
            )
            return [Gap(Stream(row[0]), *row[1:]) for row in rows]

    def clean(self) -> None:
        self._folders.cleanup()


def copy_moment(source: Path, target: Path) -> None:
    """Copy what a database holds at one moment, as a kill would leave it."""
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as one,
        closing(sqlite3.connect(target)) as other,
    ):
        one.backup(other)


class InMemory:
    """The log in memory: it has no crash, and a restart is all that one could be."""

    patience = 2
    """Nothing happens beside what is asked of it."""

    def __init__(self, clock: GateClock) -> None:
        self.log = MemoryLog(clock=clock, boot_id=BOOT_ID, config=CONFIG, encode_gap=encode_gap)
        self.log.set_destinations({DESTINATION: tuple(Stream)})

    async def start(self) -> None:
        await self.log.__aenter__()

    async def stop(self) -> None:
        await self.log.__aexit__(None, None, None)

    async def crash(self) -> None:
        self.log.restart()

    def pending(self) -> list[Gap]:
        """Losses that wait for their next report."""
        return self.log.unreported()

    def clean(self) -> None:
        pass


class LossMachine(RuleBasedStateMachine):
    """Gives, acknowledges, lets time pass, restarts and crashes; the model says what must be."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = GateClock()
        self.model = LossModel(CONFIG)
        self.number = 0
        self.catalogue = b""
        self.under = self.made()
        self.do(self.under.start())
        self.log_id = self.under.log.log_id

    def made(self) -> OnDisk | InMemory:
        raise NotImplementedError

    def do(self, action: Coroutine[Any, Any, ResultT]) -> ResultT:
        return self.loop.run_until_complete(action)

    # ---- giving -------------------------------------------------------------------------------

    def give(self, stream: Stream) -> asyncio.Future[Any]:
        """Give one thing to log and model."""
        self.number += 1
        log = self.under.log
        if stream is Stream.TELEMETRY:
            values = np.random.default_rng(self.number).random(12) * 1e6
            values[0] = self.number
            self.model.give(stream, self.number)
            return log.add_batch(POINTS, values, GOOD, self.clock.wall, self.clock.wall)
        payload = f"{self.number} ".encode() * 12
        self.model.give(stream, payload)
        return log.add_record(stream, payload, state={stream.name: payload})

    @rule(
        streams=st.lists(st.sampled_from(tuple(Stream)), min_size=1, max_size=6),
        seconds=st.integers(1, 8),
    )
    def store(self, streams: list[Stream], seconds: int) -> None:
        async def one_by_one() -> None:
            for stream in streams:
                self.clock.advance(seconds)
                await self.give(stream)
                self.model.durable(stream, len(self.model.streams[stream].given))

        self.do(one_by_one())
        self.observe()

    @rule(digit=st.integers(1, 3))
    def store_catalogue(self, digit: int) -> None:
        name = str(digit).encode() * 32
        self.catalogue = name

        async def both() -> None:
            self.model.give(Stream.EVENT, name, name)
            state = {Stream.EVENT.name: name}
            await self.under.log.add_record(Stream.EVENT, name, keep=name, state=state)

        self.do(both())
        self.under.log.set_catalogue(name)
        self.observe()

    @rule(digit=st.integers(1, 3))
    def use_catalogue_again(self, digit: int) -> None:
        name = str(digit).encode() * 32
        if name in self.under.log.catalogue_records():
            self.catalogue = name
            self.under.log.set_catalogue(name)

    @rule(hours=st.sampled_from([1, 11, 25, 70]))
    def time_passes(self, hours: int) -> None:
        self.clock.advance(hours * 3_600)

    @rule(stream=st.sampled_from(tuple(Stream)), ratio=st.floats(0, 1))
    def acknowledge(self, stream: Stream, ratio: float) -> None:
        stop = 1 + int((self.model.streams[stream].next - 1) * ratio)
        self.model.acknowledged[stream] = max(self.model.acknowledged[stream], stop - 1)

        async def one() -> None:
            self.under.log.acknowledge(DESTINATION, stream, RangeSet([(1, stop)]))

        self.do(one())

    # ---- ends ---------------------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        self.do(self.under.stop())
        cursors = {stream: self.under.log.cursor(DESTINATION, stream) for stream in Stream}
        self.do(self.under.start())
        for stream in Stream:
            assert self.under.log.cursor(DESTINATION, stream) == cursors[stream]
        self.began_again()

    @precondition(lambda self: isinstance(self.under, OnDisk))
    @rule(
        thread=st.sampled_from(["buffer-telemetry", "buffer-records"]),
        looks=st.integers(0, 60),
        streams=st.lists(st.sampled_from(tuple(Stream)), max_size=8),
        apart=st.booleans(),
    )
    def crash(self, thread: str, looks: int, streams: list[Stream], apart: bool) -> None:
        async def until_stopped() -> None:
            self.clock.arm(thread, looks)
            receipts: dict[Stream, list[asyncio.Future[Any]]] = {stream: [] for stream in Stream}
            for stream in streams:
                receipts[stream].append(self.give(stream))
                if apart:  # in a commit of its own, where the writer is quick enough
                    await asyncio.sleep(0.002)
            every = [receipt for of in receipts.values() for receipt in of]
            for _ in range(PATIENCE):
                if self.clock.stopped.is_set() or all(one.done() for one in every):
                    break
                await asyncio.sleep(0.01)
            for stream, of in receipts.items():
                self.model.durable(stream, sum(one.done() for one in of))
            await self.under.crash()
            assert all(one.done() for one in every)  # the log left behind was closed in peace

        self.do(until_stopped())
        assert self.under.log.log_id == self.log_id
        self.began_again(crashed=True)

    def began_again(self, *, crashed: bool = False) -> None:
        """A log was opened: what is there is looked at before anything is given to it."""
        self.under.log.set_catalogue(self.catalogue)
        self.look()
        if crashed:
            self.model.crashed()
        self.observe()

    # ---- looking ------------------------------------------------------------------------------

    def held(self) -> dict[Stream, list[Record]]:
        """Everything held at one moment: what changed while it was read is read again."""

        async def all_of(stream: Stream) -> list[Record]:
            log = self.under.log
            for _ in range(self.under.patience):
                bounds = log.bounds(stream)
                found = await log.read(stream, 1, last=bounds.next, max_bytes=1 << 30)
                first = found[0].sequence if found else bounds.next
                if log.bounds(stream) == bounds and first == bounds.first:
                    return found
                await asyncio.sleep(0.01)
            raise AssertionError(f"{stream.name} does not come to rest")

        # Telemetry first: a catalogue may go once the last group that named it has gone.
        order = (Stream.TELEMETRY, *RECORD_STREAMS)
        return {stream: self.do(all_of(stream)) for stream in order}

    def look(self) -> None:
        self.model.observe(self.held(), self.clock.wall)

    def observe(self) -> None:
        """Look until all given is there, the quota kept to, and each loss in one gap record."""
        why = ""
        for _ in range(self.under.patience):
            self.look()
            waits = [s.name for s, model in self.model.streams.items() if model.given]
            why = f"{waits} wait" if waits else self.model.over_quota()
            why = why or self.model.unbalanced(self.under.pending())
            why = why or self.unkept()
            if not why:
                break
            self.do(asyncio.sleep(0.01))
        assert not why, why
        for stream in RECORD_STREAMS:
            state = self.under.log.state(stream.name)
            assert state == self.model.streams[stream].last_state

    def unkept(self) -> str:
        """Why a catalogue said to be kept cannot be read (nobody would store it anew), or ""."""
        held = self.model.streams[Stream.EVENT].held
        said = self.under.log.catalogue_records().values()
        return "".join(f"catalogue {at} is said to be kept" for at in said if at not in held)

    def teardown(self) -> None:
        try:
            self.restart()
        finally:
            self.clock.release()
            self.do(self.under.stop())
            self.loop.close()
            self.under.clean()


class DiskMachine(LossMachine):
    def made(self) -> OnDisk:
        return OnDisk(self.clock)


class MemoryMachine(LossMachine):
    def made(self) -> InMemory:
        return InMemory(self.clock)


TestDisk = DiskMachine.TestCase
TestDisk.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(
    max_examples=30,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

"""Many gateways in one process: real gRPC sessions, two connections each, live first, then history.

Each sends one telemetry record a second from its own moment of the second on, and an alarm a
minute; its backlog goes beside that, with at most 250 ms of the measured throughput under way (8 KB
to the receiver's window), as a gateway's uplink does. What is measured is the time from a record's
turn to its acknowledgement: the receiver's commit, the line and this process's own delay together.
A session that ends is opened again after 1 s; what was under way is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio

from buffer.contract import NO_HASH, Stream
from buffer.ranges import RangeSet
from drivers.contract import Clock
from gateway.cli.load_records import SECOND_NS, Message, Telemetry, chained, pushed
from gateway.uplink.channel import Parting
from gateway.wire.v1 import uplink_pb2 as wire

PATH = "/plantgate.wire.v1.Uplink/Exchange"
HEARTBEAT_S = 10.0
ALARM_S = 60.0
WINDOW_S = 0.25
TICK_S = 0.1
LEAST_WINDOW = 8 * 1024
HISTORY_BYTES = 16 * 1024
"""Largest message of history: what a gateway sends where 100 of them share one receiver."""
_untyped: Any = grpc  # grpcio's credentials have no annotations
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))


class Call(Protocol):
    """What of a grpc.aio stream is used; `read` raises or gives EOF, no bytes, at its end."""

    async def write(self, message: bytes) -> None:
        """Send one message."""
        ...

    async def read(self) -> bytes:
        """Receive one message."""
        ...


class OneWriter:
    """A stream that several tasks write to, one after the other.

    Two writes under way at once end the whole stream: gRPC's core takes one at a time
    (GRPC_CALL_ERROR_TOO_MANY_OPERATIONS), which grpc.aio calls INTERNAL, an internal error.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._turn = asyncio.Lock()

    async def write(self, message: bytes) -> None:
        """Send one message when those before it are sent."""
        async with self._turn:
            await self._call.write(message)

    async def read(self) -> bytes:
        """Receive one message."""
        return await self._call.read()


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is simulated.

    targets: receivers; each gateway starts at another and takes the next when it must reconnect.
    ramp_s: all have connected after so long.  backlog: records of history each.
    certificates: folder of `plantgate cert fleet`, for mutual TLS.
    """

    targets: tuple[str, ...]
    gateways: int
    ramp_s: float
    backlog: int
    idle: bool = False
    prefix: str = "LOAD"
    certificates: Path | None = None

    def credentials(self, gateway: str) -> grpc.ChannelCredentials | None:
        """Mutual TLS of one gateway; None without certificates. Raises OSError."""
        if self.certificates is None:
            return None
        folder = self.certificates
        made: grpc.ChannelCredentials = _untyped.ssl_channel_credentials(
            (folder / "ca.pem").read_bytes(),
            (folder / f"{gateway}.key").read_bytes(),
            (folder / f"{gateway}.pem").read_bytes(),
        )
        return made


@dataclass(slots=True)
class Counted:
    """What all gateways together have seen. late: (moment in s, lateness in ms) of live records.

    forgotten: records that were acknowledged once and that a later Welcome does not name.
    endings: why sessions ended, and how often.
    waits_ms: how late this process itself woke up, ten times a second: its share of all lateness.
    """

    connected: int = 0
    reconnects: int = 0
    live: int = 0
    history: int = 0
    refused: int = 0
    forgotten: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    waits_ms: list[float] = field(default_factory=list)
    late: list[tuple[float, float]] = field(default_factory=list)
    alarms_late: list[float] = field(default_factory=list)
    drained_at_s: list[float] = field(default_factory=list)


class LoadGateway:
    """One simulated gateway. `run` until cancelled."""

    def __init__(
        self,
        fleet: Fleet,
        number: int,
        telemetry: Telemetry,
        history: list[Message],
        counted: Counted,
        clock: Clock,
    ) -> None:
        self._fleet = fleet
        self._telemetry = telemetry
        self._history = history
        self._counted = counted
        self._clock = clock
        self._random = random.Random(number)  # noqa: S311  # phases, not secrets
        self._tries = number
        self.id = f"{fleet.prefix}-{number:05d}"
        self._credentials = fleet.credentials(self.id)
        self.promised = {Stream.ALARM: RangeSet(), Stream.TELEMETRY: RangeSet()}
        self._announced = asyncio.Event()
        self.stopping = False
        self.log_id = self._random.randbytes(16)
        self._boot_id = self._random.randbytes(16)
        self._next_live = fleet.backlog + 1
        self._acknowledged = RangeSet()
        self._sent_at: dict[int, int] = {}
        self._alarm_at: dict[int, int] = {}
        self._alarm_hash = NO_HASH
        self._drained = not history

    async def run(self) -> None:
        """Connect after a random part of the ramp, then stay connected."""
        await asyncio.sleep(self._random.random() * self._fleet.ramp_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lane(wire.LANE_PRIORITY, self._priority))
            group.create_task(self._lane(wire.LANE_BULK, self._bulk))

    async def _lane(
        self, lane: int, serve: Callable[[Call, wire.Welcome], Awaitable[None]]
    ) -> None:
        # A cancellation may be lost where a session ends by itself just then.
        while not self.stopping:
            channel = self._channel()
            try:
                method: Any = channel.stream_stream(PATH)
                stream = method()
                call = OneWriter(stream)
                parting = Parting(stream)
                promised = {stream: held.copy() for stream, held in self.promised.items()}
                await call.write(self._hello(lane))
                welcome = wire.ReceiverMessage.FromString(await call.read()).welcome
                self._compare(welcome, promised)
                self._counted.connected += 1
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(_run(serve(call, welcome)))
                        group.create_task(self._heartbeats(call))
                finally:
                    self._counted.connected -= 1
            except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, TypeError) as errors:
                self._counted.reconnects += 1
                self._counted.endings[_ending(errors, parting)] += 1
                self._tries += 1
            finally:
                await channel.close()
            await asyncio.sleep(1.0 + self._random.random())

    def _channel(self) -> grpc.aio.Channel:
        target = self._fleet.targets[self._tries % len(self._fleet.targets)]
        if self._credentials is None:
            return grpc.aio.insecure_channel(target, options=_OPTIONS)
        return grpc.aio.secure_channel(target, self._credentials, options=_OPTIONS)

    def _compare(self, welcome: wire.Welcome, promised: dict[Stream, RangeSet]) -> None:
        """Hold a Welcome against everything that had been acknowledged before its Hello."""
        told = {
            held.stream: RangeSet((one.start, one.stop) for one in held.ranges)
            for held in welcome.acknowledged
        }
        for stream, ranges in promised.items():
            held = told.get(wire.Stream.ValueType(int(stream)), RangeSet())
            self._counted.forgotten += sum(len(held.missing(*one)) for one in ranges)
        if self._telemetry.catalogue.hash in welcome.catalogues_held:
            self._announced.set()

    def _hello(self, lane: int) -> bytes:
        hello = wire.Hello(
            gateway_id=self.id,
            enterprise="load",
            log_id=self.log_id,
            boot_id=self._boot_id,
            lane=wire.Lane.ValueType(lane),
            software="plantgate-load",
            catalogue_hashes=[self._telemetry.catalogue.hash],
        )
        return wire.GatewayMessage(hello=hello).SerializeToString()

    async def _heartbeats(self, call: Call) -> None:
        beat = wire.GatewayMessage(status=wire.Status(ping=1, health="ok")).SerializeToString()
        await asyncio.sleep(self._random.random() * HEARTBEAT_S)
        while True:
            await call.write(beat)
            await asyncio.sleep(HEARTBEAT_S)

    async def _priority(self, call: Call, _welcome: wire.Welcome) -> None:
        await call.write(self._telemetry.announcement().encoded)
        async with asyncio.TaskGroup() as group:
            if not self._fleet.idle:
                group.create_task(self._alarms(call))
            group.create_task(self._read_priority(call))

    async def _alarms(self, call: Call) -> None:
        await asyncio.sleep(self._random.random() * ALARM_S)
        while True:
            sequence = max(self._alarm_at, default=0) + 1
            now_ns = self._clock.wall_ns()
            alarm = wire.Alarm(alarm_id=self._random.randbytes(16), source="load/P-00001",
                               condition="high", gateway_time_ns=now_ns)  # fmt: skip
            record = chained(
                Stream.ALARM, sequence, self._alarm_hash, alarm.SerializeToString(), now_ns
            )
            self._alarm_hash = record.hash
            self._alarm_at[sequence] = self._clock.monotonic_ns()
            await call.write(pushed(Stream.ALARM, [record]).encoded)
            await asyncio.sleep(ALARM_S)

    async def _read_priority(self, call: Call) -> None:
        while True:
            message = wire.ReceiverMessage.FromString(await call.read())
            if message.WhichOneof("body") == "reject":
                self._counted.refused += 1
            if message.ack.stream == wire.STREAM_EVENT and message.ack.ranges:
                self._announced.set()
            for item in message.ack.ranges if message.ack.stream == wire.STREAM_ALARM else ():
                self.promised[Stream.ALARM].add(item.start, item.stop)
                for sequence in range(item.start, item.stop):
                    if sent := self._alarm_at.get(sequence):
                        late_ms = (self._clock.monotonic_ns() - sent) / 1e6
                        self._counted.alarms_late.append(late_ms)

    async def _bulk(self, call: Call, welcome: wire.Welcome) -> None:
        if self._fleet.idle:
            while True:
                await call.read()
        await self._announced.wait()  # a group is taken only once its catalogue is there
        for held in welcome.acknowledged:
            if held.stream == wire.STREAM_TELEMETRY:
                # What was committed and not heard of before the last connection ended counts too.
                for one in held.ranges:
                    self._note(one.start, one.stop, self._clock.monotonic_ns())
                self._acknowledged = RangeSet((one.start, one.stop) for one in held.ranges)
        room = welcome.window_bytes
        sending = _History(self._history, self._acknowledged, call, room, self._clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._live(call))
            group.create_task(sending.run())
            group.create_task(self._read_bulk(call, sending))

    async def _live(self, call: Call) -> None:
        again = [sequence for sequence in self._sent_at if sequence not in self._acknowledged]
        for sequence in sorted(again):
            await call.write(self._telemetry.live(sequence).encoded)
        await asyncio.sleep(self._random.random())
        due_ns = self._clock.monotonic_ns()
        while self._next_live <= self._telemetry.plan.records:
            sequence = self._next_live
            self._next_live += 1
            self._sent_at[sequence] = due_ns  # its turn, not the moment of the write
            await call.write(self._telemetry.live(sequence).encoded)
            due_ns += SECOND_NS
            await asyncio.sleep(max(0, due_ns - self._clock.monotonic_ns()) / SECOND_NS)

    async def _read_bulk(self, call: Call, sending: _History) -> None:
        while True:
            message = wire.ReceiverMessage.FromString(await call.read())
            now_ns = self._clock.monotonic_ns()
            match message.WhichOneof("body"):
                case "ack" if message.ack.stream == wire.STREAM_TELEMETRY:
                    for item in message.ack.ranges:
                        self._note(item.start, item.stop, now_ns)
                    sending.acknowledged(now_ns)
                    if sending.drained and not self._drained:
                        self._drained = True
                        self._counted.drained_at_s.append(now_ns / SECOND_NS)
                case "reject":
                    self._counted.refused += 1
                case "need_catalogue":  # a receiver that lost it: its event comes with a reconnect
                    self._announced.clear()
                    raise TypeError("the catalogue is not there yet")
                case _:
                    pass

    def _note(self, start: int, stop: int, now_ns: int) -> None:
        counted = self._counted
        backlog_stop = self._fleet.backlog + 1
        for first, end in self._acknowledged.missing(start, stop):
            counted.history += max(0, min(end, backlog_stop) - first)
        self._acknowledged.add(start, stop)
        self.promised[Stream.TELEMETRY].add(start, stop)
        for sequence in range(max(start, backlog_stop), stop):
            sent_ns = self._sent_at.pop(sequence, None)
            if sent_ns is not None:
                counted.live += 1
                counted.late.append((now_ns / SECOND_NS, (now_ns - sent_ns) / 1e6))


class _History:
    """Sends what of the backlog is not acknowledged yet, a measured window at a time.

    `acknowledged` is the gateway's own set, which grows with every Ack of the session.
    """

    def __init__(
        self, backlog: list[Message], acknowledged: RangeSet, call: Call, window_bytes: int,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._backlog = backlog
        self._acknowledged = acknowledged
        self._call = call
        self._clock = clock
        self._most = window_bytes or 1 << 20
        self._window = float(4 * LEAST_WINDOW)
        self._under_way: deque[tuple[Message, int]] = deque()
        self._bytes = 0
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Send everything, then return."""
        for message in self._backlog:
            if message.stop - 1 in self._acknowledged:
                continue
            while self._bytes >= self._window:
                self._room.clear()
                await self._room.wait()
            self._under_way.append((message, self._clock.monotonic_ns()))
            self._bytes += len(message.encoded)
            await self._call.write(message.encoded)

    def acknowledged(self, now_ns: int) -> None:
        """Take note of an Ack: make room, and measure."""
        while self._under_way:
            message, sent_ns = self._under_way[0]
            if message.stop - 1 not in self._acknowledged:
                break
            self._under_way.popleft()
            per_s = self._bytes * SECOND_NS / max(1, now_ns - sent_ns)
            goal = min(max(per_s * WINDOW_S, LEAST_WINDOW), self._most)
            self._window += (goal - self._window) / 8
            self._bytes -= len(message.encoded)
            self._room.set()

    @property
    def drained(self) -> bool:
        """Whether there was a backlog and all of it is acknowledged."""
        return bool(self._backlog) and self._backlog[-1].stop - 1 in self._acknowledged


def _ending(errors: BaseExceptionGroup[Exception], parting: Parting) -> str:
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, grpc.aio.AioRpcError):
        code, details = parting.words(first.code(), first.details())
        return f"{code.name}: {details}"[:120]
    return f"{type(first).__name__}: {first}"[:120]


async def _run(work: Awaitable[None]) -> None:
    await work


async def drive(
    fleet: Fleet, telemetry: Telemetry, counted: Counted, clock: Clock, seconds: float
) -> list[LoadGateway]:
    """Run the fleet for so long, or to SIGTERM or SIGINT; returns its gateways.

    Raises OSError for missing certificates.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    history = telemetry.history(1, fleet.backlog + 1, HISTORY_BYTES) if fleet.backlog else []
    gateways = [
        LoadGateway(fleet, number, telemetry, history, counted, clock)
        for number in range(fleet.gateways)
    ]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(gateway.run()) for gateway in gateways]
        running.append(group.create_task(_watch_self(counted, clock)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
        for gateway in gateways:
            gateway.stopping = True
        for task in running:
            task.cancel()
    return gateways


async def _watch_self(counted: Counted, clock: Clock) -> None:
    while True:
        before_ns = clock.monotonic_ns()
        await asyncio.sleep(TICK_S)
        counted.waits_ms.append((clock.monotonic_ns() - before_ns) / 1e6 - TICK_S * 1000)

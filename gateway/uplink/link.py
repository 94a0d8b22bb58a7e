"""One connection of one lane: the shell that carries out what its session decides.

Guarantees: one writer, one reader and one task for reads of the log per connection; messages leave
in the order in which the session made them. `run` returns why the connection ended, and leaves no
task, timer or socket behind, cancelled or not. Nothing polls: commits, messages and one coarse
timer wake it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from buffer.contract import Bounds, Record, Stream, UnreadableError
from buffer.ranges import RangeSet
from gateway.uplink import encode
from gateway.uplink.channel import (
    METHOD,
    ChannelError,
    Parting,
    explain,
    open_channel,
)
from gateway.uplink.derived import DerivedLog
from gateway.uplink.diagnose import refused_by
from gateway.uplink.encode import Moment
from gateway.uplink.file_policy import THUMBNAIL_BYTES
from gateway.uplink.find_file import find_record
from gateway.uplink.hub import Hub, Surroundings
from gateway.uplink.lineage import OwnPast, checkpoints_of
from gateway.uplink.outputs import (
    STREAMS,
    CatalogueDelivered,
    Close,
    Counters,
    Fetch,
    FetchPart,
    FetchThumbnail,
    FindCatalogue,
    FindEvidence,
    FindPeriod,
    Lane,
    LogForked,
    LongLine,
    Opened,
    Output,
    PersistCursor,
    Relay,
    Report,
    RequestKey,
    SendCopies,
    SendGaps,
    SendHello,
    SendPart,
    SendRecords,
    SendResult,
    SendStatus,
    SendUnthinned,
    TakePicture,
)
from gateway.uplink.patience import Ended
from gateway.uplink.quarantine import Quarantine
from gateway.uplink.server_time import PingTimes
from gateway.uplink.session import LaneSession, State
from gateway.uplink.thumbnail import thumbnail
from gateway.wire.v1 import uplink_pb2 as wire

Errand = Fetch | FetchPart | FetchThumbnail | FindEvidence | FindPeriod

RENEWED = "The log has a new id."
UNREADABLE = (OSError, sqlite3.Error)
"""What a question to the log, or to a file beside it, may fail with."""
_NOBODY_NS = 1_000_000  # a timer is never set closer than this
_PICTURE_BYTES = 16 << 20  # largest picture that a small one is made of
_CHECKPOINTS = 16  # most that are looked up in a stream


class LaneLink:
    """One connection of one lane. `run` once."""

    def __init__(
        self,
        lane: Lane,
        around: Surroundings,
        hub: Hub,
        quarantine: Quarantine,
        counters: Counters,
    ) -> None:
        self.lane = lane
        self._around = around
        self._hub = hub
        self._counters = counters
        log = around.log
        self.log_id = log.log_id
        streams = STREAMS[lane]
        self.session = LaneSession(
            lane,
            settings=around.settings,
            boot_id=around.identity.boot_id,
            bounds={stream: log.bounds(stream) for stream in streams},
            cursors={stream: log.cursor(around.destination.name, stream) for stream in Stream},
            quarantine=quarantine,
            counters=counters,
            policy=around.policy,
        )
        self._pings = PingTimes(around.destination.name)
        self._heads: dict[Stream, Record] = {}
        self._outbox: deque[wire.GatewayMessage | bytes] = deque()
        self._errands: deque[Errand] = deque()
        self._to_write = asyncio.Event()
        self._to_read = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Ended] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ns = 0
        self._call: Any = None
        self._parting: Parting | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether the receiver has welcomed this connection and it still stands."""
        return self.session.state is State.OPEN and not self._ended.done()

    async def run(self) -> Ended:
        """Connect, exchange until the connection ends, and say why it did."""
        try:
            channel = open_channel(self._around.destination)
        except ChannelError as error:
            return Ended(str(error), permanent=True)
        try:
            await self._read_heads()
            if self._around.log.log_id != self.log_id:
                return Ended(RENEWED)
            self._call = channel.stream_stream(METHOD)()
            self._parting = Parting(self._call)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._write_messages()),
                    group.create_task(self._read_messages()),
                    group.create_task(self._run_errands()),
                ]
                self._carry_out(self.session.start(now_ns=self._now_ns()))
                ended = await self._ended
                for task in tasks:
                    task.cancel()
            return ended
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._call is not None:
                self._call.cancel()
            await channel.close(None)

    def end(self, reason: str, *, permanent: bool = False) -> None:
        """End the connection soon; the first reason counts."""
        self._end(Ended(reason, permanent))

    def _end(self, ended: Ended) -> None:
        if not self._ended.done():
            self._ended.set_result(ended)

    def send_now(self, messages: Sequence[wire.GatewayMessage]) -> None:
        """Send what belongs to no stream, ahead of what the session has not handed out yet."""
        if self.is_open:
            for message in messages:
                self._send(message)

    def committed(self, stream: Stream, records: Sequence[Record]) -> None:
        """Tell the session of records that have just become durable."""
        self._carry_out(self.session.committed(stream, records, now_ns=self._now_ns()))

    def feed(self, message: wire.ReceiverMessage) -> None:
        """Give the session a message that came on the other lane."""
        self._carry_out(self.session.feed(message, now_ns=self._now_ns()))

    def deliver_catalogue(self, catalogue: bytes, sequence: int) -> None:
        """Send an event ahead of all others (priority lane)."""
        self._carry_out(self.session.deliver_catalogue(catalogue, sequence))

    def catalogue_delivered(self, catalogue: bytes) -> None:
        """Send what was held back for a catalogue (bulk lane)."""
        self._carry_out(self.session.catalogue_delivered(catalogue, now_ns=self._now_ns()))

    # ---- tasks ---------------------------------------------------------------------------

    async def _write_messages(self) -> None:
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            while self._outbox:
                message = self._outbox.popleft()
                encoded = message if isinstance(message, bytes) else message.SerializeToString()
                try:
                    await self._call.write(encoded)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    return  # the reader learns why and says so
                self._counters.sent_bytes += len(encoded)

    async def _read_messages(self) -> None:
        destination = self._around.destination
        try:
            while (encoded := await self._call.read()) is not grpc.aio.EOF:
                message = wire.ReceiverMessage.FromString(encoded)
                self._hear_time(message)
                if message.ack.volatile_keys:
                    self._hub.volatile_stored(message.ack.volatile_keys)
                if message.HasField("welcome"):
                    self.session.know(await self._own_past(message.welcome))
                self._carry_out(self.session.feed(message, now_ns=self._now_ns()))
            code, details = await self._call.code(), await self._call.details()
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details()
        except DecodeError:
            self.end(f"{destination.target} sent a message that is none of plantgate.wire.v1.")
            return
        if self._parting is not None:
            code, details = self._parting.words(code, details)
        ended = explain(code, details or "", destination)
        waiting = self.session.state is State.WAITING
        if waiting and code is grpc.StatusCode.UNAVAILABLE and not self._ended.done():
            ended = await refused_by(destination) or ended
        # A receiver that has welcomed us and then goes may say anything while it does.
        self._end(replace(ended, permanent=ended.permanent and waiting))

    def _hear_time(self, message: wire.ReceiverMessage) -> None:
        pong, server_ns = 0, message.welcome.server_time_ns
        if message.HasField("ack"):
            pong, server_ns = message.ack.pong, message.ack.server_time_ns
            if not pong:
                return
        said = self._pings.heard(pong, server_ns, self._now_ns())
        if said is not None:
            self._hub.heard_time(said)

    async def _own_past(self, welcome: wire.Welcome) -> OwnPast:
        """Read our own hashes at the receiver's checkpoints, newest first, until one is equal."""
        log = self._around.log
        hashes: dict[tuple[Stream, int], bytes] = {}
        for stream, points in checkpoints_of(welcome).items():
            for point in points[:_CHECKPOINTS]:
                at = point.sequence
                found = await self._read_one(stream, at)
                if found:
                    hashes[stream, at] = found[0].hash
                    if found[0].hash == point.hash:
                        break
        return OwnPast({stream: log.bounds(stream).next for stream in Stream}, hashes)

    async def _run_errands(self) -> None:
        while True:
            await self._to_read.wait()
            self._to_read.clear()
            while self._errands:
                await self._run_errand(self._errands.popleft())

    async def _run_errand(self, errand: Errand) -> None:
        """Read what the session asks for. A read that fails ends nothing: live data goes on."""
        session = self.session
        match errand:
            case Fetch():
                await self._fetch(errand)
            case FetchPart():
                await self._fetch_part(errand)
            case FetchThumbnail(sequence, sha256):
                content = b""
                with suppress(OSError):
                    content = await self._around.log.read_file(sha256, 0, _PICTURE_BYTES)
                small = await asyncio.to_thread(thumbnail, content, THUMBNAIL_BYTES)
                self._carry_out(session.thumbnail_made(sequence, small, now_ns=self._now_ns()))
            case FindEvidence() | FindPeriod():
                try:
                    await self._find(errand)
                except UNREADABLE as error:
                    text = f"the log cannot be read now: {_why(error)}"
                    self._answer(errand.request_id, False, text, b"")

    async def _fetch(self, errand: Fetch) -> None:
        log, first, last = self._around.log, errand.first, errand.last
        records: list[Record] = []
        stop = 0
        try:
            records = await log.read(errand.stream, first, last=last, max_bytes=errand.max_bytes)
        except UnreadableError as error:
            stop = error.stop
        except UNREADABLE:
            stop = last + 1
        if log.log_id != self.log_id:
            self.end(RENEWED)  # these are numbers of another log
        elif stop:
            self._carry_out(self.session.unread(errand, stop, now_ns=self._now_ns()))
        else:
            self._carry_out(self.session.fetched(errand, records, now_ns=self._now_ns()))

    async def _fetch_part(self, errand: FetchPart) -> None:
        session, content = self.session, None
        try:
            content = await self._around.log.read_file(errand.sha256, errand.offset, errand.length)
        except FileNotFoundError:
            pass
        except OSError as error:
            out = session.part_unread(errand, _why(error), now_ns=self._now_ns())
            self._carry_out(out)
            return
        self._carry_out(session.part_read(errand, content, now_ns=self._now_ns()))

    async def _find(self, errand: FindEvidence | FindPeriod) -> None:
        log, session = self._around.log, self.session
        match errand:
            case FindEvidence(_, sha256):
                at = await find_record(log, sha256)
                self._carry_out(session.evidence_found(errand, at, now_ns=self._now_ns()))
            case FindPeriod(request_id, stream, from_ns, to_ns):
                first, last = await log.sequences_between(stream, from_ns, to_ns)
                ranges, now_ns = RangeSet([(first, last + 1)]), self._now_ns()
                self._carry_out(session.resend(request_id, stream, ranges, now_ns=now_ns))

    async def _read_heads(self) -> None:
        for stream in Stream:
            newest = self._around.log.bounds(stream).next - 1
            if newest >= self._around.log.bounds(stream).first:
                records = await self._read_one(stream, newest)
                if records:
                    self._heads[stream] = records[-1]

    async def _read_one(self, stream: Stream, at: int) -> list[Record]:
        """A record, if it is held and can be read: a disk that fails ends no connection."""
        try:
            return await self._around.log.read(stream, at, last=at, max_bytes=1)
        except UNREADABLE:
            return []

    # ---- outputs -------------------------------------------------------------------------

    def _carry_out(self, outputs: list[Output]) -> None:
        if self._around.log.log_id != self.log_id:
            self.end(RENEWED)  # its cursors are not of the sequences spoken of here
        for output in outputs:
            if self._ended.done():
                return  # what an ended session says must not move the cursor of a renewed log
            self._carry_out_one(output)
        self._arm()

    def _carry_out_one(self, output: Output) -> None:
        match output:
            case SendRecords():
                self._send(encode.push(output, self._around.identity.boot_id))
            case PersistCursor(stream, ranges, replace):
                log, name = self._around.log, self._around.destination.name
                (log.replace_cursor if replace else log.acknowledge)(name, stream, ranges)
                self._hub.acknowledged()
            case SendStatus(ping):
                self._pings.sent(ping, self._now_ns())
                self._send(self._hub.status(ping, self._moment()))
            case Fetch() | FetchPart() | FetchThumbnail() | FindEvidence() | FindPeriod():
                self._errands.append(output)
                self._to_read.set()
            case Close(reason):
                self.end(reason)
            case SendHello() | SendGaps() | SendPart() | SendResult():
                self._send(self._encode_rare(output))
            case _:
                self._tell_hub(output)

    def _encode_rare(
        self, output: SendHello | SendGaps | SendPart | SendResult
    ) -> wire.GatewayMessage:
        match output:
            case SendGaps():
                return encode.gaps(output)
            case SendPart():
                return encode.part(output)
            case SendResult():
                return encode.result(output)
            case SendHello():
                self._pings.sent(0, self._now_ns())
                catalogues = self._around.log.catalogue_records()
                log = self._around.log
                derived = log if isinstance(log, DerivedLog) else None
                return encode.hello(
                    self._around.identity,
                    lane=self.lane,
                    log_id=self.log_id,
                    destination=derived.name if derived else "",
                    left_out=derived.words if derived else "",
                    source_log_id=derived.source_log_id if derived else b"",
                    streams=[self._state(stream) for stream in Stream],
                    catalogues=sorted(catalogues, key=lambda name: catalogues[name]),
                    moment=self._moment(),
                )

    def _tell_hub(self, output: Output) -> None:
        match output:
            case Opened():
                self._hub.opened(self.lane)
            case Relay(message):
                self._hub.relay(self.lane, message)
            case SendCopies(records):
                self._hub.copy(records)
            case LongLine():
                self._hub.long_line()
            case Report(kind, text, attributes):
                self._hub.report(kind, text, dict(attributes))
            case RequestKey():
                self._around.log.request_key()
            case _:
                self._tell_hub_rarely(output)

    def _tell_hub_rarely(self, output: Output) -> None:
        match output:
            case FindCatalogue(catalogue):
                self._hub.catalogue_wanted(catalogue)
            case CatalogueDelivered(catalogue):
                self._hub.catalogue_delivered(catalogue)
            case LogForked():
                self._hub.log_forked(self.lane, output)
            case SendUnthinned(request_id, period):
                self._hub.unthinned_wanted(period, partial(self._answer, request_id))
            case TakePicture(request_id, camera):
                self._hub.picture_wanted(camera, partial(self._answer, request_id))
            case _:
                raise TypeError(f"no way to carry out {output}")

    def _answer(self, request_id: int, accepted: bool, message: str, sha256: bytes) -> None:
        """Answer a request later than in its turn; nobody hears it where the link is gone."""
        if not self._ended.done():
            self._send(encode.result(SendResult(request_id, accepted, message, sha256)))

    def _state(self, stream: Stream) -> wire.StreamState:
        bounds: Bounds = self._around.log.bounds(stream)
        head = self._heads.get(stream)
        current = head is not None and head.sequence == bounds.next - 1
        cursor = self._around.log.cursor(self._around.destination.name, stream)
        taken = stream in self._around.settings.streams
        state = encode.stream_state(
            stream,
            bounds,
            head.hash if current and head else b"",
            acknowledged_stop=cursor.contiguous_stop(bounds.first) if taken else 0,
        )
        signed = self._around.log.signed_head(stream)
        if signed is not None and signed.log_id == self.log_id:
            state.signed_sequence, state.signed_hash = signed.sequence, signed.hash
            state.signed_key, state.head_signature = signed.key_id, signed.signature
        return state

    def _send(self, message: wire.GatewayMessage) -> None:
        self._outbox.append(message)
        self._to_write.set()

    def _arm(self) -> None:
        """Set the timer if nothing earlier is set; a later deadline is found when it fires."""
        due_ns = self.session.next_deadline_ns()
        if due_ns is None or self._call is None or self._ended.done():
            return
        if self._timer is not None:
            if self._timer_due_ns <= due_ns:
                return
            self._timer.cancel()
        self._timer_due_ns = due_ns
        delay_ns = max(due_ns - self._now_ns(), _NOBODY_NS)
        self._timer = self._loop.call_later(delay_ns / 1e9, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._ended.done():
            return
        now_ns = self._now_ns()
        if self._around.log.log_id == self.log_id:
            for stream in STREAMS[self.lane]:
                bounds = self._around.log.bounds(stream)
                self._carry_out(self.session.extended(stream, bounds, now_ns=now_ns))
        self._carry_out(self.session.tick(now_ns))

    def _now_ns(self) -> int:
        return self._around.clock.monotonic_ns()

    def _moment(self) -> Moment:
        return Moment(self._around.clock.wall_ns(), self._now_ns())


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)

"""One Exchange: what a gateway sends on one connection, and what it is told.

Guarantees: records are proven (check.py) before they are queued. The number of messages that wait
for their commit is bounded, so a gateway that does not read its answers is not read from either.
A message that breaks the protocol ends the Exchange with a status that says why; a record that
cannot be taken is rejected alone. A disk that takes no evidence holds up evidence alone: its file
is asked for again later, and telemetry on the same connection goes on.

    reader ──check──▶ committer ──commit──▶ replies ──▶ writer
       └── evidence parts ──▶ file, synced and verified ──▶ its records ──▶ committer
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError

from buffer.contract import Stream
from buffer.ranges import RangeSet
from drivers.contract import Clock
from gateway.observe.log import logger
from gateway.receiver.check import (
    Checked,
    Evidence,
    Fault,
    ProtocolError,
    check_push,
    check_ranges,
    check_volatile,
    stream_of,
)
from gateway.receiver.commit import Speaker, Turn
from gateway.receiver.contract import (
    Entries,
    Gaps,
    Seen,
    StoreFailedError,
    Volatile,
)
from gateway.receiver.evidence import EvidenceFiles
from gateway.receiver.quota import Meter
from gateway.receiver.replies import DeafError, EndedError, Replies, Reply, Write
from gateway.wire.v1 import uplink_pb2 as wire

WAITING_FILES = 256
"""Files that may be waited for on one connection."""
WAITING_RECORDS = 4 * WAITING_FILES
"""Records that wait for them."""

IDLE_SECONDS = 90.0
"""Longest wait for a whole message; a gateway sends a heartbeat at least every 10 s (design), and
128 KB, the largest of its messages, take 90 s at 11 kbit/s."""
DEAF_SECONDS = 60.0
"""Longest wait for room to write an answer to a gateway that does not read."""
PAUSE_TOLD_MS = 1_000
"""A pause is told again after so long, if more arrives all the same."""
AGAIN_SECONDS = 30.0
"""After so long a file is asked for again that the disk did not take."""

Read = Callable[[], Awaitable[bytes | None]]


@dataclass(slots=True)
class _Waiting:
    """An evidence file that is being received, and the records that wait for it."""

    total_bytes: int
    records: list[Evidence]
    held: int = 0
    told: bool = True
    failures: int = 0
    again_ns: int = 0  # the disk took nothing: asked for again then


class Exchange:
    """Serves one connection of one gateway after its Hello. `run` returns at its orderly end."""

    def __init__(
        self,
        log: int,
        boot_id: bytes,
        committer: Speaker,
        files: EvidenceFiles,
        clock: Clock,
        meter: Meter,
        answered: Callable[[wire.RequestResult], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._boot_id = boot_id
        self._committer = committer
        self._files = files
        self._clock = clock
        self._meter = meter
        self._answered = answered
        self._told_until_ns = 0
        self._replies = Replies(clock)
        self._waiting: dict[bytes, _Waiting] = {}
        self._end: asyncio.Future[EndedError] = asyncio.get_running_loop().create_future()

    def end(self, code: grpc.StatusCode, text: str) -> None:
        """Make `run` raise EndedError soon; what is queued is still committed."""
        if not self._end.done():
            self._end.set_result(EndedError(code, text))

    def measure(self, meter: Meter) -> None:
        """Hold the gateway to another quota from its next message on; it is told with a pause."""
        self._meter = meter

    async def notice(self, kind: str, text: str) -> None:
        """Tell the gateway what was noticed about its identity."""
        message = wire.ReceiverMessage(notice=wire.Notice(kind=kind, text=text))
        await self._replies.put(Reply(messages=[message]))

    async def request(self, message: wire.Request) -> None:
        """Ask the gateway for something; its answer goes to `answered`."""
        await self._replies.put(Reply(messages=[wire.ReceiverMessage(request=message)]))

    async def run(self, read: Read, write: Write) -> None:
        """Serve until the gateway closes its side. Raises EndedError if it ends otherwise.

        read: next message, None at the end.  write: sends one message.
        """
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch())
                group.create_task(self._replies.run(_in_time(write)))
                await self._read_messages(read)
                await self._replies.put(None)
                watch.cancel()
        except BaseExceptionGroup as errors:
            ended, others = errors.split(EndedError)
            if ended is None or others is not None:
                raise
            raise _leaf(ended) from None

    async def _watch(self) -> None:
        raise await self._end

    async def _read_messages(self, read: Read) -> None:
        await self._say_rate()
        while (encoded := await _next(read)) is not None:
            try:
                await self._take(wire.GatewayMessage.FromString(encoded), len(encoded))
            except DecodeError:
                raise broken("a message that is none of plantgate.wire.v1") from None
            except ProtocolError as error:
                raise broken(str(error)) from None
            except StoreFailedError as error:
                raise EndedError(grpc.StatusCode.UNAVAILABLE, str(error)) from None
            except OSError as error:
                text = f"evidence cannot be stored: {error.strerror}"
                raise EndedError(grpc.StatusCode.UNAVAILABLE, text) from error

    async def _take(self, message: wire.GatewayMessage, size_bytes: int) -> None:
        if any(waiting.again_ns for waiting in self._waiting.values()):
            await self._ask_again()
        match message.WhichOneof("body"):
            case "push":
                checked = check_push(message.push, self._boot_id)
                await self._push(checked, size_bytes)
                await self._weigh(checked.stream, size_bytes, len(message.push.records))
            case "evidence":
                await self._part(message.evidence)
                await self._weigh(Stream.EVIDENCE, size_bytes, 1)
            case "status":
                await self._status(message.status)
            case "gaps":
                stream = stream_of(message.gaps.stream)
                gaps = Gaps(self._log, stream, check_ranges(message.gaps.ranges))
                if stream is Stream.EVIDENCE:
                    self._wait_no_more(RangeSet(gaps.ranges))
                done = await self._committer.submit(gaps, size_bytes, Turn.PAST)
                await self._replies.put(Reply(stream, done, size_bytes=size_bytes))
            case "volatile_alarms":
                await self._volatile(message.volatile_alarms, size_bytes)
            case "result":
                self._answered(message.result)
            case "hello":
                raise ProtocolError("a second Hello on one Exchange")
            case _:
                pass  # something a newer gateway may say

    async def _volatile(self, message: wire.VolatileAlarms, size_bytes: int) -> None:
        entries = check_volatile(message, self._boot_id)
        done = await self._committer.submit(Volatile(self._log, entries), size_bytes, Turn.URGENT)
        await self._replies.put(Reply(Stream.ALARM, done, size_bytes=size_bytes))
        await self._weigh(Stream.ALARM, size_bytes, len(entries))

    async def _say_rate(self) -> None:
        """Tell the quota at once, so that a gateway that obeys never meets it."""
        if rate := self._meter.quota.bytes_per_s:
            throttle = wire.Throttle(bytes_per_s=rate)
            await self._replies.put(Reply(messages=[wire.ReceiverMessage(throttle=throttle)]))

    async def _weigh(self, stream: Stream, size_bytes: int, records: int) -> None:
        """Hold a gateway to its quota, after what it sent was taken."""
        now_ns = self._clock.monotonic_ns()
        if stream in {Stream.ALARM, Stream.EVENT}:
            verdict = self._meter.priority(records, now_ns=now_ns)
        else:
            verdict = self._meter.bulk(size_bytes, now_ns=now_ns, wall_ns=self._clock.wall_ns())
        if verdict.over:
            raise EndedError(grpc.StatusCode.RESOURCE_EXHAUSTED, verdict.over)
        if verdict.hold_s:
            await asyncio.sleep(verdict.hold_s)
        if verdict.pause_ms and now_ns >= self._told_until_ns:
            self._told_until_ns = now_ns + min(verdict.pause_ms, PAUSE_TOLD_MS) * 1_000_000
            throttle = wire.Throttle(
                bytes_per_s=self._meter.quota.bytes_per_s, pause_ms=verdict.pause_ms
            )
            await self._replies.put(Reply(messages=[wire.ReceiverMessage(throttle=throttle)]))

    async def _push(self, checked: Checked, size_bytes: int) -> None:
        for sha256, picture in checked.thumbnails:
            await asyncio.to_thread(self._files.keep_thumbnail, sha256, picture)
        ready = list(checked.entries)
        needs: list[wire.ReceiverMessage] = []
        for item in checked.evidence:
            if await asyncio.to_thread(self._files.complete, item.sha256, item.total_bytes):
                ready.append(item.entry)
            else:
                needs += await self._await_file(item)
        work = Entries(
            self._log,
            checked.stream,
            ready,
            checked.catalogues,
            checked.attachments,
            checked.faults,
        )
        done = await self._committer.submit(work, size_bytes, _turn(checked))
        await self._replies.put(Reply(checked.stream, done, needs, size_bytes))

    async def _await_file(self, item: Evidence) -> list[wire.ReceiverMessage]:
        waiting = self._waiting.get(item.sha256)
        if waiting is None:
            if len(self._waiting) >= WAITING_FILES:
                raise ProtocolError(f"more than {WAITING_FILES} evidence files at once")
            held = await asyncio.to_thread(self._files.held, item.sha256, self._log)
            waiting = _Waiting(item.total_bytes, [], held)
            self._waiting[item.sha256] = waiting
        if item.total_bytes != waiting.total_bytes:
            raise ProtocolError(f"two sizes of evidence {item.sha256.hex()}")
        if sum(len(one.records) for one in self._waiting.values()) >= WAITING_RECORDS:
            raise ProtocolError(f"more than {WAITING_RECORDS} records wait for their files")
        if all(item.entry.sequence != record.entry.sequence for record in waiting.records):
            waiting.records.append(item)
        if waiting.held >= waiting.total_bytes:  # empty, or all parts came before a cut
            await self._finish_file(item.sha256, waiting)
            return []
        return [_need(item.sha256, waiting.held)]

    def _wait_no_more(self, gone: RangeSet) -> None:
        """Forget files whose records the gateway has written off: they will not come."""
        for sha256, waiting in list(self._waiting.items()):
            waiting.records = [one for one in waiting.records if one.entry.sequence not in gone]
            if not waiting.records:
                del self._waiting[sha256]

    async def _part(self, part: wire.EvidencePart) -> None:
        waiting = self._waiting.get(part.sha256)
        if waiting is None:
            return  # complete by now, or refused: the gateway has been told
        if waiting.again_ns:
            return  # it is asked for again
        skip = waiting.held - part.offset
        if skip < 0:
            if not waiting.told:
                waiting.told = True
                await self._replies.put(Reply(messages=[_need(part.sha256, waiting.held)]))
            return
        content = part.content[skip:]
        if not content:
            return
        if waiting.held + len(content) > waiting.total_bytes:
            raise ProtocolError(f"evidence {part.sha256.hex()} is longer than its record says")
        try:
            append = self._files.append
            waiting.held = await asyncio.to_thread(append, part.sha256, self._log, content)
        except OSError as error:
            self._put_off(part.sha256, waiting, error)
            return
        waiting.told = False
        if waiting.held >= waiting.total_bytes:
            await self._finish_file(part.sha256, waiting)

    def _put_off(self, sha256: bytes, waiting: _Waiting, error: OSError) -> None:
        waiting.again_ns = self._clock.monotonic_ns() + int(AGAIN_SECONDS * 1e9)
        log = logger("receiver")
        log.error("evidence.put_off", sha256=sha256.hex(), reason=error.strerror)

    async def _ask_again(self) -> None:
        now_ns = self._clock.monotonic_ns()
        for sha256, waiting in list(self._waiting.items()):
            if not 0 < waiting.again_ns <= now_ns:
                continue
            waiting.again_ns, waiting.told = 0, True
            waiting.held = await asyncio.to_thread(self._files.held, sha256, self._log)
            if waiting.held >= waiting.total_bytes:
                await self._finish_file(sha256, waiting)
            else:
                await self._replies.put(Reply(messages=[_need(sha256, waiting.held)]))

    async def _finish_file(self, sha256: bytes, waiting: _Waiting) -> None:
        try:
            whole = await asyncio.to_thread(self._files.finish, sha256, self._log)
        except OSError as error:
            self._put_off(sha256, waiting, error)
            return
        if whole:
            entries, faults = [item.entry for item in waiting.records], []
        elif waiting.failures == 0:  # its first part may be of a cut that damaged the file here
            waiting.failures, waiting.held, waiting.told = 1, 0, True
            await self._replies.put(Reply(messages=[_need(sha256, 0)]))
            return
        else:
            text = f"the file's SHA-256 is not {sha256.hex()}"
            entries, faults = (
                [],
                [
                    Fault(item.entry.sequence, "damaged", item.entry.hash, text)
                    for item in waiting.records
                ],
            )
        del self._waiting[sha256]
        work = Entries(self._log, Stream.EVIDENCE, entries, faults=faults)
        done = await self._committer.submit(work, 0, Turn.PAST)
        await self._replies.put(Reply(Stream.EVIDENCE, done))

    async def _status(self, status: wire.Status) -> None:
        self._committer.note_seen(Seen(self._log, status.SerializeToString()))
        ack = wire.Ack(pong=status.ping, server_time_ns=self._clock.wall_ns())
        await self._replies.put(Reply(messages=[wire.ReceiverMessage(ack=ack)]))


def _turn(checked: Checked) -> Turn:
    """What a Push waits behind. Who marks its past as live is only in the way of others' live."""
    if checked.stream in {Stream.ALARM, Stream.EVENT}:
        return Turn.URGENT
    is_live = checked.stream is Stream.TELEMETRY and not any(
        entry.historical for entry in checked.entries
    )
    return Turn.LIVE if is_live else Turn.PAST


async def _next(read: Read) -> bytes | None:
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await read()
    except TimeoutError:
        text = f"no whole message within {IDLE_SECONDS:.0f} s"
        raise EndedError(grpc.StatusCode.DEADLINE_EXCEEDED, text) from None


def _in_time(write: Write) -> Write:
    async def within(message: wire.ReceiverMessage) -> None:
        try:
            async with asyncio.timeout(DEAF_SECONDS):
                await write(message)
        except TimeoutError:
            text = f"answers were not read for {DEAF_SECONDS:.0f} s"
            raise DeafError(grpc.StatusCode.DEADLINE_EXCEEDED, text) from None

    return within


def _need(sha256: bytes, offset: int) -> wire.ReceiverMessage:
    return wire.ReceiverMessage(evidence_need=wire.EvidenceNeed(sha256=sha256, offset=offset))


def _leaf(errors: BaseExceptionGroup[EndedError]) -> EndedError:
    first = errors.exceptions[0]
    return _leaf(first) if isinstance(first, BaseExceptionGroup) else first


def broken(text: str) -> EndedError:
    """Say what of the protocol was broken."""
    return EndedError(grpc.StatusCode.INVALID_ARGUMENT, text)

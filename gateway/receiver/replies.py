"""What a gateway is told, as soon as it is true.

Guarantees: an Ack leaves only after the commit of what it acknowledges, and does not wait for that
of what was sent before it: live data is acknowledged while the past before it still waits. All
else keeps its place: a pong, or that a catalogue is needed or a record refused, is said when
everything before it has been dealt with. Acks of one commit leave as one message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc

from buffer.contract import Stream
from buffer.ranges import RangeSet
from drivers.contract import Clock
from gateway.receiver.contract import Outcome, Stored, StoreFailedError
from gateway.wire.v1 import uplink_pb2 as wire

REPLIES = 256
"""Messages whose commit is awaited at once; 256 of 8 KB cover the largest window of a gateway."""
OUTSTANDING_BYTES = 4 * 1024 * 1024
"""Most payload of one connection that waits for its commit: four times the window that a gateway is
told, so that only who does not keep to it is read more slowly."""

Write = Callable[[wire.ReceiverMessage], Awaitable[None]]


class EndedError(Exception):
    """The Exchange ends with this gRPC status and sentence."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class DeafError(EndedError):
    """The gateway does not read, so it cannot be told a status either."""


@dataclass(slots=True, eq=False)
class Reply:
    """Answer to one message: `messages` in its turn, then what `done` says about `stream`.

    size_bytes: what of the message waits in memory for `done`.
    """

    stream: Stream = Stream.EVENT
    done: asyncio.Future[Outcome] | None = None
    messages: list[wire.ReceiverMessage] = field(default_factory=list)
    size_bytes: int = 0


class Replies:
    """The answers of one Exchange. `put` waits for room, in REPLIES and bytes; `run` writes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._outstanding: deque[Reply] = deque()
        self._outstanding_bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self._stream = Stream.EVENT
        self._ranges = RangeSet()

    async def put(self, reply: Reply | None) -> None:
        """Queue an answer; None ends `run` once all before it are written."""
        while len(self._outstanding) >= REPLIES or self._outstanding_bytes >= OUTSTANDING_BYTES:
            self._room.clear()
            await self._room.wait()
        if reply is None:
            self._ended = True
        else:
            self._outstanding.append(reply)
            self._outstanding_bytes += reply.size_bytes
            if reply.done is not None:
                reply.done.add_done_callback(lambda _: self._changed.set())
        self._changed.set()

    async def run(self, write: Write) -> None:
        """Write answers until None. Raises EndedError if the store fails."""
        while self._outstanding or not self._ended:
            await self._changed.wait()
            self._changed.clear()
            await self._say_in_turn(write)
            await self._say_ahead(write)
            await self._flush(write)
            self._room.set()

    async def _say_in_turn(self, write: Write) -> None:
        """Say what nothing before it waits for any more."""
        while self._outstanding:
            first = self._outstanding[0]
            if first.messages:
                await self._flush(write)
                for message in first.messages:
                    await write(message)
                first.messages = []
            if first.done is not None and not first.done.done():
                return
            self._outstanding.popleft()
            self._outstanding_bytes -= first.size_bytes
            if first.done is not None:
                await self._tell(first.stream, await _outcome(first.done), write)

    async def _say_ahead(self, write: Write) -> None:
        """Acknowledge what is committed though something before it is not."""
        ahead = [reply for reply in self._outstanding if _only_acknowledges(reply)]
        if ahead:
            said = set(map(id, ahead))
            self._outstanding = deque(one for one in self._outstanding if id(one) not in said)
        for reply in ahead:
            self._outstanding_bytes -= reply.size_bytes
            if reply.done is not None:
                await self._tell(reply.stream, await _outcome(reply.done), write)

    async def _tell(self, stream: Stream, outcome: Stored, write: Write) -> None:
        if stream is not self._stream:
            await self._flush(write)
        self._stream = stream
        self._ranges.update(outcome.acknowledged)
        if outcome.volatile:
            ack = wire.Ack(volatile_keys=outcome.volatile, server_time_ns=self._clock.wall_ns())
            await write(wire.ReceiverMessage(ack=ack))
        if not outcome.needed and not outcome.refused:
            return
        await self._flush(write)
        if outcome.needed:
            need = wire.NeedCatalogue(hashes=outcome.needed)
            await write(wire.ReceiverMessage(need_catalogue=need))
        number = wire.Stream.ValueType(int(stream))
        for fault in outcome.refused:
            reject = wire.Reject(
                stream=number,
                sequence=fault.sequence,
                reason=fault.reason,
                conflict=fault.kind == "conflict",
            )
            await write(wire.ReceiverMessage(reject=reject))

    async def _flush(self, write: Write) -> None:
        if not self._ranges:
            return
        ack = wire.Ack(
            stream=wire.Stream.ValueType(int(self._stream)),
            ranges=to_wire(self._ranges),
            server_time_ns=self._clock.wall_ns(),
        )
        self._ranges = RangeSet()
        await write(wire.ReceiverMessage(ack=ack))


def to_wire(ranges: RangeSet) -> list[wire.Range]:
    """Ranges as the wire has them."""
    return [wire.Range(start=start, stop=stop) for start, stop in ranges]


def _only_acknowledges(reply: Reply) -> bool:
    done = reply.done
    if reply.messages or done is None or not done.done() or done.exception() is not None:
        return False
    outcome = done.result()
    return isinstance(outcome, Stored) and not outcome.needed and not outcome.refused


async def _outcome(done: asyncio.Future[Outcome]) -> Stored:
    try:
        outcome = await done
    except StoreFailedError as error:
        raise EndedError(grpc.StatusCode.UNAVAILABLE, str(error)) from None
    if not isinstance(outcome, Stored):
        raise TypeError("a reply waits for a Stored")
    return outcome

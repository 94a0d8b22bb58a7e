"""What a gateway is told, in the order of what it sent, as soon as it is true.

Guarantees: an Ack leaves only after the commit of what it acknowledges; the answer to a message
never overtakes that to an earlier one (a pong therefore says that everything before it has been
dealt with). Acks that wait behind each other for the same commit leave as one message.
"""

from __future__ import annotations

import asyncio
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

Write = Callable[[wire.ReceiverMessage], Awaitable[None]]


class EndedError(Exception):
    """The Exchange ends with this gRPC status and sentence."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class DeafError(EndedError):
    """The gateway does not read, so it cannot be told a status either."""


@dataclass(slots=True)
class Reply:
    """Answer to one message: `messages` at once, then what `done` says about `stream`."""

    stream: Stream = Stream.EVENT
    done: asyncio.Future[Outcome] | None = None
    messages: list[wire.ReceiverMessage] = field(default_factory=list)


class Replies:
    """The answers of one Exchange. `put` waits while REPLIES are outstanding; `run` writes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: asyncio.Queue[Reply | None] = asyncio.Queue(REPLIES)
        self._stream = Stream.EVENT
        self._ranges = RangeSet()

    async def put(self, reply: Reply | None) -> None:
        """Queue an answer; None ends `run` once all before it are written."""
        await self._queue.put(reply)

    async def run(self, write: Write) -> None:
        """Write answers until None. Raises EndedError if the store fails."""
        while True:
            if self._queue.empty():
                await self._flush(write)
            reply = await self._queue.get()
            if reply is None:
                await self._flush(write)
                return
            if reply.messages:
                await self._flush(write)
                for message in reply.messages:
                    await write(message)
            if reply.done is not None:
                if not reply.done.done():
                    await self._flush(write)
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


async def _outcome(done: asyncio.Future[Outcome]) -> Stored:
    try:
        outcome = await done
    except StoreFailedError as error:
        raise EndedError(grpc.StatusCode.UNAVAILABLE, str(error)) from None
    if not isinstance(outcome, Stored):
        raise TypeError("a reply waits for a Stored")
    return outcome

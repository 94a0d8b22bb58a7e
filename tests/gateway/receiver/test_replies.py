"""What a gateway is told and when: an Ack as soon as it is true, all else in its place."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.check import Fault
from gateway.receiver.contract import Outcome, Stored, StoreFailedError
from gateway.receiver.replies import OUTSTANDING_BYTES, REPLIES, EndedError, Replies, Reply
from gateway.runtime.clock import SystemClock
from gateway.wire.v1 import uplink_pb2 as wire


class Told:
    """Replies over a line that only remembers; `settled` once nothing more can be said."""

    def __init__(self) -> None:
        self.replies = Replies(SystemClock())
        self.messages: list[wire.ReceiverMessage] = []

    async def write(self, message: wire.ReceiverMessage) -> None:
        """Send nowhere, after others had their turn."""
        await asyncio.sleep(0)
        self.messages.append(message)

    async def queue(self, stream: Stream = Stream.TELEMETRY) -> asyncio.Future[Outcome]:
        """Answer a message that waits for its commit."""
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        await self.replies.put(Reply(stream, done))
        return done

    async def pong(self, number: int) -> None:
        """Answer a heartbeat."""
        message = wire.ReceiverMessage(ack=wire.Ack(pong=number))
        await self.replies.put(Reply(messages=[message]))

    async def settled(self) -> list[str]:
        """What was said so far, in words."""
        for _ in range(20):
            await asyncio.sleep(0)
        return [_words(message) for message in self.messages]


def _words(message: wire.ReceiverMessage) -> str:
    match message.WhichOneof("body"):
        case "ack" if message.ack.pong:
            return f"pong {message.ack.pong}"
        case "ack":
            return " ".join(f"{one.start}-{one.stop}" for one in message.ack.ranges)
        case "reject":
            return f"reject {message.reject.sequence}"
        case other:
            return str(other)


@contextlib.asynccontextmanager
async def told() -> AsyncIterator[Told]:
    line = Told()
    async with asyncio.TaskGroup() as group:
        group.create_task(line.replies.run(line.write))
        yield line
        await line.replies.put(None)


def stored(start: int, stop: int) -> Stored:
    return Stored(acknowledged=RangeSet([(start, stop)]))


async def test_live_is_acknowledged_while_the_past_before_it_waits() -> None:
    async with told() as line:
        past, live = await line.queue(), await line.queue()
        await line.pong(1)
        live.set_result(stored(100, 101))
        assert await line.settled() == ["100-101"]
        past.set_result(stored(1, 50))
        assert await line.settled() == ["100-101", "1-50", "pong 1"]


async def test_what_one_commit_held_is_acknowledged_in_one_message() -> None:
    async with told() as line:
        futures = [await line.queue() for _ in range(5)]
        for number in (1, 2, 4):
            futures[number].set_result(stored(number, number + 1))
        assert await line.settled() == ["1-3 4-5"]
        for number in (0, 3):
            futures[number].set_result(stored(number, number + 1))
        assert await line.settled() == ["1-3 4-5", "0-1 3-4"]


async def test_a_refusal_and_a_missing_catalogue_keep_their_place() -> None:
    async with told() as line:
        first, second, third = [await line.queue() for _ in range(3)]
        second.set_result(Stored(refused=[Fault(7, "conflict", b"", "no")]))
        third.set_result(Stored(needed=[b"c" * 32]))
        assert await line.settled() == []
        first.set_result(stored(1, 2))
        assert await line.settled() == ["1-2", "reject 7", "need_catalogue"]


async def test_streams_do_not_mix() -> None:
    async with told() as line:
        one, other = await line.queue(Stream.ALARM), await line.queue(Stream.EVENT)
        one.set_result(stored(1, 2))
        other.set_result(stored(1, 2))
        await line.settled()
        assert [message.ack.stream for message in line.messages] == [
            wire.STREAM_ALARM, wire.STREAM_EVENT,
        ]  # fmt: skip


async def test_a_store_that_fails_ends_it_with_a_status() -> None:
    line = Told()
    done = await line.queue()
    done.set_exception(StoreFailedError("no space left"))
    with pytest.raises(EndedError, match="no space left") as error:
        await line.replies.run(line.write)
    assert error.value.code is grpc.StatusCode.UNAVAILABLE


async def test_so_many_wait_and_no_more() -> None:
    async with told() as line, asyncio.TaskGroup() as group:
        futures = [await line.queue() for _ in range(REPLIES)]
        one_more = group.create_task(line.pong(1))
        await line.settled()
        assert not one_more.done()
        futures[-1].set_result(stored(9, 10))  # out of its place: that makes room as well
        await one_more
        for number, future in enumerate(futures[:-1]):
            future.set_result(stored(number, number + 1))
        assert (await line.settled())[-1] == "pong 1"


@given(st.lists(st.sampled_from(["put", "pong", "commit"]), max_size=60), st.randoms())
def test_everything_is_said_once_and_no_pong_before_what_came_before_it(
    steps: list[str], chance: random.Random
) -> None:
    asyncio.run(_play(steps, chance))


async def _play(steps: list[str], chance: random.Random) -> None:
    line = Told()
    waiting: list[tuple[int, asyncio.Future[Outcome]]] = []
    before: dict[int, set[int]] = {}
    put: set[int] = set()
    async with asyncio.TaskGroup() as group:
        group.create_task(line.replies.run(line.write))
        for number, step in enumerate([*steps, *["commit"] * len(steps)], 1):
            if step == "put":
                waiting.append((number, await line.queue()))
                put.add(number)
            elif step == "pong":
                before[number] = set(put)
                await line.pong(number)
            elif waiting:
                at = chance.randrange(len(waiting))
                which, future = waiting.pop(at)
                future.set_result(stored(which, which + 1))
            if number % 3 == 0:
                await line.settled()
        await line.replies.put(None)
    said: list[int] = []
    pongs: list[int] = []
    for message in line.messages:
        if message.ack.pong:
            pongs.append(message.ack.pong)
            assert before[message.ack.pong] <= set(said)
        said += [n for one in message.ack.ranges for n in range(one.start, one.stop)]
    assert sorted(said) == sorted(put)
    assert pongs == sorted(before)


async def test_what_waits_for_its_commit_is_bounded_in_bytes_too() -> None:
    """Alarms of 4 MB that a slow disk keeps waiting: a few are taken in, not 256."""
    async with told() as line, asyncio.TaskGroup() as group:
        waiting: list[asyncio.Future[Outcome]] = []

        async def flood() -> None:
            for _ in range(5):
                done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
                waiting.append(done)
                await line.replies.put(Reply(Stream.ALARM, done, size_bytes=OUTSTANDING_BYTES // 2))

        group.create_task(flood())
        await line.settled()
        assert len(waiting) == 3  # the third waits for room
        for number in range(1, 6):
            waiting[number - 1].set_result(Stored(RangeSet([(number, number + 1)])))
            await line.settled()
        assert " ".join(await line.settled()) == "1-2 2-3 3-4 4-5 5-6"

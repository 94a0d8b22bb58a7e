"""Keeps a `Fold` up with the journal: reads the indexes of all messages, payloads never.

Guarantees: numbers are read without a hole; where the server skipped one or went away, reading
starts anew behind the last that was folded. Everything here runs on the line's loop.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import NamedTuple

from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from gateway.observe.log import logger
from gateway.receiver.contract import StoreFailedError
from gateway.receiver.journal.fold import Fold, Identity, Tail
from gateway.receiver.journal.line import PASSING, RETRY_SECONDS, Line, page_of, said
from gateway.receiver.journal.message import INDEX_HEADER, DamagedError, index_of
from gateway.wire.v1 import uplink_pb2 as wire

PAGE = 256
CATCH_UP_SECONDS = 10.0
_IDLE_SECONDS = 30.0


class Waiting(NamedTuple):
    """What waits: by log in the order asked, the catalogues, and the fold's holes until now."""

    tails: list[Tail]
    catalogues: frozenset[bytes]
    holes: int


class Follower:
    """Reads on its own from `start` to `close`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._fold = Fold()
        self._grown = asyncio.Event()
        self._anew = False  # the journal is another one: what is read now is not behind `next`
        self._reading: Future[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._reading = self._line.begin(self._read_always())

    def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()

    def tails(self, identities: list[Identity]) -> Waiting:
        """What waits of these logs, with everything acknowledged until now.

        Blocking. Raises StoreFailedError if the journal cannot be read.
        """
        return self._line.call(lambda: self._tails(identities))

    def settle(self, identities: list[Identity]) -> None:
        """Take note that the store has told what it holds of these logs. Blocking."""

        async def settle() -> None:
            for identity in identities:
                self._fold.settle(identity)

        self._line.call(settle)

    async def _tails(self, identities: list[Identity]) -> Waiting:
        try:
            async with asyncio.timeout(CATCH_UP_SECONDS):
                asked = self._fold.next
                first, last = await self._line.extent()
                self._anew |= self._fold.advance(first, last, asked)
                while self._fold.next <= last:
                    self._grown.clear()
                    await self._grown.wait()
        except PASSING as error:
            raise StoreFailedError(f"the journal cannot be read: {said(error)}") from None
        tails = [self._fold.of(one) for one in identities]
        return Waiting(tails, self._fold.catalogues(), self._fold.holes)

    async def _read_always(self) -> None:
        while True:
            try:
                await self._read()
            except PASSING as error:
                logger("journal").info("journal.read_again", reason=said(error))
                await self._line.failed()
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self) -> None:
        self._anew = False
        subscription = await self._line.jet.pull_subscribe(
            self._line.address.subject(),
            stream=self._line.address.stream,
            config=ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._fold.next,
                ack_policy=AckPolicy.NONE,
                headers_only=True,
                inactive_threshold=_IDLE_SECONDS,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        try:
            await self._pages(subscription)
        finally:
            await subscription.unsubscribe()

    async def _pages(self, subscription: JetStreamContext.PullSubscription) -> None:
        expected = 1
        while not self._anew:
            try:
                page = await page_of(subscription, PAGE, 5)
            except NatsTimeoutError:
                await subscription.consumer_info()  # raises where it is gone
                continue
            for message in page:
                numbers = message.metadata.sequence
                if numbers.consumer != expected or self._anew:
                    return  # one was lost on its way: start anew behind the last that came
                expected += 1
                self._fold.feed(numbers.stream, _index(message))
            self._grown.set()


def _index(message: Msg) -> wire.JournalIndex:
    try:
        return index_of((message.headers or {}).get(INDEX_HEADER, ""))
    except DamagedError as error:
        # Nothing is taken for acknowledged because of it: the gateway sends again.
        logger("journal").warning("journal.index_damaged", reason=str(error))
        return wire.JournalIndex()

"""Moves a journal into a store in PostgreSQL, each record once.

Guarantees: a message is acknowledged to JetStream only after the commit that holds all of it, and
leaves the journal after that; what comes twice is stored once (postgres/store.py). What has no
place in the store is set aside there, never dropped. While the store is away nothing is lost and
the same messages are tried again. A store that was restored from a backup gets again what the
journal still holds. Several consumers may run at once.

    fetch ──▶ prove, number logs ──▶ one transaction ──▶ acknowledge ──▶ purge below the oldest open
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from drivers.contract import Clock
from gateway.observe.log import logger
from gateway.receiver.contract import (
    Entries,
    Gaps,
    Greeting,
    Known,
    Seen,
    Stored,
    StoreFailedError,
    Volatile,
    Work,
)
from gateway.receiver.journal.line import PASSING, RETRY_SECONDS, Line, page_of, said
from gateway.receiver.journal.message import BULK, URGENT, DamagedError, Item, Speaker, works_of
from gateway.receiver.postgres.journals import Arrived, Aside
from gateway.receiver.postgres.store import PostgresStore

DURABLES = {URGENT: "store-urgent", BULK: "store-bulk"}
PAGE = 16
"""Messages in one transaction: 16 of 512 KB at the most."""
ACK_WAIT_SECONDS = 30.0
"""After so long another consumer takes what one that died had; longer than a commit may take."""
CATALOGUE_TRIES = 30
"""Deliveries, a second apart, after which a group without its catalogue is set aside."""
PURGE_SECONDS = 5.0
_PENDING = 1024
_SUBSCRIBE_SECONDS = 5.0


@dataclass(slots=True)
class _Taken:
    """A message in this transaction: its works, numbered, and what is to be set aside of it."""

    message: Msg
    number: int
    items: list[Item] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)


class Consumer:
    """Consumes one lane. `run` until `stop`; both on the line's loop."""

    def __init__(self, line: Line, lane: str, store: PostgresStore, clock: Clock) -> None:
        """lane: URGENT or BULK, each apart, so that an alarm never waits behind history."""
        self._line = line
        self._lane = lane
        self._durable = DURABLES[lane]
        self._store = store
        self._clock = clock
        self._stopping = asyncio.Event()
        self._logs: dict[tuple[str, bytes], int] = {}
        self._purge_at = 0.0
        self.records = 0
        self.messages = 0

    def stop(self) -> None:
        """Let `run` return after the transaction that is running."""
        self._stopping.set()

    async def run(self) -> None:
        """Consume until stopped."""
        while not self._stopping.is_set():
            try:
                await self._begin()
                await self._consume(await self._subscribe())
            except PASSING as error:
                logger("journal").warning("journal.away", reason=said(error))
                await asyncio.sleep(RETRY_SECONDS)
            except StoreFailedError as error:
                logger("journal").warning("store.away", reason=str(error))
                await self._reopen()

    async def _begin(self) -> None:
        """Make the durable consumer, or set it back where the store misses what it gave out."""
        stream = self._line.address.stream
        first, _ = await self._line.extent()
        consumed = await asyncio.to_thread(self._store.consumed, self._line.name)
        consumed.add(0, max(1, first))  # what the journal no longer has cannot be had from it
        wanted = consumed.contiguous_stop(0)
        try:
            floor = (await self._line.jet.consumer_info(stream, self._durable)).ack_floor
            if floor is None or floor.stream_seq in consumed:
                return
            logger("journal").warning("store.restored", wanted=wanted, given=floor.stream_seq)
            await self._line.jet.delete_consumer(stream, self._durable)
        except NotFoundError:
            pass
        await self._line.jet.add_consumer(
            stream,
            ConsumerConfig(
                durable_name=self._durable,
                filter_subject=self._line.address.subject(self._lane),
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=wanted,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_SECONDS,
                max_ack_pending=_PENDING,
            ),
        )

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        async with asyncio.timeout(_SUBSCRIBE_SECONDS):
            return await self._line.jet.pull_subscribe_bind(
                self._durable, stream=self._line.address.stream
            )

    async def _consume(self, subscription: JetStreamContext.PullSubscription) -> None:
        try:
            while not self._stopping.is_set():
                await self._purge()
                try:
                    page = await page_of(subscription, PAGE, 1)
                except NatsTimeoutError:
                    await subscription.consumer_info()  # raises where it is gone
                    continue
                await self._move(page)
        finally:
            with contextlib.suppress(*PASSING):
                await subscription.unsubscribe()

    async def _move(self, page: Sequence[Msg]) -> None:
        taken = [await asyncio.to_thread(_prove, message) for message in page]
        try:
            done = await asyncio.to_thread(self._commit, taken)
        except StoreFailedError:
            with contextlib.suppress(*PASSING):
                for message in page:
                    await message.nak()
            raise
        for one, whole in zip(taken, done, strict=True):
            if whole:
                await one.message.ack()
                self.messages += 1
            else:
                await one.message.nak(delay=1)

    def _commit(self, taken: Sequence[_Taken]) -> list[bool]:
        """Store what can be stored; tells of each message whether all of it is dealt with."""
        now_ns = self._clock.wall_ns()
        self._number(taken, now_ns)
        works = [work for one in taken for work in one.works]
        numbers = [one.number for one in taken for _ in one.works]
        empty = [one.number for one in taken if not one.works]
        arrived = Arrived(self._line.name, numbers, empty)
        outcomes = iter(self._store.take(works, now_ns, arrived))
        whole: list[bool] = []
        aside: list[Aside] = []
        for one in taken:
            needs = [name for _ in one.works for name in self._sort_out(one, next(outcomes))]
            tries = one.message.metadata.num_delivered or 1
            if needs and tries >= CATALOGUE_TRIES:
                text = f"catalogue {needs[0].hex()} never came"
                one.aside.append(Aside(one.number, 0, "", text, one.message.data))
            whole.append(not needs or tries >= CATALOGUE_TRIES)
            aside += one.aside if whole[-1] else []
        if aside:
            logger("journal").error("journal.set_aside", count=len(aside), reason=aside[0].reason)
            self._store.put_aside(self._line.name, aside, now_ns)
        return whole

    def _sort_out(self, one: _Taken, outcome: object) -> list[bytes]:
        if not isinstance(outcome, Stored):
            raise TypeError("a work's outcome is a Stored")
        self.records += len(outcome.acknowledged)
        for fault in outcome.refused:
            if fault.kind == "conflict":
                for item in one.items:
                    record = item.records.get((fault.sequence, fault.hash))
                    if record is not None:
                        one.aside.append(
                            Aside(one.number, 1 + len(one.aside), item.speaker.gateway,
                                  fault.reason, record.SerializeToString())
                        )  # fmt: skip
                        break
        return outcome.needed

    def _number(self, taken: Sequence[_Taken], now_ns: int) -> None:
        """Give each work the number of its log in the store, made where it is new."""
        unknown: dict[tuple[str, bytes], Speaker] = {}
        for one in taken:
            for item in one.items:
                key = (item.speaker.gateway, item.speaker.log_id)
                if key not in self._logs:
                    unknown[key] = item.speaker
        if unknown:
            greetings = [
                Greeting(one.gateway, one.enterprise, one.software, one.log_id)
                for one in unknown.values()
            ]
            for key, known in zip(unknown, self._store.apply(greetings, now_ns), strict=True):
                if not isinstance(known, Known):
                    raise TypeError("a Greeting's outcome is a Known")
                self._logs[key] = known.log
        for one in taken:
            one.works = [
                _numbered(item.work, self._logs[item.speaker.gateway, item.speaker.log_id])
                for item in one.items
            ]

    async def _purge(self) -> None:
        """Let go of what is in the store: everything below the oldest message still open."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._purge_at:
            return
        self._purge_at = loop.time() + PURGE_SECONDS
        stream = self._line.address.stream
        consumed = await asyncio.to_thread(self._store.consumed, self._line.name)
        first, _ = await self._line.extent()
        consumed.add(0, max(1, first))
        if (stop := consumed.contiguous_stop(0)) > first:
            await self._line.jet.purge_stream(stream, seq=stop)

    async def _reopen(self) -> None:
        self._logs.clear()
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(self._store.reopen)
            except StoreFailedError:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), 1)
            else:
                return


def _prove(message: Msg) -> _Taken:
    taken = _Taken(message, message.metadata.sequence.stream)
    try:
        taken.items = list(works_of(message.data))
    except DamagedError as error:
        taken.items = []
        taken.aside.append(Aside(taken.number, 0, "", str(error), message.data))
    return taken


def _numbered(work: Work, log: int) -> Work:
    match work:
        case Entries():
            return Entries(log, work.stream, work.entries, work.catalogues, work.attachments,
                           work.faults)  # fmt: skip
        case Gaps():
            return Gaps(log, work.stream, work.ranges)
        case Seen():
            return Seen(log, work.status)
        case Volatile():
            return Volatile(log, work.entries)
        case _:
            raise TypeError("a journal holds no Greeting")

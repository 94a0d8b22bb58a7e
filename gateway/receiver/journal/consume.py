"""Moves a journal into a store in PostgreSQL, each record once.

Guarantees: a message is acknowledged to JetStream only after the commit that holds all of it, and
leaves the journal after that; what comes twice is stored once (postgres/store.py). What has no
place in the store is set aside there, never dropped. While the store is away nothing is lost and
the same messages are tried again. What JetStream counts as acknowledged and the store does not
hold (it was restored from a backup, or failed over to a server that lacked the last commits) is
taken from the journal once more, by its number. Several consumers may run at once.

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

from buffer.ranges import RangeSet
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
    UnstorableError,
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
STUCK_SECONDS = 2 * ACK_WAIT_SECONDS
"""After so long with the same oldest message, it is looked for by its number."""
_PENDING = 1024
_SUBSCRIBE_SECONDS = 5.0


@dataclass(slots=True)
class _Taken:
    """A message in this transaction: its works, numbered, and what is to be set aside of it."""

    number: int
    data: bytes
    tries: int = 1
    items: list[Item] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)


class Consumer:
    """Consumes one lane. `run` until `stop`; both on the line's loop."""

    def __init__(
        self,
        line: Line,
        lane: str,
        store: PostgresStore,
        clock: Clock,
        *,
        catalogue_tries: int = CATALOGUE_TRIES,
        stuck_s: float = STUCK_SECONDS,
    ) -> None:
        """lane: URGENT or BULK, each apart, so that an alarm never waits behind history."""
        self._catalogue_tries = catalogue_tries
        self._stuck_s = stuck_s
        self._sure = 0  # all of this lane below it was seen in the store that is connected now
        self._oldest = 0, 0.0  # the purge's end, and since when it is that
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
                await self._line.failed()
                await asyncio.sleep(RETRY_SECONDS)
            except StoreFailedError as error:
                logger("journal").warning("store.away", reason=str(error))
                await self._reopen()

    async def _begin(self) -> None:
        """Take what was given out in vain; make the durable consumer where it is missing."""
        try:
            await self._take_lost()
        except NotFoundError:
            wanted = (await self._consumed()).contiguous_stop(0)
        else:
            return
        await self._line.jet.add_consumer(
            self._line.address.stream,
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

    async def _consumed(self) -> RangeSet:
        """Numbers that are in the store, or no longer in the journal."""
        first, _ = await self._line.extent()
        consumed = await asyncio.to_thread(self._store.consumed, self._line.name)
        consumed.add(0, max(1, first))
        return consumed

    async def _take_lost(self) -> None:
        """Store what JetStream counts as acknowledged and the store does not hold.

        The floor is asked for first: what is below it was committed before it was acknowledged, by
        this consumer or another, so the store holds it, unless it has lost it.
        """
        stream, subject = self._line.address.stream, self._line.address.subject(self._lane)
        floor = (await self._line.jet.consumer_info(stream, self._durable)).ack_floor
        stop = floor.stream_seq + 1 if floor is not None else 0
        consumed, found, sure = await self._consumed(), 0, stop
        consumed.add(0, self._sure)
        while (at := consumed.contiguous_stop(0)) < stop:
            try:
                message = await self._line.jet.get_msg(stream, seq=at, subject=subject, next=True)
            except NotFoundError:
                break
            number = message.seq or at
            if at <= number < stop and number not in consumed:
                taken = await asyncio.to_thread(_prove, number, message.data or b"", 1)
                [whole] = await asyncio.to_thread(self._store_each, [taken])
                found += 1
                if not whole:  # its catalogue is on its way on the other lane: again next time
                    sure = min(sure, number)
            consumed.add(0, number + 1)  # holes before it are the other lane's
        self._sure = max(self._sure, sure)
        if found:
            logger("journal").warning("store.had_lost", messages=found, below=stop)

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
        taken = [
            await asyncio.to_thread(_prove, at.sequence.stream, message.data, at.num_delivered or 1)
            for message in page
            for at in [message.metadata]
        ]
        try:
            done = await asyncio.to_thread(self._store_each, taken)
        except StoreFailedError:
            with contextlib.suppress(*PASSING):
                for message in page:
                    await message.nak()
            raise
        for message, whole in zip(page, done, strict=True):
            if whole:
                await message.ack()
                self.messages += 1
            else:
                await message.nak(delay=1)

    def _store_each(self, taken: Sequence[_Taken]) -> list[bool]:
        """Store what can be stored; tells of each message whether all of it is dealt with.

        What the store never takes must not keep what comes after it in the journal.
        """
        try:
            return self._commit(taken)
        except UnstorableError as error:
            if len(taken) > 1:
                return [whole for one in taken for whole in self._store_each([one])]
            return [self._store_parts(taken[0], error)]

    def _store_parts(self, one: _Taken, error: UnstorableError) -> bool:
        """Store the works of a message one by one, and set it aside whole for what is left."""
        now_ns, left = self._clock.wall_ns(), str(error)
        needs: list[bytes] = []
        parts, one.items, one.works = one.items, [], []
        for part in parts:
            one.items = [part]
            try:
                self._number([one], now_ns)
                [outcome] = self._store.apply(one.works, now_ns)
                needs += self._sort_out(one, outcome)
            except UnstorableError as why:
                left = str(why)
        if needs and one.tries < self._catalogue_tries:
            one.items = parts
            return False
        text = f"the store does not take all of it: {left}"
        one.aside.append(Aside(one.number, 0, "", text, one.data))
        logger("journal").error("journal.set_aside", count=len(one.aside), reason=text)
        self._store.put_aside(self._line.name, one.aside, now_ns)
        return True

    def _commit(self, taken: Sequence[_Taken]) -> list[bool]:
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
            given_up = one.tries >= self._catalogue_tries
            if needs and given_up:
                text = f"catalogue {needs[0].hex()} never came"
                one.aside.append(Aside(one.number, 0, "", text, one.data))
            whole.append(not needs or given_up)
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
        stop = (await self._consumed()).contiguous_stop(0)
        first, last = await self._line.extent()
        if stop > first:
            await self._line.jet.purge_stream(self._line.address.stream, seq=stop)
        if stop != self._oldest[0] or stop > last:
            self._oldest = stop, loop.time()
        elif loop.time() >= self._oldest[1] + self._stuck_s:
            self._oldest = stop, loop.time()
            await self._take_lost()

    async def _reopen(self) -> None:
        self._logs.clear()
        self._sure = 0
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(self._store.reopen)
            except StoreFailedError:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), 1)
            else:
                return


def _prove(number: int, data: bytes, tries: int) -> _Taken:
    taken = _Taken(number, data, tries)
    try:
        taken.items = list(works_of(data))
    except DamagedError as error:
        taken.items = []
        taken.aside.append(Aside(number, 0, "", str(error), data))
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

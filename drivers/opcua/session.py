"""One session with the server, from connect to loss: subscribe, publish, hand over.

Guarantees: ends only with DeviceError or by cancellation, and then leaves neither task nor socket;
it goes on with the session or the subscriptions of before where the server still has them, so that
nothing is lost; publish requests wait at the server, fewer while the buffer is behind; a
subscription that falls silent is found in one keep-alive plus `timeout_ms`, resumed, and given up
if that does not help. What a server does badly beside publishing (history, alarms, types,
heartbeats) costs that and not the session.

The tasks, all children of one TaskGroup:

    publish xN   PublishRequest with the acknowledgements due → raw response → inbox (N deep)
    consume      inbox → intake.py: sequence numbers, republish, decode, emit
    ledger       receipts, in order → acknowledgements due (ledger.py)
    alarms       watch the Server object's events, ask for the standing ones (alarm_watch.py)
    items        create monitored items, ask again for refused ones (items.py)
    backfill     read history back for what was missed (backfill.py)
    refresh      read what stays silent (refresh.py); survey compares types once (survey.py)
    relearn      read definitions of structures again that have changed (definitions.py)
    watch        read the server's state, renew the channel (life.py); judge silence (silence.py)
"""

from __future__ import annotations

import asyncio

import numpy as np

from drivers.contract import DeviceError, Emit
from drivers.opcua import services
from drivers.opcua.alarm_watch import AlarmWatch
from drivers.opcua.alarms import EVENT_HANDLE
from drivers.opcua.backfill import Backfiller
from drivers.opcua.client import Link, SavedSession
from drivers.opcua.device import Device
from drivers.opcua.faults import (
    BAD_TIMEOUT,
    BAD_TOO_MANY_PUBLISH_REQUESTS,
    StatusError,
)
from drivers.opcua.intake import Intake
from drivers.opcua.items import ItemKeeper, NewSubscription
from drivers.opcua.ledger import Ledger
from drivers.opcua.life import Better, Life
from drivers.opcua.nodes import NodeFinder
from drivers.opcua.refresh import Reader, Refresher
from drivers.opcua.silence import SilenceWatch
from drivers.opcua.state import Gap, SavedLink, SavedSubscription
from drivers.opcua.survey import survey

PUBLISH_REQUESTS = 3
"""Outstanding at the server, so that a round trip never delays a notification."""

_MOST_PUBLISH_REQUESTS = 10  # where there are several subscriptions
_KEEP_ALIVE_MS = 2_000  # without changes the server answers this often
_BREATH_NS = 100_000_000  # before a publish request follows one that the server would not keep


class SilentError(DeviceError):
    """A subscription was silent, was resumed, and is silent again: no use in going on with it."""


class Session:
    """See the module. `run` is called once."""

    def __init__(
        self, device: Device, link: Link, emit: Emit, ledger: Ledger, better: Better | None = None
    ) -> None:
        """better: finds another server of a redundant set."""
        self._device = device
        self._link = link
        self._emit = emit
        self._ledger = ledger
        self._inbox: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue(PUBLISH_REQUESTS)
        self._publishers = 0
        self._waiting = 0
        self._taking = False
        self._resumed: frozenset[int] = frozenset()
        self._life = Life(device, link, emit, better)
        self._silence = SilenceWatch()
        self._subscriptions: list[SavedSubscription] = []
        self._finder = NodeFinder(device, link)
        self._keeper = ItemKeeper(device, link, self._finder, emit)
        self._backfiller = Backfiller(device, link, self._finder, emit, ledger)
        self._intake = Intake(
            device, link, emit, ledger, self._keeper.vanished, self._backfiller.open
        )

        reader = Reader(device, link, self._finder)
        self._refresher = Refresher(device, reader, self._intake, ledger, self._life.deaf)
        self._alarms = AlarmWatch(device, link, emit, self._intake.refresh_wanted)

    async def run(self) -> None:
        """Serve until cancelled; raises DeviceError, alone or in an ExceptionGroup."""
        await self._ledger.settle()
        await self._open()
        await self._life.begin()
        device = self._device
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ledger.run())
            await self._continue()
            if not self._subscriptions:
                self._subscriptions.append(await self._new_subscription())
            device.counters.sessions += 1
            await self._announce()
            self._note_gap()
            for _ in range(PUBLISH_REQUESTS):
                tasks.create_task(self._publish())
            tasks.create_task(self._consume())
            if device.config.alarms:
                tasks.create_task(self._alarms.run(self._subscriptions[0]))
            tasks.create_task(self._keeper.run(self._subscriptions, self._further(tasks)))
            tasks.create_task(self._backfiller.run(self._keeper))
            tasks.create_task(self._survey())
            resumed = bool(self._resumed)
            tasks.create_task(self._refresher.run(self._subscriptions, resumed=resumed))
            if device.fellows:
                tasks.create_task(self._relearn())
            tasks.create_task(self._watch())

    # establishing

    async def _open(self) -> None:
        """Open the link, with the session of before if it is there; note what is ours now."""
        state, link = self._device.state, self._link
        before, state.link = state.link, None
        if before is not None and before.endpoint != link.endpoint:
            before = None
        saved = SavedSession(before.token, before.nonce) if before is not None else None
        try:
            resumed = await link.open(self._device.clock.wall_ns(), saved)
        except StatusError:
            raise
        except DeviceError:
            state.link = before  # the network failed, the session may well be there
            raise
        now = link.saved()
        state.link = SavedLink(link.endpoint, now.token, now.nonce)
        kept = before.subscriptions if before is not None else []
        if kept and not resumed:
            kept = await self._transfer(kept)
        state.link.subscriptions = kept
        self._subscriptions = state.link.subscriptions
        state.save_link()

    async def _transfer(self, wanted: list[SavedSubscription]) -> list[SavedSubscription]:
        """Take over subscriptions of a session that is gone; those the server still has."""
        try:
            statuses = await services.transfer(self._link, [s.id for s in wanted])
        except StatusError:  # many servers lack the service
            return []
        pairs = zip(wanted, statuses, strict=True)
        return [subscription for subscription, status in pairs if not status & 0x8000_0000]

    async def _continue(self) -> None:
        """Fetch what the kept subscriptions hold for us."""
        device = self._device
        device.first_ns[:] = 0
        held = [h for s in self._subscriptions for h in s.items if h in device.fellows]
        if held:  # what is republished can only be read by what its structures look like
            await self._finder.find(sorted(held))
        device.repeats.begin(device.clock.monotonic_ns(), resumed=bool(self._subscriptions))
        for subscription in list(self._subscriptions):
            if await self._intake.catch_up(subscription.id):
                self._mind(subscription)
            else:
                self._subscriptions.remove(subscription)
        self._resumed = frozenset(s.id for s in self._subscriptions)
        if self._subscriptions:
            device.counters.resumed += 1
            # a new process has no value yet of what does not change: refresh.py reads it
            device.lost |= device.heard_ns == 0
        kept = {s.id for s in self._subscriptions}
        self._ledger.due = [pair for pair in self._ledger.due if pair[0] in kept]
        for gone in device.state.position.keys() - kept:
            device.state.forget(gone)

    async def _new_subscription(self) -> SavedSubscription:
        config = self._device.config
        keep_alive = max(1, round(_KEEP_ALIVE_MS / config.publish_ms))
        made = await services.create_subscription(self._link, config.publish_ms, keep_alive)
        saved = SavedSubscription(
            made.id, made.publishing_ms, made.keep_alive_count, made.lifetime_count
        )
        self._intake.follow(made.id)
        self._mind(saved)
        return saved

    def _mind(self, subscription: SavedSubscription) -> None:
        """Know how long this subscription may be silent."""
        keep_alive_ms = subscription.publishing_ms * subscription.keep_alive_count
        allowed_ms = keep_alive_ms + self._device.config.timeout_ms
        self._silence.mind(subscription.id, allowed_ms, self._device.clock.monotonic_ns())

    def _further(self, tasks: asyncio.TaskGroup) -> NewSubscription:
        async def more() -> SavedSubscription:
            if self._publishers < _MOST_PUBLISH_REQUESTS:
                tasks.create_task(self._publish())
            return await self._new_subscription()

        return more

    async def _announce(self) -> None:
        device, now_ns = self._device, self._device.clock.wall_ns()
        first = self._subscriptions[0]
        event = device.events.link_up(
            now_ns,
            self._link.endpoint,
            publishing_ms=first.publishing_ms,
            points=len(device.points),
            resumed=bool(first.items),
        )
        await self._emit(event)
        bare = [point.tag for point in device.points if point.address.bare_index()]
        if bare and not device.indexes_told:
            device.indexes_told = True
            await self._emit(device.events.bare_index(now_ns, bare))

    def _note_gap(self) -> None:
        """Open a gap for every point that had values and is not in a kept subscription."""
        device = self._device
        since = np.array(device.state.source_ns)
        for subscription in self._subscriptions:
            held = [handle for handle in subscription.items if handle != EVENT_HANDLE]
            since[self._device.with_fellows(held)] = 0
        for gap in device.state.gaps:  # what an earlier gap still waits for stays with that
            since[(gap.since > 0) & (gap.until == 0)] = 0
        from_ns = device.last_value_ns or int(since.max(initial=0))
        if since.any():
            until = np.zeros(len(since), np.int64)
            self._backfiller.open(Gap(since, until, from_ns, "link lost"))

    # publish

    async def _publish(self) -> None:
        clock, ledger = self._device.clock, self._ledger
        self._publishers += 1
        while True:
            acknowledged, ledger.due = ledger.due, []
            if not self._waiting:
                self._silence.rest(clock.monotonic_ns())
            self._waiting += 1
            try:
                body = await services.publish(self._link, acknowledged)
            except StatusError as fault:
                ledger.due = acknowledged + ledger.due
                if fault.status == BAD_TIMEOUT:
                    await clock.sleep_until(clock.monotonic_ns() + _BREATH_NS)
                    continue
                if fault.status == BAD_TOO_MANY_PUBLISH_REQUESTS and self._publishers > 1:
                    self._publishers -= 1
                    return
                raise
            finally:
                self._waiting -= 1
            self._life.hear()
            await self._inbox.put((body, clock.monotonic_ns()))

    async def _consume(self) -> None:
        while True:
            body, came_ns = await self._inbox.get()
            self._taking = True
            subscription = await self._intake.take(body)
            self._taking = False
            self._silence.hear(subscription, came_ns)

    async def _survey(self) -> None:
        await self._keeper.complete.wait()
        await survey(self._device, self._link, self._finder, self._emit)

    async def _relearn(self) -> None:
        """Learn anew what structures look like where their values say that it has changed."""
        device, intake = self._device, self._intake
        while True:
            await intake.doubt.wait()
            intake.doubt.clear()
            doubted, intake.doubted = sorted(intake.doubted), set()
            changed = device.with_fellows(await self._finder.learn(doubted))
            for handle in changed:
                device.unread.pop(handle, None)
            device.lost[changed] = True  # so that refresh.py reads them again
            clock = device.clock
            await clock.sleep_until(clock.monotonic_ns() + device.config.retry_s * 10**9)

    # life

    async def _watch(self) -> None:
        clock = self._device.clock
        while True:
            await clock.sleep_until(clock.monotonic_ns() + self._life.period_ns)
            if self._keeper.busy:  # create_items has a time-out of its own
                self._silence.rest(clock.monotonic_ns())
                continue
            await self._life.look()
            if self._waiting and self._inbox.empty() and not self._taking:
                self._judge_silence()

    def _judge_silence(self) -> None:
        """Raise DeviceError for a silent subscription; SilentError where resuming is of no use."""
        silent = self._silence.silent(self._device.clock.monotonic_ns())
        if not silent:
            return
        many = len(self._subscriptions)
        which = "" if many == 1 else f" of {len(silent)} of {many} subscriptions"
        why = (
            f"{self._link.endpoint}: the server answers, but has sent nothing{which} for"
            f" {max(silent.values()) / 1000:.1f} s"
        )
        if self._resumed & silent.keys() - self._silence.heard:
            raise SilentError(why)
        raise DeviceError(why)


__all__ = ["Session", "SilentError"]

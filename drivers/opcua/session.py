"""One session with the server, from connect to loss: subscribe, publish, decode, hand over.

Guarantees: ends only with DeviceError or by cancellation, and then leaves neither task nor socket;
a sequence number is acknowledged to the server only after the receipts of all its batches have
completed; three publish requests wait at the server, fewer while the buffer is behind; a server
that falls silent is found in one keep-alive plus `timeout_ms`.

The tasks, all children of one TaskGroup:

    publish x3   PublishRequest with the acknowledgements due → raw response → inbox (3 deep)
    consume      inbox → follow sequence numbers, republish what is missing → decode → emit
    acknowledge  receipts, in order → acknowledgements due
    items        create monitored items, ask again for refused ones (items.py)
    watch        read the server's state; judge silence; renew the channel
"""

from __future__ import annotations

import asyncio

import numpy as np

from drivers.contract import DeviceError, Emit, Receipt
from drivers.opcua.client import Link, Subscription
from drivers.opcua.codec import CodecError, decode_data_change
from drivers.opcua.device import Device
from drivers.opcua.faults import (
    BAD_TIMEOUT,
    BAD_TOO_MANY_PUBLISH_REQUESTS,
    NODE_GONE,
    StatusError,
)
from drivers.opcua.items import ItemKeeper
from drivers.opcua.publish import (
    Notification,
    SequenceFollower,
    ServiceFaultError,
    following,
    read_publish_response,
    read_republish_response,
)

PUBLISH_REQUESTS = 3
"""Outstanding at the server, so that a round trip never delays a notification."""

_KEEP_ALIVE_MS = 2_000  # without changes the server answers this often
_WATCH_MS = 2_000
_MOST_REPUBLISHED = 100  # more than servers keep


class Session:
    """See the module. `run` is called once."""

    def __init__(self, device: Device, link: Link, emit: Emit) -> None:
        self._device = device
        self._link = link
        self._emit = emit
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue(PUBLISH_REQUESTS)
        self._receipts: asyncio.Queue[tuple[int, list[Receipt]]] = asyncio.Queue()
        self._due: list[int] = []
        self._follower = SequenceFollower()
        self._publishers = PUBLISH_REQUESTS
        self._waiting = 0
        self._heard_ns = 0
        self._gap_from_ns = device.last_value_ns
        self._keeper = ItemKeeper(device, link, emit)

    async def run(self) -> None:
        """Serve until cancelled; raises DeviceError, alone or in an ExceptionGroup."""
        device, config = self._device, self._device.config
        await self._link.open(device.clock.wall_ns())
        keep_alive = max(1, round(_KEEP_ALIVE_MS / config.publish_ms))
        subscription = await self._link.create_subscription(config.publish_ms, keep_alive)
        device.counters.sessions += 1
        await self._announce(subscription)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(PUBLISH_REQUESTS):
                tasks.create_task(self._publish(subscription))
            tasks.create_task(self._consume(subscription))
            tasks.create_task(self._acknowledge())
            tasks.create_task(self._keeper.run(subscription))
            tasks.create_task(self._watch(subscription))

    async def _announce(self, subscription: Subscription) -> None:
        device, now_ns = self._device, self._device.clock.wall_ns()
        await self._emit(
            device.events.link_up(
                now_ns, publishing_ms=subscription.publishing_ms, points=len(device.points)
            )
        )
        bare = [p.tag for p in device.points if p.address.node.strip().startswith("ns=")]
        if bare and not device.indexes_told:
            device.indexes_told = True
            await self._emit(device.events.bare_index(now_ns, bare))

    # publish

    async def _publish(self, subscription: Subscription) -> None:
        clock = self._device.clock
        while True:
            acknowledged, self._due = self._due, []
            if not self._waiting:
                self._heard_ns = clock.monotonic_ns()
            self._waiting += 1
            try:
                body = await self._link.publish(subscription, acknowledged)
            except StatusError as fault:
                self._due = acknowledged + self._due
                if fault.status == BAD_TIMEOUT:
                    continue
                if fault.status == BAD_TOO_MANY_PUBLISH_REQUESTS and self._publishers > 1:
                    self._publishers -= 1
                    return
                raise
            finally:
                self._waiting -= 1
                self._heard_ns = clock.monotonic_ns()
            await self._inbox.put(body)

    async def _consume(self, subscription: Subscription) -> None:
        while True:
            body = await self._inbox.get()
            try:
                notification = read_publish_response(body)
            except (CodecError, ServiceFaultError) as error:
                raise self._error(f"a publish response that makes no sense ({error})") from error
            if notification.subscription == subscription.id:
                await self._take(subscription, notification)

    async def _take(self, subscription: Subscription, notification: Notification) -> None:
        keep_alive = notification.keep_alive
        follow = self._follower.feed(notification.sequence, keep_alive=keep_alive)
        if follow.missing is not None:
            await self._recover(subscription, follow.missing[0], follow.count, notification)
        if not keep_alive and not follow.duplicate:
            await self._deliver(notification)
        if notification.status_change is not None:
            raise self._error(
                f"the server ended the subscription (0x{notification.status_change:08X})"
            )
        await self._tell_overflow()

    async def _recover(
        self, subscription: Subscription, first: int, count: int, later: Notification
    ) -> None:
        """Ask again for missing notifications; what the server no longer has is a gap."""
        device = self._device
        lost = max(0, count - _MOST_REPUBLISHED)
        sequence = first
        for _ in range(min(count, _MOST_REPUBLISHED)):
            if sequence in later.available and await self._republish(subscription, sequence):
                device.counters.republished += 1
            else:
                lost += 1
            sequence = following(sequence)
        if lost:
            device.counters.gaps += 1
            now_ns = device.clock.wall_ns()
            from_ns = device.last_value_ns or now_ns
            await self._emit(
                device.events.gap(now_ns, from_ns, cause="notifications lost", count=lost)
            )

    async def _republish(self, subscription: Subscription, sequence: int) -> bool:
        try:
            body = await self._link.republish(subscription, sequence)
            notification = read_republish_response(body)
        except (StatusError, ServiceFaultError, CodecError):
            return False
        if notification.sequence != sequence:  # some servers answer with an empty message
            return False
        await self._deliver(notification)
        return True

    async def _deliver(self, notification: Notification) -> None:
        """Decode and emit one notification; its sequence number is acknowledged later."""
        device = self._device
        receipts: list[Receipt] = []
        for body in notification.data_changes:
            now_ns = device.clock.wall_ns()
            try:
                change = decode_data_change(body, device.batches.kinds, now_ns)
            except CodecError as error:
                raise self._error(f"a notification that makes no sense ({error})") from error
            await self._close_gap(now_ns)
            for batch in device.batches.of_change(change, now_ns):
                receipts.append(await self._emit(batch))
            for column in change.columns:
                gone = column.handles[np.isin(column.quality, NODE_GONE)]
                if len(gone):
                    self._keeper.vanished(gone.tolist())
            device.last_value_ns = now_ns
            device.counters.values += len(change)
            device.counters.unknown_handles += change.unknown
            device.overflow.add(len(change.overflowed), now_ns)
            await self._tell_misfits(change.misfits.tolist(), now_ns)
        device.counters.notifications += 1
        self._receipts.put_nowait((notification.sequence, receipts))

    async def _close_gap(self, now_ns: int) -> None:
        """With the first values of a later session, say since when values are missing."""
        if self._gap_from_ns is None:
            return
        from_ns, self._gap_from_ns = self._gap_from_ns, None
        self._device.counters.gaps += 1
        await self._emit(self._device.events.gap(now_ns, from_ns, cause="link lost"))

    async def _tell_overflow(self) -> None:
        device = self._device
        now_ns = device.clock.wall_ns()
        told = device.overflow.due(now_ns, device.clock.monotonic_ns())
        if told is not None:
            from_ns, count = told
            device.counters.overflows += count
            device.counters.gaps += 1
            await self._emit(device.events.overflow(now_ns, from_ns, count))

    async def _tell_misfits(self, handles: list[int], now_ns: int) -> None:
        device = self._device
        fresh = sorted(set(handles) - device.misfits)
        if fresh:
            device.misfits.update(fresh)
            tags = [device.points[handle].tag for handle in fresh]
            await self._emit(device.events.misfits(now_ns, tags))

    async def _acknowledge(self) -> None:
        """Wait for receipts in order; a notification that could not be stored stays unsaid."""
        while True:
            sequence, receipts = await self._receipts.get()
            stored = True
            for receipt in receipts:
                if isinstance(receipt, asyncio.Future):
                    await asyncio.wait([receipt])
                    stored &= not receipt.cancelled() and receipt.exception() is None
                else:
                    await receipt
            if stored:
                self._due.append(sequence)
            else:
                self._device.counters.not_stored += 1

    # life

    async def _watch(self, subscription: Subscription) -> None:
        clock, config = self._device.clock, self._device.config
        silence_ms = subscription.publishing_ms * subscription.keep_alive_count + config.timeout_ms
        renew_ns = self._renewal_ns()
        while True:
            await clock.sleep_until(clock.monotonic_ns() + _WATCH_MS * 10**6)
            if self._keeper.busy:  # create_items has a time-out of its own
                self._heard_ns = clock.monotonic_ns()
                continue
            await self._link.ping()
            silent_ms = (clock.monotonic_ns() - self._heard_ns) / 1e6
            if self._waiting and silent_ms > silence_ms:
                raise self._error(
                    f"the server answers, but has sent nothing for {silent_ms / 1000:.1f} s"
                )
            if clock.monotonic_ns() >= renew_ns:
                await self._link.renew_channel()
                renew_ns = self._renewal_ns()

    def _renewal_ns(self) -> int:
        """Three quarters of the channel's lifetime from now (OPC 10000-4, 5.5.2.1)."""
        lifetime_ns = self._link.channel_lifetime_ms * 10**6
        return self._device.clock.monotonic_ns() + lifetime_ns * 3 // 4

    def _error(self, what: str) -> DeviceError:
        return DeviceError(f"{self._device.config.endpoint}: {what}")


__all__ = ["Session"]

"""Turns notifications into batches, in order: follow sequence numbers, republish, decode, emit.

Guarantees: a notification that is missing is asked for by Republish; what the server no longer has
opens a gap, to be filled from history (backfill.py); what is handed to the buffer goes through the
ledger, so that nothing is acknowledged before it is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from drivers.contract import DeviceError, Emit, Receipt
from drivers.opcua import services
from drivers.opcua.alarms import (
    QUEUE_OVERFLOW,
    REFRESH_END,
    REFRESH_REQUIRED,
    REFRESH_START,
    read_events,
)
from drivers.opcua.client import Link
from drivers.opcua.codec import CodecError, Column, DataChange, decode_data_change
from drivers.opcua.device import Device
from drivers.opcua.faults import (
    BAD_SUBSCRIPTION_ID_INVALID,
    BAD_TIMEOUT,
    NODE_GONE,
    NoAnswerError,
    StatusError,
    status_sentence,
)
from drivers.opcua.ledger import Entry, Ledger
from drivers.opcua.publish import (
    Notification,
    SequenceFollower,
    ServiceFaultError,
    following,
    read_publish_response,
    read_republish_response,
)
from drivers.opcua.repeats import value_bits
from drivers.opcua.state import Gap

_MOST_REPUBLISHED = 1000  # more than servers keep
_TRANSFERRED = 0x002D_0000  # GoodSubscriptionTransferred


class Intake:
    """Notifications of one session.

    vanished: told handles whose node no longer exists.  open_gap: told what must be filled.
    """

    def __init__(
        self,
        device: Device,
        link: Link,
        emit: Emit,
        ledger: Ledger,
        vanished: Callable[[Sequence[int]], None],
        open_gap: Callable[[Gap], None],
    ) -> None:
        self._device = device
        self._link = link
        self._emit = emit
        self._ledger = ledger
        self._vanished = vanished
        self._open_gap = open_gap
        self._followers: dict[int, SequenceFollower] = {}
        self._gone: set[int] = set()
        self._refreshing = self._whole = False
        self.refresh_wanted = asyncio.Event()
        """Set when the server says that it may have lost events, or a notification went missing."""
        self.doubted: set[int] = set()
        """Structures whose definitions may be out of date, to be learnt anew."""
        self.doubt = asyncio.Event()
        """Set when there is one more of them."""

    def follow(self, subscription: int, first: int = 1) -> None:
        """Expect notifications of a subscription, from sequence number `first`."""
        self._followers[subscription] = SequenceFollower(first)

    async def catch_up(self, subscription: int) -> bool:
        """Ask a subscription of before for what we have not stored (OPC 10000-4, 6.7).

        False where the server has it no more.
        """
        sequence = following(self._device.state.position.get(subscription, 0))
        for _ in range(_MOST_REPUBLISHED):
            if not await self._republish(subscription, sequence):
                break
            sequence = following(sequence)
        if subscription in self._gone:
            return False
        self.follow(subscription, sequence)
        return True

    async def take(self, body: bytes) -> int:
        """Take the raw body of a publish response; gives the subscription it is of."""
        try:
            notification = read_publish_response(body)
        except (CodecError, ServiceFaultError) as error:
            if isinstance(error, ServiceFaultError):
                self._device.traffic.faults[error.status] += 1
            raise self._error(f"a publish response that makes no sense ({error})") from error
        subscription = notification.subscription
        follower = self._followers.get(subscription)
        if follower is None:
            return subscription
        keep_alive = notification.keep_alive
        follow = follower.feed(
            notification.sequence,
            keep_alive=keep_alive,
            published_ticks=notification.published_ticks,
        )
        if follow.restarted:
            await self._open_lost(0, "the server numbers its notifications anew")
        if follow.missing is not None:
            await self._recover(subscription, follow.missing[0], follow.count)
        if not keep_alive and not follow.duplicate:
            await self._deliver(subscription, notification)
        if notification.status_change is not None:
            self._device.state.forget(subscription)
            raise self._error(_ended(notification.status_change))
        await self._tell_overflow()
        return subscription

    async def _recover(self, subscription: int, first: int, count: int) -> None:
        """Ask again for missing notifications; what the server no longer has is a gap."""
        device = self._device
        lost = max(0, count - _MOST_REPUBLISHED)
        sequence = first
        for _ in range(min(count, _MOST_REPUBLISHED)):
            if await self._republish(subscription, sequence):
                device.counters.republished += 1
            else:
                lost += 1
            sequence = following(sequence)
        if lost:
            await self._open_lost(lost, "notifications lost")

    async def _open_lost(self, lost: int, cause: str) -> None:
        """Have values read back that notifications may have brought; lost: how many, 0 unknown."""
        device = self._device
        self._miss_events()  # there may have been some in it
        await self._ledger.settle()
        since = np.array(device.state.source_ns)
        device.first_ns[:] = 0
        from_ns = device.last_value_ns or device.clock.wall_ns()
        until = np.zeros(len(since), np.int64)
        self._open_gap(Gap(since, until, from_ns, cause, lost))

    async def _republish(self, subscription: int, sequence: int) -> bool:
        try:
            body = await services.republish(self._link, subscription, sequence)
            notification = read_republish_response(body)
        except (StatusError, NoAnswerError, ServiceFaultError, CodecError) as fault:
            if isinstance(fault, StatusError) and fault.status == BAD_SUBSCRIPTION_ID_INVALID:
                self._gone.add(subscription)
            return False
        if notification.sequence != sequence:  # some servers answer with an empty message
            return False
        await self._deliver(subscription, notification)
        return True

    async def _deliver(self, subscription: int, notification: Notification) -> None:
        """Decode and emit one notification; its sequence number is acknowledged later."""
        device = self._device
        receipts: list[Receipt] = []
        columns: list[Column] = []
        for body in notification.data_changes:
            now_ns = device.clock.wall_ns()
            try:
                change = decode_data_change(body, device.batches.kinds, now_ns, device.fields)
            except CodecError as error:
                raise self._error(f"a notification that makes no sense ({error})") from error
            change = self._without_repeats(change)
            receipts += await self.hand_over(change, now_ns)
            columns += change.columns
            for column in change.columns:
                gone = column.handles[np.isin(column.quality, NODE_GONE)]
                if len(gone):
                    self._vanished(gone.tolist())
            await self._mind_clock(change, now_ns)
            device.last_value_ns = now_ns
            device.counters.values += len(change)
            device.counters.unknown_handles += change.unknown
            device.overflow.add(len(change.overflowed), now_ns)
        for body in notification.events:
            receipts += await self._take_events(body)
        device.counters.notifications += 1
        if notification.data_changes:
            device.traffic.heard()
        self._ledger.add(Entry(subscription, notification.sequence, receipts, columns))

    def _miss_events(self) -> None:
        """Ask for the standing alarms once more; what is being said of them is not all."""
        self.refresh_wanted.set()
        self._whole = False

    async def _mind_clock(self, change: DataChange, now_ns: int) -> None:
        for column in change.columns:
            hours = self._device.shift.feed(column.source_time_ns, now_ns)
            if hours is not None:
                await self._emit(self._device.events.shifted(now_ns, hours))

    def _without_repeats(self, change: DataChange) -> DataChange:
        """Leave out what this server, or another of a redundant set, has sent already."""
        repeats = self._device.repeats
        now_ns, lost = self._device.clock.monotonic_ns(), self._device.lost
        columns = [repeats.feed(column, lost, now_ns) for column in change.columns]
        return replace(change, columns=tuple(c for c in columns if len(c.handles)))

    async def _take_events(self, body: bytes) -> list[Receipt]:
        device = self._device
        now_ns = device.clock.wall_ns()
        try:
            events = read_events(body)
        except CodecError as error:
            raise self._error(f"events that make no sense ({error})") from error
        receipts = []
        for event in events:
            if event.type_number in (REFRESH_START, REFRESH_END):
                begins = event.type_number == REFRESH_START
                self._refreshing, self._whole = begins, self._whole or begins
                if self._whole:  # what is left out of one that is not whole may stand all the same
                    told = device.events.refresh(now_ns, begins=begins)
                    receipts.append(await self._emit(told))
            elif event.type_number == REFRESH_REQUIRED:
                self.refresh_wanted.set()
            elif event.type_number == QUEUE_OVERFLOW:
                self._miss_events()
                device.counters.gaps += 1
                receipts.append(await self._emit(device.events.events_lost(now_ns)))
            else:
                device.counters.alarms += 1
                told = device.events.alarm(now_ns, event, refreshed=self._refreshing)
                receipts.append(await self._emit(told))
        return receipts

    async def hand_over(self, change: DataChange, now_ns: int) -> list[Receipt]:
        """Emit a decoded change; returns the receipts. now_ns: gateway wall clock."""
        device = self._device
        receipts = [await self._emit(batch) for batch in device.batches.of_change(change, now_ns)]
        heard_ns = device.clock.monotonic_ns()
        for column in change.columns:
            handles = column.handles
            device.heard_ns[handles] = heard_ns
            device.last_bits[handles] = value_bits(column)
            device.lost[handles] = False
            if device.awaiting_first:
                fresh = device.first_ns[handles] == 0
                # backwards, so that the first of several samples of one point stays
                places = np.flatnonzero(fresh)[::-1]
                device.first_ns[handles[places]] = column.source_time_ns[places]
        if change.doubted:
            self.doubted |= change.doubted
            self.doubt.set()
        misfits: set[int] = set(change.misfits.tolist())
        await self._tell_unread({h: change.reasons[h] for h in misfits & change.reasons.keys()})
        await self._tell_misfits(sorted(misfits - change.reasons.keys()), now_ns)
        return receipts

    async def make_anew(self, handles: Sequence[int]) -> None:
        """Have items made anew that have not published what had changed."""
        if handles:
            device = self._device
            self._vanished(handles)
            tags = [device.points[handle].tag for handle in handles]
            await self._emit(device.events.unpublished(device.clock.wall_ns(), tags))

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

    async def _tell_unread(self, reasons: dict[int, str]) -> None:
        """Say which points give no value, and why, when that is new."""
        device = self._device
        fresh = {h: why for h, why in sorted(reasons.items()) if device.unread.get(h) != why}
        device.unread |= fresh
        told: dict[tuple[str, str], list[str]] = {}
        for handle, why in fresh.items():
            point = device.points[handle]
            told.setdefault((point.address.node, why), []).append(point.tag)
        for (node, why), tags in told.items():
            await self._emit(device.events.unread(device.clock.wall_ns(), tags, node, why))

    def _error(self, what: str) -> DeviceError:
        return DeviceError(f"{self._link.endpoint}: {what}")


def _ended(status: int) -> str:
    """Say why a server ended a subscription (OPC 10000-4, 5.14.2.2)."""
    if status & 0xFFFF_0000 == _TRANSFERRED:
        return (
            "another client has taken our subscription over: does a second gateway run with the"
            " same identity or a copy of `state_dir`?"
        )
    if status & 0xFFFF_0000 == BAD_TIMEOUT:
        return "the server ended the subscription, since it had not heard of us for its lifetime"
    return "the server ended the subscription: " + status_sentence(
        status, "a StatusCode", "publishing", None
    )


__all__ = ["Intake"]

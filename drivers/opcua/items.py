"""Keeps every point subscribed: creates monitored items, and asks again for those that are not.

Guarantees: nodes are found anew in every session and at every further try; calls never exceed
`items_per_call` nor the server's own limit, and halve when the server says too much; a
subscription that is full is followed by another; a refused item is bad with the server's code, is
told once, stops nothing, and is asked for again after 1 s, 2 s, 4 s … and then every `retry_s`:
servers lack nodes for a while after their start. So is an item whose node vanished while it was
watched, or that publishes nothing (refresh.py). Rates that the server does not grant are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from drivers.contract import Emit
from drivers.opcua import services
from drivers.opcua.alarms import EVENT_HANDLE
from drivers.opcua.client import Link
from drivers.opcua.device import Device
from drivers.opcua.faults import (
    BAD_NODE_ID_UNKNOWN,
    BAD_TOO_MANY_MONITORED_ITEMS,
    BAD_TOO_MANY_SUBSCRIPTIONS,
    FILTER_REFUSED,
    TOO_MUCH_AT_ONCE,
    StatusError,
)
from drivers.opcua.nodes import NodeFinder
from drivers.opcua.services import Item, ItemRates, ItemResult
from drivers.opcua.state import SavedSubscription

_MOST_SUBSCRIPTIONS = 50


async def tell_renumbered(device: Device, finder: NodeFinder, emit: Emit) -> None:
    """Say once which namespaces the server numbers anew, where a point relies on their numbers."""
    bare = [point.tag for point in device.points if point.address.bare_index()]
    if bare and finder.renumbered and finder.renumbered != device.renumbered_told:
        device.renumbered_told = finder.renumbered
        uris = finder.surroundings.namespaces
        moved = {old: f"{uris[new]} (now {new})" for old, new in finder.renumbered.items()}
        await emit(device.events.renumbered(device.clock.wall_ns(), moved, bare))


NewSubscription = Callable[[], Awaitable[SavedSubscription]]


class ItemKeeper:
    """The monitored items of one session."""

    def __init__(self, device: Device, link: Link, finder: NodeFinder, emit: Emit) -> None:
        config = device.config
        self._device = device
        self._link = link
        self._finder = finder
        self._emit = emit
        self._rates = ItemRates(config.sampling_interval_ms, config.item_queue_size)
        self._told: dict[int, int] = {}
        self._vanished: set[int] = set()
        self._full: set[int] = set()
        self._unfiltered: set[int] = set()
        self._wake = asyncio.Event()
        self.busy = False
        """True while the server creates items; slow ones answer nothing else meanwhile."""
        self.complete = asyncio.Event()
        """Set when every point has been asked for once."""

    async def run(self, subscriptions: list[SavedSubscription], more: NewSubscription) -> None:
        """Create missing items, then keep trying those refused; ends only by its end.

        subscriptions grows by those that `more` makes.
        """
        have = {handle for subscription in subscriptions for handle in subscription.items}
        have.discard(EVENT_HANDLE)
        handles = [handle for handle in self._device.leaders if handle not in have]
        if have:
            await self._finder.find(sorted(have))
        tries = 0
        while True:
            self.busy = True
            statuses = await self._create(subscriptions, more, handles)
            self.busy = False
            refused = {h: s >> 16 for h, s in statuses.items() if s & 0x8000_0000}
            await self._tell(refused)
            await self._tell_unfiltered()
            await self._tell_revised()
            await tell_renumbered(self._device, self._finder, self._emit)
            self.complete.set()
            if not refused and not self._vanished:
                tries = 0
                self._wake.clear()
                await self._wake.wait()
            clock = self._device.clock
            pause_s = min(self._device.config.retry_s, 1 << min(tries, 30))
            tries += 1
            await clock.sleep_until(clock.monotonic_ns() + pause_s * 10**9)
            gone, self._vanished = self._vanished, set()
            await self._drop(subscriptions, gone)
            handles = sorted(gone | refused.keys())

    def vanished(self, handles: Sequence[int]) -> None:
        """Note items whose node no longer exists, as their values have told."""
        self._vanished.update(handle for handle in handles if handle in self._finder.items)
        if self._vanished:
            self._wake.set()

    async def _drop(self, subscriptions: list[SavedSubscription], handles: set[int]) -> None:
        """Remove items of vanished nodes, so that a new one does not double them."""
        for subscription in subscriptions:
            ids = [subscription.items.pop(h) for h in handles if h in subscription.items]
            if ids:
                self._full.discard(subscription.id)
                await services.delete_items(self._link, subscription.id, ids)

    async def _create(
        self, subscriptions: list[SavedSubscription], more: NewSubscription, handles: list[int]
    ) -> dict[int, int]:
        """Create items in chunks; returns a StatusCode for each handle."""
        wanted, missing = await self._finder.find(handles)
        limits = self._finder.surroundings.limits
        statuses = dict.fromkeys(handles, BAD_NODE_ID_UNKNOWN) | missing
        chunk = max(1, min(self._device.config.items_per_call, limits.items_per_call or 100_000))
        while wanted:
            subscription, room = await self._room(subscriptions, more, limits)
            if subscription is None:  # what does not fit is asked for again later
                statuses |= dict.fromkeys((i.handle for i in wanted), BAD_TOO_MANY_MONITORED_ITEMS)
                break
            now = wanted[: min(chunk, room)]
            results = await self._create_some(subscription.id, now)
            if results is None:
                chunk = max(1, len(now) // 2)
                continue
            again = []
            for item, result in zip(now, results, strict=True):
                statuses[item.handle] = result.status
                if result.status == BAD_TOO_MANY_MONITORED_ITEMS and subscription.items:
                    self._full.add(subscription.id)
                    again.append(item)
                elif not result.status & 0x8000_0000:
                    subscription.items[item.handle] = result.item_id
                    self._device.revised.feed(
                        item.handle,
                        result.sampling_ms,
                        result.queue_size,
                        subscription.publishing_ms,
                    )
            wanted = again + wanted[len(now) :]
            if again and len(subscriptions) >= _MOST_SUBSCRIPTIONS:
                break
        held = [h for s in subscriptions for h in s.items]
        self._device.counters.subscribed = len(self._device.with_fellows(held))
        self._device.state.save_link()
        return statuses

    async def _room(
        self,
        subscriptions: list[SavedSubscription],
        more: NewSubscription,
        limits: services.Limits,
    ) -> tuple[SavedSubscription | None, int]:
        """Give a subscription that takes further items, and how many; None if there is none."""
        own = self._device.config.items_per_subscription
        most = own or limits.items_per_subscription or 1_000_000
        for subscription in subscriptions:
            room = most - len(subscription.items)
            if room > 0 and subscription.id not in self._full:
                return subscription, room
        try:
            subscriptions.append(await more())
        except StatusError as fault:
            if fault.status != BAD_TOO_MANY_SUBSCRIPTIONS:
                raise
            return None, 0
        return subscriptions[-1], most

    async def _create_some(
        self, subscription: int, items: Sequence[Item]
    ) -> Sequence[ItemResult] | None:
        """One call; None where the server finds it too much at once."""
        plain = [self._without_filter(item) for item in items]
        try:
            results = await services.create_items(self._link, subscription, plain, self._rates)
        except StatusError as fault:
            if fault.status == BAD_TOO_MANY_MONITORED_ITEMS:
                return [ItemResult(fault.status, 0)] * len(items)
            if fault.status not in TOO_MUCH_AT_ONCE:
                raise
            return None if len(items) > 1 else [ItemResult(fault.status, 0)]
        places = [i for i, r in enumerate(results) if r.status & 0xFFFF_0000 in FILTER_REFUSED]
        if places:  # no EURange, or no deadbands at all: rather every change than none
            self._unfiltered.update(items[place].handle for place in places)
            bare = [self._without_filter(items[place]) for place in places]
            second = await services.create_items(self._link, subscription, bare, self._rates)
            for place, result in zip(places, second, strict=True):
                results[place] = result
        return results

    def _without_filter(self, item: Item) -> Item:
        if item.handle not in self._unfiltered:
            return item
        return Item(item.handle, item.place, item.index)

    async def _tell_unfiltered(self) -> None:
        device = self._device
        fresh = self._unfiltered - device.unfiltered_told
        if fresh:
            device.unfiltered_told |= fresh
            tags = [device.points[handle].tag for handle in sorted(fresh)]
            await self._emit(device.events.no_deadband(device.clock.wall_ns(), tags))

    async def _tell_revised(self) -> None:
        device, now_ns = self._device, self._device.clock.wall_ns()
        slower, shorter = device.revised.take()
        if slower:
            tags = [device.points[handle].tag for handle in slower]
            rates = device.revised.sampling_ms, max(slower.values())
            await self._emit(device.events.slower(now_ns, tags, *rates))
        if shorter:
            tags = [device.points[handle].tag for handle in shorter]
            await self._emit(device.events.shorter(now_ns, tags, min(shorter.values())))

    async def _tell(self, refused: dict[int, int]) -> None:
        """Emit refused points once, and again when the reason has changed."""
        device = self._device
        refused = {h: q for one, q in refused.items() for h in device.with_fellows([one])}
        device.counters.refused = len(refused)
        changed = {h: q for h, q in refused.items() if self._told.get(h) != q}
        self._told = refused
        if not changed:
            return
        now_ns = device.clock.wall_ns()
        handles = np.fromiter(changed.keys(), np.uint32, len(changed))
        qualities = np.fromiter(changed.values(), np.uint16, len(changed))
        device.lost[handles] = False
        for batch in device.batches.of_quality(handles, qualities, now_ns):
            await self._emit(batch)
        tags = {device.points[handle].tag: quality for handle, quality in changed.items()}
        await self._emit(device.events.refused(now_ns, tags, device.config.retry_s))


__all__ = ["ItemKeeper", "tell_renumbered"]

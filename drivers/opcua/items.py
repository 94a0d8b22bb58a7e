"""Keeps every point subscribed: creates monitored items, and asks again for those that are not.

Guarantees: namespaces are resolved by URI anew in every session and at every further try; calls
never exceed `items_per_call` nor the server's own limit, and halve when the server says too much;
a refused item is bad with the server's code, is told once, stops nothing, and is asked for again
every `retry_s`. So is an item whose node vanished while it was watched.
"""

from __future__ import annotations

import asyncio

import numpy as np

from drivers.contract import Emit
from drivers.opcua.client import ItemResult, Link, Subscription
from drivers.opcua.config import Node
from drivers.opcua.device import Device
from drivers.opcua.faults import BAD_NODE_ID_UNKNOWN, TOO_MUCH_AT_ONCE, StatusError


class ItemKeeper:
    """The monitored items of one session."""

    def __init__(self, device: Device, link: Link, emit: Emit) -> None:
        self._device = device
        self._link = link
        self._emit = emit
        self._item_ids: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._vanished: set[int] = set()
        self._wake = asyncio.Event()
        self.busy = False
        """True while the server creates items; slow ones answer nothing else meanwhile."""

    async def run(self, subscription: Subscription) -> None:
        """Create all items, then keep trying those that are missing; ends only by its end."""
        handles = list(range(len(self._device.points)))
        while True:
            self.busy = True
            statuses = await self._create(subscription, handles)
            self.busy = False
            refused = {h: s >> 16 for h, s in statuses.items() if s & 0x8000_0000}
            await self._tell(refused)
            if not refused and not self._vanished:
                self._wake.clear()
                await self._wake.wait()
            clock = self._device.clock
            await clock.sleep_until(clock.monotonic_ns() + self._device.config.retry_s * 10**9)
            gone, self._vanished = self._vanished, set()
            await self._drop(subscription, gone)
            handles = sorted(gone | refused.keys())

    def vanished(self, handles: list[int]) -> None:
        """Note items whose node no longer exists, as their values have told."""
        self._vanished.update(handle for handle in handles if handle in self._item_ids)
        if self._vanished:
            self._wake.set()

    async def _drop(self, subscription: Subscription, handles: set[int]) -> None:
        """Remove items of vanished nodes, so that a new one does not double them."""
        ids = [self._item_ids.pop(handle) for handle in handles]
        if ids:
            await self._link.delete_items(subscription, ids)

    async def _create(self, subscription: Subscription, handles: list[int]) -> dict[int, int]:
        """Create items in chunks; returns a StatusCode for each handle."""
        surroundings = await self._link.surroundings()
        indexes = {uri: index for index, uri in enumerate(surroundings.namespaces)}
        statuses = dict.fromkeys(handles, BAD_NODE_ID_UNKNOWN)
        wanted: list[tuple[int, Node, int]] = []
        for handle in handles:
            node = self._device.points[handle].address.target()
            name = node.namespace
            index = indexes.get(name) if isinstance(name, str) else name
            if index is not None:
                wanted.append((handle, node, index))
        limit = surroundings.max_items_per_call or len(wanted)
        chunk = max(1, min(self._device.config.items_per_call, limit))
        while wanted:
            now = wanted[:chunk]
            results = await self._create_some(subscription, now)
            if results is None:
                chunk = max(1, len(now) // 2)
                continue
            for (handle, _, _), result in zip(now, results, strict=True):
                statuses[handle] = result.status
                if not result.status & 0x8000_0000:
                    self._item_ids[handle] = result.item_id
            wanted = wanted[chunk:]
        self._device.counters.subscribed = len(self._item_ids)
        return statuses

    async def _create_some(
        self, subscription: Subscription, items: list[tuple[int, Node, int]]
    ) -> list[ItemResult] | None:
        """One call; None where the server finds it too much at once."""
        try:
            return await self._link.create_items(subscription, items)
        except StatusError as fault:
            if fault.status not in TOO_MUCH_AT_ONCE:
                raise
            return None if len(items) > 1 else [ItemResult(fault.status, 0)]

    async def _tell(self, refused: dict[int, int]) -> None:
        """Emit refused points once, and again when the reason has changed."""
        device = self._device
        device.counters.refused = len(refused)
        changed = {h: q for h, q in refused.items() if self._told.get(h) != q}
        self._told = refused
        if not changed:
            return
        now_ns = device.clock.wall_ns()
        handles = np.fromiter(changed.keys(), np.uint32, len(changed))
        qualities = np.fromiter(changed.values(), np.uint16, len(changed))
        for batch in device.batches.of_quality(handles, qualities, now_ns):
            await self._emit(batch)
        tags = {device.points[handle].tag: quality for handle, quality in changed.items()}
        await self._emit(device.events.refused(now_ns, tags))


__all__ = ["ItemKeeper"]

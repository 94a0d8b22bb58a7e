"""Reads points that stay silent, so that an unchanged value is not mistaken for a dead one.

Guarantees: every subscribed point gives a sample at least every `heartbeat_s` (0: never), and after
a resumed session every point that was said to be lost comes back; the sample carries the source
time the server gives, so its age is gateway time less source time. Calls keep to the server's
limit and are spread over the period. A value other than the one published waits, since the
subscription is about to bring it; if it does not within twice its own times, its item is told and
made anew, once a session. So is an item that never gave a first value. A server that does not
answer is told (life.py) and asked again: whether it is lost, others find.

The same reader polls servers that cannot subscribe (`reading = "poll"`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np

from drivers.contract import DeviceError, Int64Array
from drivers.opcua import services
from drivers.opcua.client import Link
from drivers.opcua.codec import Column, DataChange, decode_data_values
from drivers.opcua.device import Device
from drivers.opcua.faults import BUSY, TOO_MUCH_AT_ONCE, NoAnswerError, StatusError
from drivers.opcua.intake import Intake
from drivers.opcua.ledger import Entry, Ledger
from drivers.opcua.nodes import NodeFinder
from drivers.opcua.publish import read_read_response
from drivers.opcua.repeats import value_bits
from drivers.opcua.services import Item
from drivers.opcua.spread import Bools
from drivers.opcua.state import SavedSubscription

_CHUNK = 1000
_LOOK_NS = 500_000_000
_PAUSE_NS = 10_000_000_000  # after a read that was not answered
_PASSING = BUSY | TOO_MUCH_AT_ONCE
_FIRST_NS = 5_000_000_000  # an item's first value comes with its first notification
_SETTLE_NS = 1_500_000_000  # after a resumed session, for what the subscription itself brings


class Reader:
    """Reads values in chunks, halving them where the server says too much."""

    def __init__(self, device: Device, link: Link, finder: NodeFinder) -> None:
        self._device = device
        self._link = link
        self.finder = finder
        self._chunk = _CHUNK

    async def read(self, items: Sequence[Item]) -> list[tuple[DataChange, int]]:
        """Read items: decoded answers, each with the gateway time it came; raises DeviceError."""
        answers = []
        rest = list(items)
        while rest:
            limit = self.finder.surroundings.limits.nodes_per_read or self._chunk
            now = rest[: max(1, min(self._chunk, limit))]
            try:
                answers.append(await self._ask(now))
            except StatusError as fault:
                if fault.status not in TOO_MUCH_AT_ONCE or len(now) == 1:
                    raise
                self._chunk = len(now) // 2
                continue
            rest = rest[len(now) :]
        return answers

    async def _ask(self, items: Sequence[Item]) -> tuple[DataChange, int]:
        body = await services.read_values(self._link, items)
        device = self._device
        now_ns = device.clock.wall_ns()
        handles = np.fromiter((item.handle for item in items), np.uint32, len(items))
        with self._link.understanding("reading values"):
            cursor = read_read_response(body)
            kinds, fields = device.batches.kinds, device.fields
            return decode_data_values(cursor, handles, kinds, now_ns, fields), now_ns


Deaf = Callable[[DeviceError], Awaitable[None]]


class Refresher:
    """Heartbeats of one session. deaf: told why the server answered no read."""

    def __init__(
        self, device: Device, reader: Reader, intake: Intake, ledger: Ledger, deaf: Deaf
    ) -> None:
        self._device = device
        self._reader = reader
        self._intake = intake
        self._ledger = ledger
        self._deaf = deaf
        count = len(device.points)
        self._doubted_ns = np.zeros(count, np.int64)
        self._unheard_ns = np.zeros(count, np.int64)
        self._watched = np.zeros(count, np.bool_)
        self._counts: list[int] = []
        self._mortal = np.array([p.address.deadband() is None for p in device.points], np.bool_)
        self._dead: list[int] = []
        self._resumed = False
        self._patience_ns = 0

    async def run(self, subscriptions: Sequence[SavedSubscription], *, resumed: bool) -> None:
        """Look twice a second who has been silent for too long; ends only by its end.

        resumed: the subscriptions are those of before, and give no initial values.
        """
        self._resumed = resumed
        device = self._device
        clock = device.clock
        began_ns = clock.monotonic_ns()
        while True:
            await clock.sleep_until(clock.monotonic_ns() + _LOOK_NS)
            now_ns = clock.monotonic_ns()
            settled = now_ns - began_ns > _SETTLE_NS
            due = self._due(now_ns, self._watched_now(subscriptions), settled=settled)
            if due.any():
                publishing_ms = max(s.publishing_ms for s in subscriptions)
                patience_ms = 2 * (publishing_ms + device.revised.slowest_ms)
                self._patience_ns = round(patience_ms * 1e6) + _LOOK_NS
                try:
                    await self._refresh(np.flatnonzero(due))
                except (StatusError, NoAnswerError) as fault:
                    if isinstance(fault, StatusError) and fault.status not in _PASSING:
                        raise
                    await self._deaf(fault)
                    await clock.sleep_until(clock.monotonic_ns() + _PAUSE_NS)

    def _due(self, now_ns: int, watched: Bools, *, settled: bool) -> Bools:
        device = self._device
        heartbeat_ns = device.config.heartbeat_s * 10**9
        heard = device.heard_ns
        due: Bools = np.zeros(len(device.points), np.bool_)
        if heartbeat_ns:
            due |= (heard > 0) & (now_ns - heard >= heartbeat_ns)
        if settled:
            due |= device.lost
        unheard = watched & (heard == 0)
        self._unheard_ns[unheard & (self._unheard_ns == 0)] = now_ns
        due |= unheard & (now_ns - self._unheard_ns > _FIRST_NS)
        return due & watched

    def _watched_now(self, subscriptions: Sequence[SavedSubscription]) -> Bools:
        """Give bool[points]: which have an item."""
        counts = [len(subscription.items) for subscription in subscriptions]
        if counts != self._counts:
            self._counts = counts
            self._watched = np.zeros(len(self._device.points), np.bool_)
            for subscription in subscriptions:
                known = [h for h in subscription.items if h < len(self._watched)]
                self._watched[known] = True
        return self._watched

    async def _refresh(self, handles: Int64Array) -> None:
        found = self._reader.finder.items
        items = [found[h] for h in handles.tolist() if h in found]
        for change, now_ns in await self._reader.read(items):
            columns = [self._believed(column) for column in change.columns]
            kept = tuple(column for column in columns if len(column.handles))
            count = sum(len(column.handles) for column in kept)
            if count:
                self._device.counters.heartbeats += count
                receipts = await self._intake.hand_over(replace(change, columns=kept), now_ns)
                self._ledger.add(Entry(0, 0, receipts, ()))
        dead, self._dead = self._dead, []
        await self._intake.make_anew(dead)

    def _believed(self, column: Column) -> Column:
        """Leave out what the subscription is about to bring; note items that bring nothing."""
        device, handles = self._device, column.handles
        now_ns = device.clock.monotonic_ns()
        unheard = device.heard_ns[handles] == 0
        newer = column.source_time_ns > device.state.source_ns[handles]
        changed = newer & ((value_bits(column) != device.last_bits[handles]) | unheard)
        if self._resumed:  # what a new process knows nothing of, it cannot compare
            changed &= ~unheard
        since = self._doubted_ns[handles]
        since = np.where(changed & (since == 0), now_ns, since)
        overdue = changed & (now_ns - since > self._patience_ns)
        dead = overdue & self._mortal[handles]
        self._mortal[handles[dead]] = False  # once; then it is read as long as it is silent
        self._dead += handles[dead].tolist()
        self._doubted_ns[handles] = np.where(changed & ~overdue, since, 0)
        return column.where(~changed | (overdue & ~dead))


__all__ = ["Reader", "Refresher"]

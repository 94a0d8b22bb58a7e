"""One session that reads in turn, for servers that cannot subscribe (`reading = "poll"`).

Guarantees: reads begin on a fixed grid of `publish_ms` and never overlap; a turn that takes longer
skips the ones it has missed; the session lives however long the period is; a refused or vanished
point is bad with the server's code and is looked for again every `retry_s`. Changes between two
reads are not seen: subscribe where possible.
"""

from __future__ import annotations

import numpy as np

from drivers.contract import Emit
from drivers.opcua.client import Link
from drivers.opcua.device import Device
from drivers.opcua.faults import NODE_GONE
from drivers.opcua.intake import Intake
from drivers.opcua.items import tell_renumbered
from drivers.opcua.ledger import Entry, Ledger
from drivers.opcua.life import Better, Life
from drivers.opcua.nodes import NodeFinder
from drivers.opcua.refresh import Reader


class PollSession:
    """See the module. `run` is called once."""

    def __init__(
        self, device: Device, link: Link, emit: Emit, ledger: Ledger, better: Better | None = None
    ) -> None:
        """better: finds another server of a redundant set."""
        self._life = Life(device, link, emit, better)
        self._device = device
        self._link = link
        self._emit = emit
        self._ledger = ledger
        self._finder = NodeFinder(device, link)
        self._reader = Reader(device, link, self._finder)
        self._intake = Intake(device, link, emit, ledger, self._gone, lambda _: None)
        self._search_ns = 0
        self._searches = 0
        self._missing: dict[int, int] = {}
        self._learn_ns = 0

    async def run(self) -> None:
        """Read until cancelled; raises DeviceError."""
        device, clock = self._device, self._device.clock
        await self._ledger.settle()
        await self._link.open(clock.wall_ns())
        await self._life.begin()
        device.counters.sessions += 1
        await self._emit(
            device.events.link_up(
                clock.wall_ns(),
                self._link.endpoint,
                publishing_ms=device.config.publish_ms,
                points=len(device.points),
                resumed=False,
            )
        )
        await self._search()
        period_ns = device.config.publish_ms * 10**6
        turn_ns = look_ns = clock.monotonic_ns()
        while True:
            await self._turn()
            now_ns = clock.monotonic_ns()
            turn_ns += period_ns * max(1, -(-(now_ns - turn_ns) // period_ns))
            while clock.monotonic_ns() < turn_ns:
                if clock.monotonic_ns() >= look_ns:
                    await self._life.look()
                    look_ns = clock.monotonic_ns() + self._life.period_ns
                await clock.sleep_until(min(turn_ns, look_ns))
            if clock.monotonic_ns() >= self._search_ns:
                await self._search()
            if self._intake.doubted and clock.monotonic_ns() >= self._learn_ns:
                await self._relearn()

    async def _turn(self) -> None:
        device = self._device
        device.traffic.heard()
        for change, now_ns in await self._reader.read(list(self._finder.items.values())):
            receipts = await self._intake.hand_over(change, now_ns)
            self._ledger.add(Entry(0, 0, receipts, change.columns))
            device.last_value_ns = now_ns
            device.counters.values += len(change)
            for column in change.columns:
                gone = column.handles[np.isin(column.quality, NODE_GONE)]
                for handle in gone.tolist():
                    self._finder.items.pop(handle, None)
        await self._ledger.settle()

    async def _search(self) -> None:
        """Find the nodes that are not known, and say once which are refused."""
        device, clock = self._device, self._device.clock
        pause_s = min(device.config.retry_s, 1 << min(self._searches, 30))
        self._search_ns = clock.monotonic_ns() + pause_s * 10**9
        self._searches += 1
        wanted = [h for h in device.leaders if h not in self._finder.items]
        if not wanted:
            self._searches, self._missing = 0, {}
            return
        _, lacking = await self._finder.find(wanted)
        await tell_renumbered(device, self._finder, self._emit)
        missing = {h: s for one, s in lacking.items() for h in device.with_fellows([one])}
        device.counters.subscribed = len(device.with_fellows(self._finder.items))
        device.counters.refused = len(missing)
        told, self._missing = self._missing, missing
        missing = {h: s for h, s in missing.items() if told.get(h) != s}
        if not missing:
            return
        now_ns = clock.wall_ns()
        handles = np.fromiter(missing.keys(), np.uint32, len(missing))
        qualities = np.fromiter((s >> 16 for s in missing.values()), np.uint16, len(missing))
        for batch in device.batches.of_quality(handles, qualities, now_ns):
            await self._emit(batch)
        tags = {device.points[h].tag: status >> 16 for h, status in missing.items()}
        await self._emit(device.events.refused(now_ns, tags, device.config.retry_s))

    async def _relearn(self) -> None:
        """Learn anew what structures look like where their values say that it has changed."""
        device = self._device
        self._learn_ns = device.clock.monotonic_ns() + device.config.retry_s * 10**9
        doubted, self._intake.doubted = sorted(self._intake.doubted), set()
        for handle in device.with_fellows(await self._finder.learn(doubted)):
            device.unread.pop(handle, None)

    def _gone(self, handles: object) -> None:
        """Nothing: only notifications report here."""


__all__ = ["PollSession"]

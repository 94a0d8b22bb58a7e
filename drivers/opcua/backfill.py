"""Reads back from the server's history what an outage has cost, as far as the server has it.

Guarantees: only samples after the last one stored and before the first one received again are
emitted, so nothing comes twice; what cannot be filled is told as `opcua.gap` with its count of
points; what was filled is told as `opcua.backfill` after its batches. A gap whose filling was cut
short is filled at the next session: values of the part that was done come again with equal times.
A history that refuses, or does not answer, costs the gap and never the session. At most MOST_GAPS
wait: of a server that loses faster than its history is read what is beyond is told as lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.contract import Emit, Int64Array
from drivers.opcua import services
from drivers.opcua.client import Link
from drivers.opcua.codec import decode_data_values
from drivers.opcua.device import Device
from drivers.opcua.faults import NoAnswerError, StatusError
from drivers.opcua.items import ItemKeeper
from drivers.opcua.ledger import Entry, Ledger
from drivers.opcua.nodes import NodeFinder, chunks
from drivers.opcua.pieces import in_pieces
from drivers.opcua.publish import HistoryPage, ServiceFaultError, read_history_response
from drivers.opcua.services import Item
from drivers.opcua.state import Gap
from drivers.opcua.wire import CodecError

_PAGE_VALUES = 1000
_CALL_NODES = 100  # where the server names no limit
_HISTORY_READ = 0x04  # bit of UserAccessLevel (OPC 10000-3, 8.57)
MOST_GAPS = 32
_PATIENCE = 20  # looks for first values, a quarter of a second apart
_TICK_NS = 100
_BACKWARDS_NS = 1_000_000_000  # less is jitter of stamps
_STANDBY_NS = 60_000_000_000


class Backfiller:
    """Fills the gaps of a device during one session."""

    def __init__(
        self, device: Device, link: Link, finder: NodeFinder, emit: Emit, ledger: Ledger
    ) -> None:
        self._device = device
        self._link = link
        self._finder = finder
        self._emit = emit
        self._ledger = ledger
        self._fresh = asyncio.Event()
        self._newest_ns: dict[int, int] = {}
        self._given_up: list[Gap] = []

    def open(self, gap: Gap) -> None:
        """Take a gap to be filled."""
        gaps = self._device.state.gaps
        gaps.append(gap)
        if len(gaps) > MOST_GAPS:
            self._give_up(gaps.pop(1))  # the first may be under way
        self._device.state.save_gaps()
        self._device.awaiting_first = True
        self._device.counters.gaps += 1
        self._fresh.set()

    def _give_up(self, gap: Gap) -> None:
        """Note a gap that is not filled, in one with those before it."""
        for before in self._given_up:
            before.from_ns = min(before.from_ns, gap.from_ns)
            before.count += gap.count
            np.maximum(before.since, gap.since, out=before.since)
            return
        since, cause = np.array(gap.since), "too many gaps to be filled"
        self._given_up.append(Gap(since, since, gap.from_ns, cause, gap.count))

    async def _tell_given_up(self) -> None:
        """Say what is not filled, since too much waits."""
        given_up, self._given_up = self._given_up, []
        for gap in given_up:
            now_ns, points = self._device.clock.wall_ns(), int(np.count_nonzero(gap.since))
            event = self._device.events.gap(
                now_ns, gap.from_ns, cause=gap.cause, count=gap.count, points=points
            )
            await self._emit(event)

    async def run(self, keeper: ItemKeeper) -> None:
        """Fill gaps one after another; ends only by its end."""
        state = self._device.state
        self._device.awaiting_first = bool(state.gaps)
        while True:
            await keeper.complete.wait()
            while state.gaps:
                await self._tell_given_up()
                gap = state.gaps[0]
                await self._await_first(gap)
                await self._fill(gap)
                state.gaps.remove(gap)
                state.save_gaps()
            self._device.awaiting_first = False
            self._fresh.clear()
            await self._fresh.wait()

    async def _await_first(self, gap: Gap) -> None:
        """Wait until it is known for each point when values began again."""
        device = self._device
        missing = (gap.since > 0) & (gap.until == 0)
        for _ in range(_PATIENCE):
            if device.first_ns[missing].all():
                break
            await device.clock.sleep_until(device.clock.monotonic_ns() + 250_000_000)
        first = device.first_ns
        newest = int(first.max(initial=0)) or device.clock.wall_ns()
        # what has sent nothing since has not changed since: its history ends where others go on
        gap.until[missing] = np.where(first[missing] > 0, first[missing], newest)
        device.state.save_gaps()

    async def _fill(self, gap: Gap) -> None:
        device = self._device
        missing = np.flatnonzero(gap.until - gap.since > _TICK_NS)
        missing = missing[gap.since[missing] > 0]
        points, values = 0, 0
        if device.config.history:
            readable = await self._readable(missing)
            limit = self._finder.surroundings.limits.history_per_call or _CALL_NODES
            readable.sort(key=lambda item: int(gap.since[item.handle]))
            for chunk in chunks(readable, limit):
                try:
                    count, filled = await self._read(list(chunk), gap)
                except NoAnswerError:  # what the next chunk would be told, only later
                    break
                values += count
                points += len(device.with_fellows(filled))
        unfilled = len(missing) - points + int(np.count_nonzero(self._backwards(gap)))
        now_ns = device.clock.wall_ns()
        device.counters.backfilled += values
        if points:
            span_ns = (gap.from_ns, now_ns)
            await self._emit(device.events.backfill(now_ns, span_ns, values=values, points=points))
        if unfilled or (gap.count and not points):
            event = device.events.gap(
                now_ns, gap.from_ns, cause=gap.cause, count=gap.count, points=unfilled
            )
            await self._emit(event)

    def _backwards(self, gap: Gap) -> npt.NDArray[np.bool_]:
        """Give the points whose clock was set back meanwhile: no time says what is missing."""
        redundant = len(self._device.config.servers) > 1  # a stand-by may be behind
        apart_ns = _STANDBY_NS if redundant else _BACKWARDS_NS
        known = (gap.since > 0) & (gap.until > 0)
        backwards: npt.NDArray[np.bool_] = known & (gap.since - gap.until > apart_ns)
        return backwards

    async def _readable(self, handles: Int64Array) -> list[Item]:
        """Choose the items whose history we may read."""
        items = [self._finder.items[h] for h in handles.tolist() if h in self._finder.items]
        limit = self._finder.surroundings.limits.nodes_per_read or 1000
        readable: list[Item] = []

        def ask(piece: Sequence[Item]) -> Awaitable[list[tuple[Any, int]]]:
            places = [item.place for item in piece]
            return services.read_attributes(self._link, places, services.ACCESS_LEVEL)

        with contextlib.suppress(StatusError, NoAnswerError):  # what is not told is not read
            async for piece, levels in in_pieces(items, limit, ask):
                for item, (level, _) in zip(piece, levels, strict=True):
                    if isinstance(level, int) and level & _HISTORY_READ:
                        readable.append(item)
        return readable

    async def _read(self, items: list[Item], gap: Gap) -> tuple[int, list[int]]:
        """Read and emit the history of some items; returns values emitted and handles filled."""
        handles = [item.handle for item in items]
        since, until = int(gap.since[handles].min()), int(gap.until[handles].max())
        wanted = [(item, b"") for item in items]
        values = 0
        self._newest_ns = {}
        failed: set[int] = set()
        while wanted:
            try:
                body = await services.history(
                    self._link, wanted, (since, until + 1000), most=_PAGE_VALUES
                )
                pages = read_history_response(body)
            except (StatusError, ServiceFaultError, CodecError):
                failed.update(item.handle for item, _ in wanted)
                break
            following = []
            for (item, _), page in zip(wanted, pages, strict=False):
                if page.status & 0x8000_0000:
                    failed.add(item.handle)
                    continue
                newest_ns = self._newest_ns.get(item.handle, -1)
                values += await self._emit_page(item, page, gap)
                if page.continuation and self._newest_ns.get(item.handle, -1) <= newest_ns:
                    failed.add(item.handle)  # it would go on for ever
                elif page.continuation:
                    following.append((item, page.continuation))
            failed.update(item.handle for item, _ in wanted[len(pages) :])
            wanted = following
        return values, [handle for handle in handles if handle not in failed]

    async def _emit_page(self, item: Item, page: HistoryPage, gap: Gap) -> int:
        if page.values is None:
            return 0
        device = self._device
        now_ns = device.clock.wall_ns()
        handle = np.array([item.handle], np.uint32)
        kinds = device.batches.kinds
        change = decode_data_values(page.values, handle, kinds, now_ns, device.fields)
        since, until = int(gap.since[item.handle]), int(gap.until[item.handle])
        receipts, count = [], 0
        for column in change.columns:
            times = column.source_time_ns
            self._newest_ns[item.handle] = max(
                self._newest_ns.get(item.handle, -1), int(times.max(initial=-1))
            )
            chosen = (times >= since + _TICK_NS) & (times < until)
            if chosen.any():
                part = column.where(chosen)
                count += len(part.handles)
                receipts.append(
                    await self._emit(device.batches.of_column(part, now_ns, is_history=True))
                )
        if receipts:
            self._ledger.add(Entry(0, 0, receipts, ()))
        return count


__all__ = ["Backfiller"]

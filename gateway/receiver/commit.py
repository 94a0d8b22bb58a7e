"""One writer for all connections: works that arrive while a commit runs share the next one.

Guarantees:

- A future of `submit` completes after the work's commit was synced, or fails with
  `StoreFailedError`; nothing is half done. A failed commit fails everything that waits.
- Works of one caller are done in the order they were submitted within their class; urgent works
  (alarms, events, Hellos) go first into the next commit.
- What waits is bounded by QUEUE_BYTES: `submit` waits for room, so a slow disk slows the
  gateways down and never fills memory. Urgent works do not wait.
- `run` returns only when everything submitted before `stop` is committed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from drivers.contract import Clock
from gateway.observe.log import logger
from gateway.receiver.contract import Outcome, Seen, Store, StoreFailedError, Work

QUEUE_BYTES = 64 * 1024 * 1024
"""Most payload waiting for the disk: 512 messages of the largest size that a gateway sends."""
COMMIT_BYTES = 4 * 1024 * 1024
"""Most payload in one commit, so that an alarm waits for a short one only."""

SLOW_SECONDS = 1.0
"""A commit that takes so long is noted: everything waits for it, alarms too."""


@dataclass(slots=True, eq=False)
class _Item:
    work: Work
    size_bytes: int
    done: asyncio.Future[Outcome]


class Committer:
    """Group commit over a `Store`, for one event loop. Call `run` in a TaskGroup."""

    def __init__(
        self, store: Store, clock: Clock, on_failure: Callable[[str], object] = str
    ) -> None:
        """on_failure: told the reason after a commit failed; whoever spoke must say Hello again."""
        self._store = store
        self._clock = clock
        self._urgent: deque[_Item] = deque()
        self._bulk: deque[_Item] = deque()
        self._bulk_bytes = 0
        self._on_failure = on_failure
        self._seen: dict[int, Seen] = {}
        self._work_waits = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = False
        self.commits = 0
        self.records_bytes = 0

    async def submit(self, work: Work, size_bytes: int, *, urgent: bool) -> asyncio.Future[Outcome]:
        """Queue one work of so many bytes of payload; waits for room unless it is urgent."""
        while not urgent and self._bulk_bytes >= QUEUE_BYTES:
            self._room.clear()
            await self._room.wait()
        if self._stopping:
            raise StoreFailedError("the receiver is stopping")
        item = _Item(work, size_bytes, asyncio.get_running_loop().create_future())
        if urgent:
            self._urgent.append(item)
        else:
            self._bulk.append(item)
            self._bulk_bytes += size_bytes
        self._work_waits.set()
        return item.done

    def note_seen(self, seen: Seen) -> None:
        """Keep a gateway's last status; it rides on the next commit and asks for none itself."""
        self._seen[seen.log] = seen

    def stop(self) -> None:
        """Take nothing more; `run` returns once what is queued is committed."""
        self._stopping = True
        self._work_waits.set()
        self._room.set()

    async def run(self) -> None:
        """Commit until stopped. Cancelled, it finishes the commit that is running."""
        with ThreadPoolExecutor(1, "receiver-store") as thread:
            while True:
                await self._work_waits.wait()
                self._work_waits.clear()
                while group := self._take():
                    await self._commit(group, thread)
                if self._stopping:
                    return

    def _take(self) -> list[_Item]:
        group = list(self._urgent)
        self._urgent.clear()
        size_bytes = 0
        while self._bulk and size_bytes < COMMIT_BYTES:
            item = self._bulk.popleft()
            size_bytes += item.size_bytes
            group.append(item)
        self._bulk_bytes -= size_bytes
        if self._bulk_bytes < QUEUE_BYTES:
            self._room.set()
        if not group and self._stopping and self._seen:
            group.append(_Item(self._seen.popitem()[1], 0, _future()))
        return group

    async def _commit(self, group: list[_Item], thread: ThreadPoolExecutor) -> None:
        works = [item.work for item in group]
        works += self._seen.values()
        self._seen.clear()
        loop = asyncio.get_running_loop()
        began_ns = self._clock.monotonic_ns()
        try:
            outcomes = await loop.run_in_executor(
                thread, self._store.apply, works, self._clock.wall_ns()
            )
        except StoreFailedError as failure:
            await loop.run_in_executor(thread, self._reopen)
            # What waits speaks of log numbers of before: the store that was reached now may be one
            # that was restored, where they mean nothing, or another log.
            self._fail([*group, *self._urgent, *self._bulk], failure)
            self._on_failure(str(failure))
            return
        self.commits += 1
        took_s = (self._clock.monotonic_ns() - began_ns) / 1e9
        if took_s >= SLOW_SECONDS:  # whoever asks why alarms are late finds it here
            logger("receiver").warning("store.slow", seconds=round(took_s, 2), works=len(group))
        for item, outcome in zip(group, outcomes, strict=False):
            self.records_bytes += item.size_bytes
            if not item.done.done():
                item.done.set_result(outcome)

    def _fail(self, items: Iterable[_Item], failure: StoreFailedError) -> None:
        for item in items:
            if not item.done.done():
                item.done.set_exception(failure)
                item.done.exception()  # seen: its caller may be gone
        self._urgent.clear()
        self._bulk.clear()
        self._seen.clear()
        self._bulk_bytes = 0
        self._room.set()

    def _reopen(self) -> None:
        try:
            self._store.reopen()
        except StoreFailedError:
            return  # still closed: the next commit fails too and comes back here


def _future() -> asyncio.Future[Outcome]:
    return asyncio.get_running_loop().create_future()

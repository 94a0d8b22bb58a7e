"""One writer for all connections: works that arrive while a commit runs share the next one.

Guarantees:

- A future of `submit` completes after the work's commit was synced, or fails with
  `StoreFailedError`; nothing is half done. A failed commit fails everything that waits, but for
  one that a value of a work made fail: that fails or refuses this work alone (apart.py).
- Works of one turn are done in the order they were submitted. The past never goes before what is
  urgent (alarms, events, Hellos) or live: they get a commit of their own while much of the past
  waits, and the past the next one, which holds about as much as takes PAST_SECONDS. So a live
  record waits for the rest of one such commit and for its own, however large a backlog is.
- What waits is bounded by QUEUE_BYTES, half of it for the past: `submit` waits for room, so a slow
  disk slows the gateways down and never fills memory. Urgent works do not wait.
- `run` returns only when everything submitted before `stop` is committed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from drivers.contract import Clock
from gateway.observe.log import logger
from gateway.receiver.apart import apply_apart
from gateway.receiver.contract import (
    Outcome,
    Seen,
    Store,
    StoreFailedError,
    UnstorableError,
    Work,
)

QUEUE_BYTES = 64 * 1024 * 1024
"""Most payload waiting for the disk: 512 messages of the largest size that a gateway sends."""
COMMIT_BYTES = 4 * 1024 * 1024
"""Most payload of one turn in one commit, so that an alarm waits for a short one only."""
PAST_SECONDS = 0.25
"""How long a commit of the past should take: a twentieth of what live data may be late (5 s)."""
PAST_LEAST_BYTES = 512 * 1024
"""A commit of the past holds so much even where it takes longer: a disk that syncs slowly takes no
longer for it than for less."""
ASIDE_BYTES = 64 * 1024
"""So much of the past goes along with what is live: not worth a sync of its own."""

SLOW_SECONDS = 1.0
"""A commit that takes so long is noted: everything waits for it, alarms too."""

STALL_SECONDS = 10.0
"""A commit that takes so long counts as a store that is away: gateways take a receiver for dead."""
PROBE_SECONDS = 2.0
"""How often a store that failed is tried where nobody brings anything: a balancer may send nobody
until it is known to work again."""


class Turn(Enum):
    """What a work waits behind."""

    URGENT = 0
    LIVE = 1
    PAST = 2


class PastLimit:
    """How much of the past goes into one commit: as much as takes PAST_SECONDS. Pure."""

    def __init__(self) -> None:
        self.size_bytes = COMMIT_BYTES // 4

    def took(self, size_bytes: int, seconds: float) -> None:
        """Learn from a commit of the past alone."""
        if size_bytes < PAST_LEAST_BYTES // 2:
            return  # mostly the sync
        goal = int(size_bytes * PAST_SECONDS / max(seconds, 1e-3))
        goal = min(max(goal, PAST_LEAST_BYTES), COMMIT_BYTES)
        self.size_bytes += (goal - self.size_bytes) // 4  # one slow sync is no slow store


@dataclass(slots=True, eq=False)
class _Item:
    work: Work
    size_bytes: int
    turn: Turn
    done: asyncio.Future[Outcome]


class _Queue:
    """Works of one turn, and their bytes."""

    def __init__(self) -> None:
        self.items: deque[_Item] = deque()
        self.size_bytes = 0

    def add(self, item: _Item) -> None:
        self.items.append(item)
        self.size_bytes += item.size_bytes

    def take(self, limit_bytes: int) -> list[_Item]:
        """Take the oldest, up to so many bytes and at least one."""
        taken: list[_Item] = []
        size_bytes = 0
        while self.items and size_bytes < limit_bytes:
            item = self.items.popleft()
            size_bytes += item.size_bytes
            taken.append(item)
        self.size_bytes -= size_bytes
        return taken

    def clear(self) -> None:
        self.items.clear()
        self.size_bytes = 0


class Committer:
    """Group commit over a `Store`, for one event loop. Call `run` in a TaskGroup."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_failure: Callable[[str], object] = str,
        on_change: Callable[[], object] = bool,
    ) -> None:
        """on_failure: told the reason after a commit failed; whoever spoke must say Hello again.

        on_change: called when `well` has changed.
        """
        self._store = store
        self._clock = clock
        self._queues = {turn: _Queue() for turn in Turn}
        self._past_limit = PastLimit()
        self._past_next = False
        self._on_failure = on_failure
        self._on_change = on_change
        self.well = True  # False from a failure, or a commit that hangs, to the next that succeeds
        self._seen: dict[int, Seen] = {}
        self._work_waits = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = False
        self._failures = 0
        self.commits = 0
        self.records_bytes = 0

    def speaker(self) -> Speaker:
        """What one connection submits by, from before its Hello on."""
        return Speaker(self, self._failures)

    async def submit(
        self, work: Work, size_bytes: int, turn: Turn, failures: int | None = None
    ) -> asyncio.Future[Outcome]:
        """Queue one work of so many bytes of payload; waits for room unless it is urgent.

        failures: how many commits had failed when the log's number in it was told; now, unless
        given. Raises StoreFailedError where one has failed since, or the receiver stops.
        """
        failures = self._failures if failures is None else failures
        queue = self._queues[turn]
        while turn is not Turn.URGENT and queue.size_bytes >= QUEUE_BYTES // 2:
            self._room.clear()
            await self._room.wait()
        if self._stopping:
            raise StoreFailedError("the receiver is stopping")
        if failures != self._failures:
            raise StoreFailedError("the store failed meanwhile")
        item = _Item(work, size_bytes, turn, _future())
        queue.add(item)
        self._work_waits.set()
        return item.done

    def note_seen(self, seen: Seen, failures: int | None = None) -> None:
        """Keep a gateway's last status; it rides on the next commit and asks for none itself."""
        if failures in {None, self._failures}:
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
                try:
                    async with asyncio.timeout(None if self.well else PROBE_SECONDS):
                        await self._work_waits.wait()
                except TimeoutError:
                    await self._commit([], thread)
                    continue
                self._work_waits.clear()
                while group := self._take():
                    await self._commit(group, thread)
                if self._stopping:
                    return

    def _take(self) -> list[_Item]:
        urgent, live, past = self._queues.values()
        much = past.size_bytes > ASIDE_BYTES
        if much and (self._past_next or not (urgent.items or live.items)):
            self._past_next = False
            group = past.take(self._past_limit.size_bytes)
        else:
            self._past_next = True
            group = urgent.take(COMMIT_BYTES) + live.take(COMMIT_BYTES)
            group += [] if much else past.take(COMMIT_BYTES)
        self._room.set()
        if not group and self._stopping and self._seen:
            group.append(_Item(self._seen.popitem()[1], 0, Turn.PAST, _future()))
        return group

    async def _commit(self, group: list[_Item], thread: ThreadPoolExecutor) -> None:
        works = [item.work for item in group]
        works += self._seen.values()
        self._seen.clear()
        loop = asyncio.get_running_loop()
        began_ns = self._clock.monotonic_ns()
        doing = loop.run_in_executor(thread, self._apply, works)
        if not (await asyncio.wait({doing}, timeout=STALL_SECONDS))[0]:
            self._say(well=False, reason=f"a commit takes more than {STALL_SECONDS:.0f} s")
        try:
            outcomes = await doing
        except StoreFailedError as failure:
            self._say(well=False, reason=str(failure))
            await loop.run_in_executor(thread, self._reopen)
            # What waits speaks of log numbers of before: the store that was reached now may be one
            # that was restored, where they mean nothing, or another log.
            self._fail(group, failure)
            self._on_failure(str(failure))
            return
        self._say(well=True)
        self.commits += 1
        took_s = (self._clock.monotonic_ns() - began_ns) / 1e9
        if group and group[0].turn is Turn.PAST:
            self._past_limit.took(sum(item.size_bytes for item in group), took_s)
        if took_s >= SLOW_SECONDS:  # whoever asks why alarms are late finds it here
            logger("receiver").warning("store.slow", seconds=round(took_s, 2), works=len(group))
        for item, outcome in zip(group, outcomes, strict=False):
            self.records_bytes += item.size_bytes
            if item.done.done():
                continue
            if isinstance(outcome, StoreFailedError):
                item.done.set_exception(outcome)
                item.done.exception()  # seen: its caller may be gone
            else:
                item.done.set_result(outcome)

    def _apply(self, works: list[Work]) -> Sequence[Outcome | StoreFailedError]:
        now_ns = self._clock.wall_ns()
        try:
            try:
                if not works:
                    self._store.probe(now_ns)
                return self._store.apply(works, now_ns) if works else []
            except UnstorableError:
                return apply_apart(self._store, works, now_ns)
        except StoreFailedError:
            raise
        except Exception as error:
            # Supervised boundary: a fault of this program ends sessions, which come again, and not
            # the receiver of a province.
            logger("receiver").exception("store.broken")
            raise StoreFailedError(f"the store broke: {type(error).__name__}: {error}") from error

    def _say(self, *, well: bool, reason: str = "") -> None:
        if well is self.well:
            return
        self.well = well
        if well:
            logger("receiver").info("store.back")
        else:
            logger("receiver").error("store.away", reason=reason)
        self._on_change()

    def _fail(self, group: Iterable[_Item], failure: StoreFailedError) -> None:
        self._failures += 1
        for item in [*group, *(item for queue in self._queues.values() for item in queue.items)]:
            if not item.done.done():
                item.done.set_exception(failure)
                item.done.exception()  # seen: its caller may be gone
        for queue in self._queues.values():
            queue.clear()
        self._seen.clear()
        self._room.set()

    def _reopen(self) -> None:
        try:
            self._store.reopen()
        except StoreFailedError:
            return  # still closed: the next commit fails too and comes back here


class Speaker:
    """The works of one connection: none is taken once a commit has failed since it began.

    They name logs by the numbers that its Hello was answered with. Where the store that is reached
    now was restored, those may be of another gateway's logs.
    """

    def __init__(self, committer: Committer, failures: int) -> None:
        self._committer = committer
        self._failures = failures

    async def submit(self, work: Work, size_bytes: int, turn: Turn) -> asyncio.Future[Outcome]:
        """As `Committer.submit`."""
        return await self._committer.submit(work, size_bytes, turn, self._failures)

    def note_seen(self, seen: Seen) -> None:
        """As `Committer.note_seen`."""
        self._committer.note_seen(seen, self._failures)


def _future() -> asyncio.Future[Outcome]:
    return asyncio.get_running_loop().create_future()

"""What of the log cannot be read now: kept back in its place, and read again later. Pure.

That a disk fails to give a record says nothing of whether the record is lost: until the log itself
says so (a gap record, a new log id), it counts as held and not acknowledged, and what comes behind
it goes first.
"""

from __future__ import annotations

from collections.abc import Iterable

from buffer.contract import Stream
from gateway.uplink.ledger import Ledger
from gateway.uplink.outputs import Fetch

UNREAD = b"unread"
"""Stands among the catalogues for which a ledger keeps sequences back; no hash is so short."""
AGAIN_NS = 30_000_000_000
"""A bad sector takes a drive seconds to give up, a repair minutes; a full table of files passes."""


STUCK_NS = 60_000_000_000
"""So long a record that cannot be read holds up those behind it, where they must go in order."""


class Stuck:
    """Since when each stream could not be read at the place where it stands."""

    def __init__(self) -> None:
        self._since: dict[Stream, tuple[int, int]] = {}

    def is_long(self, stream: Stream, at: int, now_ns: int) -> bool:
        """Take that it could not be read; tells whether that has lasted too long."""
        place, since_ns = self._since.get(stream, (at, now_ns))
        self._since[stream] = (at, since_ns if place == at else now_ns)
        return now_ns - self._since[stream][1] >= STUCK_NS


class Unread:
    """Of one session: what waits to be read again, and until when."""

    def __init__(self) -> None:
        self._due_ns: int | None = None
        self._fetches: list[Fetch] = []
        self._told: set[int] = set()

    def keep_back(self, ledger: Ledger, start: int, stop: int, now_ns: int) -> None:
        """Keep back what of [start, stop) waits to be sent."""
        ledger.hold_waiting(UNREAD, start, stop)
        self._wait(now_ns)

    def take_back(self, ledger: Ledger, sequence: int, now_ns: int) -> bool:
        """Keep back a record that was sent; tells whether that is news."""
        ledger.recall_one(UNREAD, sequence)
        self._wait(now_ns)
        is_news = sequence not in self._told
        self._told.add(sequence)
        return is_news

    def ask_again(self, fetch: Fetch, now_ns: int) -> None:
        """Keep a read that nothing else would ask for again."""
        self._fetches.append(fetch)
        self._wait(now_ns)

    def next_ns(self) -> int | None:
        """When it is to be read again; None if nothing waits."""
        return self._due_ns

    def take(self, ledgers: Iterable[Ledger], now_ns: int) -> list[Fetch]:
        """Offer what was kept back again, once it is time; gives reads to make at once."""
        if self._due_ns is None or now_ns < self._due_ns:
            return []
        self._due_ns = None
        for ledger in ledgers:
            ledger.unhold(UNREAD)
        fetches, self._fetches = self._fetches, []
        return fetches

    def _wait(self, now_ns: int) -> None:
        if self._due_ns is None:
            self._due_ns = now_ns + AGAIN_NS

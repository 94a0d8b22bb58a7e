"""What a Welcome says in front of a journal: what the store holds, and what waits before it.

Guarantees: a Known names every sequence that any receiver has acknowledged of the log, and none
that is in neither. The journal is asked first and the store after it: a message leaves the journal
only after the store's commit, so what is missing there is here. While the store is away, a log that
was greeted before is greeted from memory and the journal; any other is told to come again.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError

from buffer.contract import Stream
from gateway.observe.log import logger
from gateway.receiver.contract import (
    Away,
    Greeting,
    Known,
    Outcome,
    Store,
    StoreFailedError,
    Work,
)
from gateway.receiver.journal.fold import Tail
from gateway.receiver.journal.follow import Follower
from gateway.receiver.journal.message import Speaker
from gateway.receiver.journal.store import Speakers

STORE_SECONDS = 5.0
"""Longest wait for the store in one Hello; a gateway waits 20 s for its Welcome."""


class GreetingStore:
    """Answers Hellos, and nothing else. Not thread-safe: one thread at a time."""

    def __init__(self, store: Store, follower: Follower, speakers: Speakers) -> None:
        self._store = store
        self._follower = follower
        self._speakers = speakers
        self._remembered: dict[tuple[str, bytes], Known] = {}
        self._holes = 0
        self._thread = ThreadPoolExecutor(1, "receiver-greetings")
        self._asking: Future[list[Outcome]] | None = None

    def apply(self, works: Iterable[Work], now_ns: int) -> list[Outcome]:
        """Greet; one Known or Away each. Raises StoreFailedError if the journal is away."""
        greetings = [work for work in works if isinstance(work, Greeting)]
        identities = [(one.gateway, one.log_id) for one in greetings]
        tails, waiting, holes = self._follower.tails(identities)
        try:
            stored = self._ask(greetings, now_ns)
        except (StoreFailedError, LateError) as error:
            reason = str(error) or "it does not answer"
            logger("journal").warning("store.away", reason=reason, greetings=len(greetings))
            if holes != self._holes:
                self._remembered.clear()
            return [self._from_memory(*pair, reason) for pair in zip(greetings, tails, strict=True)]
        if holes != self._holes:
            self._holes = holes
            self._remembered.clear()
        self._follower.settle(identities)
        outcomes: list[Outcome] = []
        for greeting, known, tail in zip(greetings, stored, tails, strict=True):
            if not isinstance(known, Known):
                raise TypeError("a Greeting's outcome is a Known")
            self._remembered[greeting.gateway, greeting.log_id] = known
            held = {*known.catalogues, *waiting.intersection(greeting.catalogues)}
            self._speakers.learn(held | waiting, set(greeting.catalogues) - held)
            outcomes.append(self._known(greeting, known, tail, held))
        return outcomes

    def probe(self, now_ns: int) -> None:
        """Ask how far the journal goes. Raises StoreFailedError."""
        del now_ns
        self._follower.tails([])

    def reopen(self) -> None:
        """Nothing to do: the store is opened again where it failed."""

    def close(self) -> None:
        """Let go of the store and the follower; may be called twice."""
        self._follower.close()
        self._thread.shutdown()
        self._store.close()

    def _ask(self, greetings: list[Greeting], now_ns: int) -> list[Outcome]:
        """Ask the store, in a thread that may be left waiting for it."""
        if self._asking is not None:
            if not self._asking.done():
                raise StoreFailedError("it has not answered yet")
            self._asking = None
        self._asking = self._thread.submit(self._ask_store, greetings, now_ns)
        return self._asking.result(STORE_SECONDS)

    def _ask_store(self, greetings: list[Greeting], now_ns: int) -> list[Outcome]:
        try:
            return self._store.apply(greetings, now_ns)
        except StoreFailedError:
            self._store.reopen()
            return self._store.apply(greetings, now_ns)

    def _from_memory(self, greeting: Greeting, tail: Tail, reason: str) -> Outcome:
        known = self._remembered.get((greeting.gateway, greeting.log_id))
        if known is None:
            return Away(f"the store is away and this log was not greeted here before: {reason}")
        held = {one for one in greeting.catalogues if self._speakers.holds(one)}
        for stream, ranges in tail.left.items():
            known.acknowledged[stream].update(ranges)
        return self._known(greeting, known, tail, held)

    def _known(self, greeting: Greeting, known: Known, tail: Tail, held: set[bytes]) -> Known:
        acknowledged = {stream: known.acknowledged[stream].copy() for stream in Stream}
        checkpoints = {stream: list(known.checkpoints.get(stream, ())) for stream in Stream}
        for stream, ranges in tail.ranges.items():
            acknowledged[stream].update(ranges)
        for stream, head in tail.heads.items():
            if not checkpoints[stream] or head[0] > checkpoints[stream][0][0]:
                checkpoints[stream].insert(0, head)
        speaker = Speaker(greeting.gateway, greeting.enterprise, greeting.software, greeting.log_id)
        number = self._speakers.number(speaker)
        return Known(
            number,
            acknowledged,
            tuple(one for one in greeting.catalogues if one in held),
            checkpoints,
            b"" if self._speakers.is_announced(number) else known.previous_log,
            {stream: one for stream, one in known.boots.items() if stream not in tail.heads},
        )

"""The journal as a receiver's store: what `apply` returned for is replicated in JetStream.

Guarantees: those of every store (contract.py) but for two, which the consumer keeps when it moves
the journal on: a record is stored once, and an identity with another hash is not stored beside the
first but set aside and noted. A gateway hears of such a conflict at its next Hello, not at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.observe.log import logger
from gateway.receiver.check import Fault
from gateway.receiver.contract import (
    NEW_LOG,
    Entries,
    Gaps,
    Outcome,
    Seen,
    Stored,
    StoreFailedError,
    Volatile,
    Work,
)
from gateway.receiver.journal.line import Line
from gateway.receiver.journal.message import BULK, URGENT, Batch, Message, Speaker
from gateway.receiver.waiting import WaitingGroups


class Speakers:
    """Numbers of logs in this process, and the catalogues known to be held. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._numbers: dict[tuple[str, bytes], int] = {}
        self._speakers: dict[int, Speaker] = {}
        self._catalogues: set[bytes] = set()
        self._announced: set[int] = set()

    def number(self, speaker: Speaker) -> int:
        """Number of a log; the newest words about its gateway are kept."""
        with self._lock:
            number = self._numbers.setdefault(
                (speaker.gateway, speaker.log_id), len(self._numbers) + 1
            )
            self._speakers[number] = speaker
            return number

    def of(self, number: int) -> Speaker:
        """Whose log it is; raises StoreFailedError."""
        with self._lock:
            speaker = self._speakers.get(number)
        if speaker is None:
            raise StoreFailedError(f"log {number} is not known in this process")
        return speaker

    def holds(self, catalogue: bytes) -> bool:
        """Tell whether a catalogue is in the journal or the store."""
        with self._lock:
            return catalogue in self._catalogues

    def is_announced(self, number: int) -> bool:
        """Tell whether it was noted here that this log is new; the store may not hold that yet."""
        with self._lock:
            return number in self._announced

    def announced(self, works: Iterable[Work]) -> None:
        """Take note of what has been published."""
        with self._lock:
            self._announced.update(
                work.log
                for work in works
                if isinstance(work, Entries) and any(one.kind == NEW_LOG for one in work.faults)
            )

    def learn(self, held: Iterable[bytes], lost: Iterable[bytes] = ()) -> None:
        """Take note of catalogues that are held, and of some that are not."""
        with self._lock:
            self._catalogues.difference_update(lost)
            self._catalogues.update(held)


class JournalStore:
    """Store in front of JetStream; Hellos go to `greet.GreetingStore`."""

    def __init__(self, line: Line, speakers: Speakers) -> None:
        self._line = line
        self._speakers = speakers
        self._waiting = WaitingGroups(self._holds)
        self._arriving: set[bytes] = set()

    def apply(self, works: Iterable[Work], now_ns: int) -> list[Outcome]:
        """Publish all works; one outcome each. Raises StoreFailedError."""
        del now_ns  # the arrival is that in the store
        works = list(works)
        batches = {
            lane: Batch(lane, self._line.limit, self._line.largest) for lane in (URGENT, BULK)
        }
        self._arriving = set()
        outcomes = [self._add(work, batches[_lane(work)]) for work in works]
        self._line.publish([one for batch in batches.values() for one in batch.messages()])
        self._speakers.learn(self._arriving)
        self._speakers.announced(works)
        return outcomes

    def probe(self, now_ns: int) -> None:
        """Publish a message that holds nothing. Raises StoreFailedError."""
        self._line.publish([Message(URGENT, f"probe-{now_ns}", "", b"")])

    def reopen(self) -> None:
        """Nothing to do: the client reconnects by itself."""

    def close(self) -> None:
        """Let go of the line; may be called twice."""
        self._line.close()

    def _add(self, work: Work, batch: Batch) -> Outcome:
        match work:
            case Entries():
                return self._add_entries(work, batch)
            case Gaps():
                batch.add_gaps(self._speakers.of(work.log), work)
                return Stored(acknowledged=RangeSet(work.ranges))
            case Seen():
                batch.add_status(self._speakers.of(work.log), work)
                return Stored()
            case Volatile():
                taken = [one for one in work.entries if batch.fits_bytes(len(one.payload))]
                batch.add_volatile(self._speakers.of(work.log), Volatile(work.log, taken))
                return Stored(volatile=[one.key for one in taken])
            case _:
                raise TypeError("a Greeting is not for the journal")

    def _add_entries(self, work: Entries, batch: Batch) -> Stored:
        self._arriving.update(name for name, _ in work.catalogues)
        outcome = Stored(refused=list(work.faults))
        taken = []
        for entry in work.entries:
            if not batch.fits(entry):
                text = (
                    f"a record of {len(entry.payload)} bytes is too large for the journal"
                    f" ({self._line.largest}): its servers need a larger max_payload"
                )
                logger("journal").error("journal.too_large", reason=text)
                outcome.refused.append(Fault(entry.sequence, "damaged", entry.hash, text))
            elif needed := self._waiting.needed(work.log, work.stream, entry):
                outcome.needed += [needed] if needed not in outcome.needed else []
            else:
                taken.append(entry)
                outcome.acknowledged.add(entry.first, entry.sequence + 1)
        batch.add_entries(self._speakers.of(work.log), work, taken)
        return outcome

    def _holds(self, catalogue: bytes) -> bool:
        return catalogue in self._arriving or self._speakers.holds(catalogue)


def _lane(work: Work) -> str:
    urgent = isinstance(work, Entries | Gaps) and work.stream in {Stream.ALARM, Stream.EVENT}
    return URGENT if urgent or isinstance(work, Volatile) else BULK

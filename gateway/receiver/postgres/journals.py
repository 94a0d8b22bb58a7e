"""What a PostgreSQL store knows of the receive journals that are moved into it.

Guarantees: the numbers in `consumed` changed in the same transaction as the records of those
messages, or as what was set aside of them; `put_aside` may be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from buffer.ranges import RangeSet
from gateway.receiver.contract import FAULT_TEXT, Outcome, Stored
from gateway.receiver.postgres.connect import Connection
from gateway.receiver.postgres.decide import from_multirange, to_multirange


class Arrived(NamedTuple):
    """Messages of a journal (its name and creation) that one transaction brings.

    numbers: that of each work's message.  empty: of messages without works.
    """

    journal: str
    numbers: Sequence[int]
    empty: Sequence[int] = ()

    def whole(self, outcomes: Sequence[Outcome]) -> RangeSet:
        """Messages of which nothing waits for its catalogue."""
        found = RangeSet()
        for number in (*self.numbers, *self.empty):
            found.add(number)
        for number, outcome in zip(self.numbers, outcomes, strict=True):
            if isinstance(outcome, Stored) and outcome.needed:
                found.discard(number, number + 1)
        return found


class Aside(NamedTuple):
    """Something that was acknowledged and cannot be stored; part: 0 the whole message."""

    number: int
    part: int
    gateway: str
    reason: str
    content: bytes


def note(db: Connection, arrived: Arrived, outcomes: Sequence[Outcome]) -> None:
    """Add numbers to a journal's; last in the transaction, because it orders the consumers."""
    _add(db, arrived.journal, arrived.whole(outcomes))


def _add(db: Connection, journal: str, numbers: RangeSet) -> None:
    db.execute(
        "INSERT INTO journals (name, consumed) VALUES (%s, %s::int8multirange)"
        " ON CONFLICT (name) DO UPDATE SET consumed = journals.consumed + excluded.consumed",
        (journal, to_multirange(numbers)),
    )


def consumed(db: Connection, journal: str) -> RangeSet:
    """Numbers of a journal's messages that are here."""
    row = db.execute("SELECT consumed::text FROM journals WHERE name = %s", (journal,)).fetchone()
    return from_multirange(str(row[0])) if row else RangeSet()


def put_aside(db: Connection, journal: str, items: Sequence[Aside], now_ns: int) -> None:
    """Keep what has no place in records; the messages it came in are dealt with by that."""
    numbers = RangeSet((item.number, item.number + 1) for item in items)
    _add(db, journal, numbers)
    db.cursor().executemany(
        "INSERT INTO aside VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [
            (journal, item.number, item.part, now_ns, item.gateway.replace("\0", ""),
             item.reason[:FAULT_TEXT].replace("\0", ""), item.content)
            for item in items
        ],
    )  # fmt: skip

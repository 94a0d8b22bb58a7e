"""Queue: the records of one region of one stream, in order, from memory or read back. Pure.

New records are staged as they are committed, so live data never waits for a disk read; what was
not staged (history, or a line slower than the plant) is fetched when its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from buffer.contract import Record
from buffer.ranges import RangeSet
from gateway.uplink.ledger import Ledger, wire_bytes
from gateway.uplink.outputs import Fetch, Region


class Queue:
    """Records of one region that are to be sent."""

    def __init__(self, ledger: Ledger, region: Region) -> None:
        self.ledger = ledger
        self.region = region
        self._staged: dict[int, Record] = {}  # by the first sequence that it speaks for here
        self._staged_sequences = 0
        self._fetching = False
        self.staged_bytes = 0

    def run(self) -> tuple[int, int] | None:
        """Next run [start, stop) to send in this region, or None."""
        ledger = self.ledger
        if self.region is Region.LIVE:
            return ledger.missing(ledger.live_from, ledger.next)
        return ledger.missing(ledger.first, ledger.live_from)

    def head(self) -> Record | None:
        """Next record to send if it is at hand."""
        run = self.run()
        if run is None:
            self._staged.clear()
            self._staged_sequences = self.staged_bytes = 0
            return None
        return self._staged.get(run[0])

    def complete(self) -> bool:
        """Tell whether everything to send in this region is at hand."""
        run = self.run()
        if run is None:
            return True
        return run[1] - run[0] <= self._staged_sequences and run[1] >= self.ledger.next

    def stage(self, record: Record, first: int = 0) -> None:
        """Keep a record for sending; `first` where it speaks for less here than it says itself."""
        first = max(first, record.first)
        if first not in self._staged:
            self._staged[first] = record
            self._staged_sequences += record.sequence + 1 - first
            self.staged_bytes += wire_bytes(record)

    def drop_head(self) -> tuple[int, int]:
        """Forget the head, which is at hand; gives the sequences [start, stop) it speaks for."""
        run = self.run()
        assert run is not None  # noqa: S101 - the caller has just looked at the head
        return run[0], self._drop(run[0]).sequence + 1

    def _drop(self, first: int) -> Record:
        record = self._staged.pop(first)
        self._staged_sequences -= record.sequence + 1 - first
        self.staged_bytes -= wire_bytes(record)
        return record

    def take(self, limit_bytes: int, mark: Callable[[Record], bool]) -> tuple[list[Record], int]:
        """Consecutive records of at most limit_bytes, but at least one; and their bytes.

        All have the same catalogue and the same `mark`. Empty if the head is not at hand.
        """
        run = self.run()
        taken: list[Record] = []
        size = 0
        if run is None:
            return taken, size
        sequence, stop = run
        while sequence < stop and (record := self._staged.get(sequence)) is not None:
            cost = wire_bytes(record)
            if taken and (
                size + cost > limit_bytes
                or record.catalogue != taken[0].catalogue
                or mark(record) != mark(taken[0])
            ):
                break
            taken.append(self._drop(sequence))
            size += cost
            sequence = record.sequence + 1
        return taken, size

    def want(self, max_bytes: int) -> Fetch | None:
        """Read to make for the next run, if it is not at hand and none is under way."""
        if self._fetching:
            return None
        run = self.run()
        if run is None or run[0] in self._staged:
            return None
        self._fetching = True
        return Fetch(self.ledger.stream, run[0], run[1] - 1, max_bytes, self.region)

    def unread(self, fetch: Fetch, stop: int) -> tuple[int, int]:
        """Take that a read failed up to `stop`; gives the sequences that are not at hand either."""
        self._fetching = False
        stop = min(max(stop, fetch.first + 1), fetch.last + 1)
        at_hand = (first for first in self._staged if first > fetch.first)
        return fetch.first, min(stop, *at_hand) if self._staged else stop

    def fetched(self, fetch: Fetch, records: Sequence[Record]) -> RangeSet:
        """Stage what was read; gives the sequences of the range that turned out not to exist."""
        self._fetching = False
        holes = RangeSet()
        expected = fetch.first
        for record in records:
            first = max(expected, record.first)
            holes.add(expected, first)
            expected = record.sequence + 1
            if self.ledger.missing(first, expected):
                self.stage(record, first)
        if not records:
            holes.add(fetch.first, fetch.last + 1)
        return holes

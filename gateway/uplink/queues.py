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
        self._staged: dict[int, Record] = {}
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
            self.staged_bytes = 0
            return None
        return self._staged.get(run[0])

    def complete(self) -> bool:
        """Tell whether everything to send in this region is at hand."""
        run = self.run()
        return run is None or (run[1] - run[0] <= len(self._staged) and run[1] >= self.ledger.next)

    def stage(self, record: Record) -> None:
        """Keep a record for sending."""
        if record.sequence not in self._staged:
            self._staged[record.sequence] = record
            self.staged_bytes += wire_bytes(record)

    def drop(self, record: Record) -> None:
        """Forget a record that was sent or is held back."""
        if self._staged.pop(record.sequence, None) is not None:
            self.staged_bytes -= wire_bytes(record)

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
            taken.append(record)
            size += cost
            sequence += 1
        for record in taken:
            self.drop(record)
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

    def fetched(self, fetch: Fetch, records: Sequence[Record]) -> RangeSet:
        """Stage what was read; gives the sequences of the range that turned out not to exist."""
        self._fetching = False
        holes = RangeSet()
        expected = fetch.first
        for record in records:
            holes.add(expected, record.sequence)
            expected = record.sequence + 1
            if self.ledger.missing(record.sequence, expected):
                self.stage(record)
        if not records:
            holes.add(fetch.first, fetch.last + 1)
        return holes

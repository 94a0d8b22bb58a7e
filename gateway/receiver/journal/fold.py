"""What a journal holds that a store may not hold yet, folded from its messages' indexes. Pure.

Guarantees: `of` names only sequences of messages that were in the journal when `advance` was last
told what it holds, or have left it since; a message leaves only after the store's commit. So the
union of `of` and what the store holds, read afterwards, is acknowledged and nothing else is.
Memory: some 200 bytes a gateway's stream and message that wait; where more than MERGED of one
stream wait, the older half is kept as one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.wire.v1 import uplink_pb2 as wire

MERGED = 64
Identity = tuple[str, bytes]
"""Gateway id and log id."""


@dataclass(slots=True)
class _Part:
    """Ranges of one message, or of several up to `last`."""

    last: int
    ranges: RangeSet
    head: tuple[int, bytes]


@dataclass(slots=True)
class Tail:
    """What of one log waits in the journal: ranges and newest record (sequence, hash) by stream.

    left: what has gone from the journal into the store since the log was settled.
    """

    ranges: dict[Stream, RangeSet] = field(default_factory=dict)
    left: dict[Stream, RangeSet] = field(default_factory=dict)
    heads: dict[Stream, tuple[int, bytes]] = field(default_factory=dict)


class Fold:
    """The journal's tail.

    next: number of the next message that it wants.  holes: how often messages had left before they
    were read; what is `left` of any log is not whole across one.
    """

    def __init__(self) -> None:
        self.next = 1
        self.holes = 0
        self._logs: dict[Identity, dict[Stream, deque[_Part]]] = {}
        self._left: dict[Identity, dict[Stream, RangeSet]] = {}
        self._catalogues: dict[bytes, int] = {}

    def feed(self, number: int, index: wire.JournalIndex) -> None:
        """Take the index of message `number`; numbers only grow (older ones are passed over).

        What was skipped has left the journal before it could be read: the reader misses none else.
        """
        if number < self.next:
            return
        self.holes += number > self.next
        self.next = number + 1
        for catalogue in index.catalogues:
            self._catalogues[catalogue] = number
        for line in index.lines:
            if not Stream.ALARM <= line.stream <= Stream.EVIDENCE:
                continue  # of a newer version
            parts = self._logs.setdefault((line.gateway_id, line.log_id), {}).setdefault(
                Stream(line.stream), deque()
            )
            ranges = RangeSet((item.start, item.stop) for item in line.ranges)
            parts.append(_Part(number, ranges, (line.head_sequence, line.head_hash)))
            if len(parts) > MERGED:
                _merge_older_half(parts)

    def advance(self, first: int, last: int, asked: int) -> bool:
        """Take note of what the journal holds, messages first to last; asked: `next` at the asking.

        A journal that ends before what had been read of it by then is another one: all is
        forgotten, and True says that it is to be read anew from `next`. What was read since the
        asking proves nothing: it was published while the answer was on its way.
        """
        forgotten = last + 1 < asked
        if forgotten:
            self._logs.clear()
            self._left.clear()
            self._catalogues.clear()
            self.next = first
            self.holes += 1
        if first > self.next:
            self.next = first
            self.holes += 1
        for identity in list(self._logs):
            streams = self._logs[identity]
            for stream in list(streams):
                parts = streams[stream]
                while parts and parts[0].last < first:
                    left = self._left.setdefault(identity, {})
                    left.setdefault(stream, RangeSet()).update(parts.popleft().ranges)
                if not parts:
                    del streams[stream]
            if not streams:
                del self._logs[identity]
        self._catalogues = {one: at for one, at in self._catalogues.items() if at >= first}
        return forgotten

    def settle(self, identity: Identity) -> None:
        """Forget what of a log has left the journal: whoever asks knows it from the store."""
        self._left.pop(identity, None)

    def of(self, identity: Identity) -> Tail:
        """What of one log waits, and what has left since it was settled."""
        left = self._left.get(identity, {})
        tail = Tail(left={stream: ranges.copy() for stream, ranges in left.items()})
        for stream, parts in self._logs.get(identity, {}).items():
            ranges, head = RangeSet(), (0, b"")
            for part in parts:
                ranges.update(part.ranges)
                head = max(head, part.head)
            tail.ranges[stream] = ranges
            if head[0]:
                tail.heads[stream] = head
        return tail

    def catalogues(self) -> frozenset[bytes]:
        """Catalogues that wait."""
        return frozenset(self._catalogues)

    def __len__(self) -> int:
        """Count the logs with something that waits."""
        return len(self._logs)


def _merge_older_half(parts: deque[_Part]) -> None:
    # Kept until the newest of them has left the journal; the others are in the store by then.
    older = [parts.popleft() for _ in range(len(parts) // 2)]
    whole = RangeSet()
    for part in older:
        whole.update(part.ranges)
    parts.appendleft(_Part(older[-1].last, whole, max(part.head for part in older)))

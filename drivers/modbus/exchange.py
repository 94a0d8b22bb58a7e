"""Book-keeping of one connection: requests out, answers in, whatever order and pieces they come in.

Guarantees:

- an answer reaches the buffer only if its transaction id is outstanding and its header, unit,
  function and byte count are exactly what that request must get;
- transaction ids count up and are used again only after 65,536 requests; an answer to a request
  that has timed out finds no owner, is dropped and counted;
- at most `in_flight` requests are outstanding; as one is answered, the next leaves;
- at least one answer of any kind within `lost_after` time-outs in a row, or the exchange ends as
  `lost`, its remaining requests unanswered. On a `shared` link, where other units wait, it ends so
  at the first time-out before any answer, or when a gateway says that it cannot reach the unit.

Constraints: one exchange of a list of requests at a time. There is no future and no task per
request: an answer that fits is one comparison and one copy. Pure: bytes and monotonic ns in, bytes
out.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from drivers.modbus.codec import (
    ExceptionReplyError,
    MalformedReplyError,
    Request,
    frame_bytes,
    payload,
)

_SHORTEST_BYTES = 9  # an exception: header, function, code


class Outcome(enum.IntEnum):
    """How a request ended; 1..255 is the device's exception code."""

    READ = 0
    UNANSWERED = 256  # not sent, or sent when the link was lost
    TIMED_OUT = 257
    MALFORMED = 258


_UNANSWERED = int(Outcome.UNANSWERED)
_GATEWAY_FAILED = frozenset({10, 11})
"""A gateway's own time-out for a unit behind it; asking on would cost one more each time."""


class Exchanging(Protocol):
    """What a link and a unit need of the book-keeping of one connection, whatever the framing.

    outcomes: one Outcome or exception code per request of the running or last exchange.
    done: nothing is awaited.  lost: the exchange ended because nobody answers.
    timeouts_in_row: time-outs since the last answer of any kind.
    """

    outcomes: list[int]
    done: bool
    lost: bool
    timeouts_in_row: int
    requests: int
    timeouts: int
    exceptions: int
    codes: Counter[int]
    malformed: int
    unmatched: int
    answered: int
    round_trip_total_ns: int

    def restart(self) -> None:
        """Forget the old connection; counters go on."""
        ...

    def begin(
        self, wanted: Sequence[Request], buffer: bytearray, offsets: Sequence[int], now_ns: int
    ) -> bytes:
        """Start an exchange; returns the first bytes to send."""
        ...

    def feed(self, chunk: bytes, now_ns: int) -> bytes:
        """Take received bytes; returns what to send next."""
        ...

    def deadline_ns(self) -> int | None:
        """When `tick` has something to do; None if never."""
        ...

    def tick(self, now_ns: int) -> bytes:
        """Give up what is due; returns what to send next."""
        ...


class Exchange:
    """Requests and answers of one connection.

    outcomes: one Outcome or exception code per request of the running or last exchange.
    Counters: requests, timeouts, exceptions, malformed, unmatched (answers without owner),
    answered with round_trip_total_ns.
    """

    def __init__(
        self, in_flight: int, timeout_ns: int, lost_after: int, *, shared: bool = False
    ) -> None:
        self.outcomes: list[int] = []
        self.done = True
        self.lost = False
        self.requests = self.timeouts = self.exceptions = self.malformed = self.unmatched = 0
        self.answered = self.round_trip_total_ns = 0
        self.codes: Counter[int] = Counter()
        self._in_flight = in_flight
        self._timeout_ns = timeout_ns
        self._lost_after = lost_after
        self.timeouts_in_row = 0
        self._shared = shared
        self._answered_before = 0
        self._transaction = 0
        # Transaction → index, sent at, request; oldest first.
        self._flights: dict[int, tuple[int, int, Request]] = {}
        self._wanted: Sequence[Request] = ()
        self._buffer = bytearray()
        self._offsets: Sequence[int] = ()
        self._next = 0
        self._held = b""

    def restart(self) -> None:
        """Forget the old connection; counters and transaction ids go on."""
        self._flights.clear()
        self._held = b""
        self.timeouts_in_row = 0
        self.lost = False
        self.done = True

    def begin(
        self, wanted: Sequence[Request], buffer: bytearray, offsets: Sequence[int], now_ns: int
    ) -> bytes:
        """Start an exchange; returns the first bytes to send.

        The answer to wanted[i] goes to `buffer` at offsets[i]. Whatever an earlier, abandoned
        exchange still waits for is forgotten: its late answers will find no owner.
        """
        self._flights.clear()
        self._wanted, self._buffer, self._offsets = wanted, buffer, offsets
        self._next = 0
        self.lost = False
        self._answered_before = self.answered
        self.outcomes = [_UNANSWERED] * len(wanted)
        self.done = not wanted
        if self._in_flight == 1 and wanted:
            return self._send(now_ns)
        return self._send_up_to(self._in_flight, now_ns)

    def feed(self, chunk: bytes, now_ns: int) -> bytes:
        """Take received bytes; returns what to send next. Raises FramingError on garbage."""
        if self._held:
            chunk = self._held + chunk
            self._held = b""
        position, end, sends = 0, len(chunk), b""
        flights = self._flights
        while end - position >= _SHORTEST_BYTES:
            transaction = (chunk[position] << 8) | chunk[position + 1]
            flight = flights.get(transaction)
            body = position + 9
            if flight is not None and chunk[position + 2 : body] == flight[2].answer_head:
                # Seven bytes say it all: protocol, length, unit, function and byte count are
                # what this request must get.
                index, sent_ns, request = flight
                following = body + request.payload_bytes
                if following > end:
                    break
                offset = self._offsets[index]
                self._buffer[offset : offset + request.payload_bytes] = chunk[body:following]
                self.outcomes[index] = 0
            else:
                size = frame_bytes(chunk, position)
                if not size:
                    break
                following = position + size
                if flight is None:
                    self.unmatched += 1
                    position = following
                    continue
                index, sent_ns, request = flight
                code = self.outcomes[index] = self._refuse(request, chunk[position:following])
                if self._shared and code in _GATEWAY_FAILED:
                    self._next = len(self._wanted)
                    self.lost = True
            position = following
            del flights[transaction]
            self.timeouts_in_row = 0
            self.answered += 1
            self.round_trip_total_ns += now_ns - sent_ns
            if self._next < len(self._wanted):
                sends += self._send(now_ns)
            else:
                self.done = not flights
        if position < end:
            self._held = chunk[position:]
        return sends

    def deadline_ns(self) -> int | None:
        """When the oldest outstanding request times out; None if there is none."""
        for _, sent_ns, _ in self._flights.values():
            return sent_ns + self._timeout_ns
        return None

    def tick(self, now_ns: int) -> bytes:
        """Time out what is due; returns what to send next."""
        expired = [
            transaction
            for transaction, (_, sent_ns, _) in self._flights.items()
            if sent_ns + self._timeout_ns <= now_ns
        ]
        if not expired:
            return b""
        for transaction in expired:
            self.outcomes[self._flights.pop(transaction)[0]] = Outcome.TIMED_OUT
        self.timeouts += len(expired)
        self.timeouts_in_row += 1  # requests that were out together count as one silence
        nobody = self._shared and self.answered == self._answered_before
        if nobody or self.timeouts_in_row >= self._lost_after:
            self.lost = self.done = True
            self._flights.clear()
            return b""
        sends = self._send_up_to(len(expired), now_ns)
        self.done = not self._flights
        return sends

    def _send_up_to(self, count: int, now_ns: int) -> bytes:
        """Frames of the next requests, as many as there are left."""
        sends = b""
        for _ in range(min(count, len(self._wanted) - self._next)):
            sends += self._send(now_ns)
        return sends

    def _send(self, now_ns: int) -> bytes:
        """Frame of the next request, which there must be."""
        index = self._next
        self._next = index + 1
        self._transaction = transaction = (self._transaction + 1) & 0xFFFF
        request = self._wanted[index]
        self._flights[transaction] = (index, now_ns, request)
        self.requests += 1
        return request.frame(transaction)

    def _refuse(self, request: Request, frame: bytes) -> int:
        """Outcome of an answer that is not the expected one."""
        try:
            payload(request, (frame[0] << 8) | frame[1], frame)
        except ExceptionReplyError as error:
            self.exceptions += 1
            self.codes[error.code] += 1
            return error.code
        except MalformedReplyError:
            pass
        self.malformed += 1
        return Outcome.MALFORMED

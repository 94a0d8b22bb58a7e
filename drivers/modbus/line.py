"""Book-keeping of a line without transaction ids (RTU, ASCII): one request, then its answer.

Guarantees:

- bytes that came before a request was sent never answer it;
- an answer that is complete but for its check sum is refused after `idle_ns` without another byte,
  not only at the time-out;
- a time-out ends the exchange as `lost`: what comes late must not meet another request of the same
  unit (see silence.py).

Constraints: `begin` takes one request; link.PacedLink brings one after the other, with the silence
that the line needs between. Pure: bytes and monotonic ns in, bytes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from drivers.modbus.codec import Request
from drivers.modbus.exchange import Outcome
from drivers.modbus.rtu import Found

_HELD_BYTES = 2048  # four of the longest frames of ASCII; older bytes are no answer any more


class Framing(Protocol):
    """What rtu.py and ascii.py are."""

    def encode(self, request: Request) -> bytes:
        """Encode a request for the line."""
        ...

    def find(self, request: Request, stream: bytes) -> Found | None:
        """Find the answer."""
        ...

    def garbled(self, request: Request, stream: bytes) -> bool:
        """Tell whether an answer came whole but wrong."""
        ...


class LineExchange:
    """Requests and answers of one line; see exchange.Exchanging for what the names mean.

    unmatched: pieces that came while nothing was asked, or were not the answer.
    """

    def __init__(self, framing: Framing, timeout_ns: int, idle_ns: int) -> None:
        self.outcomes: list[int] = []
        self.done = True
        self.lost = False
        self.timeouts_in_row = 0
        self.requests = self.timeouts = self.exceptions = self.malformed = self.unmatched = 0
        self.answered = self.round_trip_total_ns = 0
        self.codes: Counter[int] = Counter()
        self._framing = framing
        self._timeout_ns = timeout_ns
        self._idle_ns = idle_ns
        self._wanted: Request | None = None
        self._buffer = bytearray()
        self._offset = 0
        self._sent_ns = 0
        self._judge_at_ns: int | None = None
        self._held = b""

    def restart(self) -> None:
        """Forget the old connection; counters go on."""
        self._wanted, self._held = None, b""
        self.timeouts_in_row = 0
        self.lost = False
        self.done = True

    def begin(
        self, wanted: Sequence[Request], buffer: bytearray, offsets: Sequence[int], now_ns: int
    ) -> bytes:
        """Start an exchange of one request; returns its frame."""
        (request,) = wanted
        self._wanted, self._buffer, self._offset = request, buffer, offsets[0]
        self._sent_ns = now_ns
        self._judge_at_ns = None
        self._held = b""
        self.outcomes = [int(Outcome.UNANSWERED)]
        self.done = self.lost = False
        self.requests += 1
        return self._framing.encode(request)

    def feed(self, chunk: bytes, now_ns: int) -> bytes:
        """Take received bytes; there is never anything more to send."""
        request = self._wanted
        if request is None or self.done:
            self.unmatched += 1
            return b""
        self._held = (self._held + chunk)[-_HELD_BYTES:]
        self._judge_at_ns = now_ns + self._idle_ns
        found = self._framing.find(request, self._held)
        if found is not None:
            self._end(found, now_ns)
        return b""

    def deadline_ns(self) -> int | None:
        """When the request times out, or what has come is to be judged."""
        if self.done:
            return None
        timeout_ns = self._sent_ns + self._timeout_ns
        return timeout_ns if self._judge_at_ns is None else min(timeout_ns, self._judge_at_ns)

    def tick(self, now_ns: int) -> bytes:
        """Refuse a garbled answer once the line is idle; time out what is due."""
        request = self._wanted
        if request is None or self.done:
            return b""
        if self._judge_at_ns is not None and now_ns >= self._judge_at_ns:
            self._judge_at_ns = None
            if self._framing.garbled(request, self._held):
                self._end(Found(Outcome.MALFORMED, b""), now_ns)
                return b""
        if now_ns >= self._sent_ns + self._timeout_ns:
            self.outcomes[0] = Outcome.TIMED_OUT
            self.timeouts += 1
            self.timeouts_in_row += 1
            self.unmatched += bool(self._held)
            self.done = self.lost = True
        return b""

    def _end(self, found: Found, now_ns: int) -> None:
        code, content = found
        if code == Outcome.READ:
            self._buffer[self._offset : self._offset + len(content)] = content
        elif code == Outcome.MALFORMED:
            self.malformed += 1
        else:
            self.exceptions += 1
            self.codes[code] += 1
        self.outcomes[0] = code
        self.timeouts_in_row = 0
        self.answered += 1
        self.round_trip_total_ns += now_ns - self._sent_ns
        self.done = True

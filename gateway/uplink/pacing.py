"""How much may be unacknowledged, and how fast bulk may go. Pure.

The window is window_ms of the measured acknowledged throughput, at least the floor and at most the
ceiling and what the receiver allows: alarms share the line's bottleneck with bulk, so the queue
that bulk builds there bounds their delay. On lines whose round trip is longer than window_ms the
window covers 1.5 round trips instead; 250 ms could never fill them, and it would collapse to
the floor.

Throughput is measured as delivery rate: bytes acknowledged between a message's sending and its
acknowledgement, over that time, or over the longer time in which they were sent: after a lost
packet the receiver acknowledges in one burst what came behind it, and a message sent within that
burst would count all of it for its own round trip (the send rate of Cheng et al.,
draft-cheng-iccrg-delivery-rate-estimation). The largest of the last few seconds counts, so that an
idle line (which measures too little) does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.uplink.outputs import SessionSettings

_BUCKET_NS = 2_000_000_000  # the estimate is the maximum of this bucket and the one before
_SHORTEST_NS = 1_000_000  # shorter round trips are measured as this one; loopback has 0.1 ms
_MILLISECOND_NS = 1_000_000
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is remembered of a message for measuring.

    size_bytes, sent_ns: of the message.  delivered_bytes: what had been acknowledged by then, the
    newest of it sent sending_ns before.
    """

    size_bytes: int
    sent_ns: int
    delivered_bytes: int
    sending_ns: int = 0


class Window:
    """Unacknowledged bytes: counted, and limited by measured throughput."""

    def __init__(self, settings: SessionSettings) -> None:
        self._settings = settings
        self._cap_bytes = settings.window_ceiling_bytes
        self._message_cap_bytes = settings.message_ceiling_bytes
        self._delivered_bytes = 0
        self._last_sent_ns = 0  # when the newest of what was acknowledged had been sent
        self._bucket_from_ns = 0
        self._best = 0.0
        self._previous_best = 0.0
        self.shortest_ns: int | None = None  # round trip of the line
        self.round_trips = 0  # how many were measured
        self.in_flight_bytes = 0
        self.limit_bytes = settings.window_floor_bytes

    @property
    def throughput(self) -> float:
        """Bytes per second, the best measured lately."""
        return max(self._best, self._previous_best)

    @property
    def message_bytes(self) -> int:
        """How large a message should be now: a quarter of the window, within its bounds.

        Two messages would fill only 85 % of a line with a long round trip (simulated).
        """
        quarter = max(self.limit_bytes // 4, self._settings.message_floor_bytes)
        return min(quarter, self._message_cap_bytes)

    @property
    def room_bytes(self) -> int:
        """Bytes that may still be sent; negative where the window shrank."""
        return self.limit_bytes - self.in_flight_bytes

    def cap(self, window_bytes: int, message_bytes: int) -> None:
        """Take the receiver's limits; 0 means none of its own."""
        if window_bytes:
            self._cap_bytes = min(self._cap_bytes, window_bytes)
        if message_bytes:
            self._message_cap_bytes = min(self._message_cap_bytes, message_bytes)
        self._resize()

    def sent(self, size_bytes: int, now_ns: int) -> Ticket:
        """Count bytes as in flight."""
        if self.in_flight_bytes <= 0:
            self._last_sent_ns = now_ns  # what an idle line did not send tells nothing
        self.in_flight_bytes += size_bytes
        return Ticket(size_bytes, now_ns, self._delivered_bytes, now_ns - self._last_sent_ns)

    def recalled(self, ticket: Ticket) -> None:
        """Count bytes as no longer in flight without having been delivered."""
        self.in_flight_bytes -= ticket.size_bytes

    def landed(self, ticket: Ticket, now_ns: int) -> None:
        """Count bytes as delivered, and measure."""
        self.in_flight_bytes -= ticket.size_bytes
        self._delivered_bytes += ticket.size_bytes
        self._last_sent_ns = max(self._last_sent_ns, ticket.sent_ns)  # streams overtake each other
        took_ns = max(now_ns - ticket.sent_ns, _SHORTEST_NS)
        self.round_trip(took_ns)
        over_ns = max(took_ns, ticket.sending_ns)
        rate = (self._delivered_bytes - ticket.delivered_bytes) * _SECOND_NS / over_ns
        if now_ns - self._bucket_from_ns > _BUCKET_NS:
            self._bucket_from_ns = now_ns
            self._previous_best, self._best = self._best, rate
        else:
            self._best = max(self._best, rate)
        self._resize()

    def round_trip(self, took_ns: int) -> None:
        """Note a round trip; the shortest of the session counts as the line's own."""
        self.round_trips += 1
        if self.shortest_ns is None or took_ns < self.shortest_ns:
            self.shortest_ns = took_ns

    def _resize(self) -> None:
        settings = self._settings
        round_trips_ns = settings.window_round_trips * (self.shortest_ns or 0)
        span_ns = max(settings.window_ms * _MILLISECOND_NS, round_trips_ns)
        wanted = int(self.throughput * span_ns / _SECOND_NS)
        self.limit_bytes = min(max(wanted, settings.window_floor_bytes), self._cap_bytes)


class Pace:
    """A limit in bytes per second, the configured or the receiver's, and its pauses."""

    def __init__(self, rate_bytes_per_s: int) -> None:
        self._own = rate_bytes_per_s
        self._rate = rate_bytes_per_s
        self.ready_ns = 0

    def throttle(self, bytes_per_s: int, pause_ms: int, now_ns: int) -> None:
        """Obey the receiver: the lower of its limit and ours, and no bulk for pause_ms."""
        rates = [rate for rate in (self._own, bytes_per_s) if rate > 0]
        self._rate = min(rates, default=0)
        if pause_ms > 0:
            self.ready_ns = max(self.ready_ns, now_ns + pause_ms * _MILLISECOND_NS)

    def sent(self, size_bytes: int, now_ns: int) -> None:
        """Postpone what follows by the time these bytes take at the limit."""
        if self._rate:
            self.ready_ns = max(self.ready_ns, now_ns) + size_bytes * _SECOND_NS // self._rate


class Shares:
    """Two classes that share what live data leaves: each advances by bytes over its share."""

    def __init__(self, history_share: float) -> None:
        share = min(max(history_share, 0.05), 0.95)  # neither may starve
        self._shares = (share, 1.0 - share)
        self._clocks = [0.0, 0.0]

    def history_first(self) -> bool:
        """Tell whether history is the one that is behind its share."""
        return self._clocks[0] <= self._clocks[1]

    def used(self, *, history: bool, size_bytes: int, alone: bool) -> None:
        """Count bytes; where the other class had nothing to send it saves up no claim."""
        mine = 0 if history else 1
        self._clocks[mine] += size_bytes / self._shares[mine]
        if alone:
            self._clocks[1 - mine] = max(self._clocks)

"""One connection to a Modbus device: an asyncio protocol around the pure `Exchanging`.

Guarantees: the next request leaves from within the arrival of the answer, without a task switch;
one timer per connection, not per request; `exchange` is cancel-safe, and after `close` the socket
is gone at the next turn of the loop. Works on asyncio's own loop and on uvloop.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Sequence
from typing import Protocol, cast

from drivers.contract import Clock
from drivers.modbus.codec import FramingError, Request
from drivers.modbus.exchange import Exchanging, Outcome

_BABBLE_NS = 10**9  # a line that is never silent is asked all the same
_RECEIVE_BYTES = 8192  # 16 pipelined answers have 4.2 KB


class LinkLostError(Exception):
    """The connection is gone or not to be trusted; the message says why."""


class Pipe(Protocol):
    """What carries the bytes of a link: a TCP or TLS transport, datagrams, a serial port."""

    def write(self, frame: bytes) -> None:
        """Send without waiting."""
        ...

    def abort(self) -> None:
        """Close at once; nothing is flushed."""
        ...


class Link(asyncio.BufferedProtocol, asyncio.Protocol):
    """Connection of one driver run; transport.py opens it.

    It is both kinds of protocol on purpose. asyncio's own loop takes the buffered one: without a
    buffer of ours it allocates 256 KiB for each receive and gives it back, which costs two page
    faults a transaction (measured). uvloop takes the plain one, where it needs one call less.
    """

    def __init__(self, exchange: Exchanging, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._transport: Pipe | None = None
        self._reason = ""
        self._received = memoryview(bytearray(_RECEIVE_BYTES))
        self._waiter: asyncio.Future[list[int]] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def reason(self) -> str:
        """Why the connection ended; empty while it has not."""
        return self._reason

    def exchange(
        self, wanted: Sequence[Request], buffer: bytearray, offsets: Sequence[int]
    ) -> Awaitable[list[int]]:
        """Send all requests; wait for all answers by `await`, at once.

        Gives an Outcome or exception code for each. A device that stays silent leaves the rest
        unanswered and the exchange `lost`. Raises LinkLostError when the connection ends first;
        what had arrived until then is in `buffer` and in the exchange's outcomes. No coroutine:
        what is awaited is the one future that the last answer completes.
        """
        exchange = self._exchange
        sends = exchange.begin(wanted, buffer, offsets, self._clock.monotonic_ns())
        if self._transport is None or self._reason:
            raise LinkLostError(self._reason or "the link is not open")
        waiter = self._waiter = self._loop.create_future()
        self._transport.write(sends)
        if exchange.done:
            waiter.set_result(exchange.outcomes)
        elif self._timer is None:
            self._arm()
        return waiter

    def close(self) -> None:
        """Drop the connection at once; nothing is flushed, as nothing was to be written."""
        self._disarm()
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.attach(cast("asyncio.Transport", transport))  # uvloop's is no subclass

    def attach(self, pipe: Pipe) -> None:
        """Take what carries the bytes."""
        self._transport = pipe

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the receive buffer."""
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came into the buffer."""
        self.data_received(bytes(self._received[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take answers; send what follows."""
        try:
            sends = self._exchange.feed(data, self._clock.monotonic_ns())
        except FramingError as error:
            self._lose(str(error))
            return
        if sends:
            self._transport.write(sends)  # type: ignore[union-attr]  # bytes come from a transport
        elif self._exchange.done:
            self._wake()

    def whole_frame(self, frame: bytes) -> None:
        """Take a datagram that should be one frame; raises FramingError if it is none."""
        sends = self._exchange.feed(frame, self._clock.monotonic_ns())
        if sends and self._transport is not None:
            self._transport.write(sends)
        elif self._exchange.done:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember why, and wake whoever waits."""
        self._reason = self._reason or (_why(exc) if exc else "the device closed the connection")
        self._wake()

    def _lose(self, reason: str) -> None:
        self._reason = self._reason or reason
        self.close()
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._reason:
            waiter.set_exception(LinkLostError(self._reason))
            waiter.exception()  # so that one whom a cancellation reaches first leaves no complaint
        else:
            waiter.set_result(self._exchange.outcomes)

    # The one timer: armed for the oldest outstanding request, moved only when it fires.

    def _arm(self) -> None:
        deadline_ns = self._exchange.deadline_ns()
        if self._timer is None and deadline_ns is not None:
            wait_s = max(0.0, (deadline_ns - self._clock.monotonic_ns()) / 1e9)
            self._timer = self._loop.call_later(wait_s, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        exchange = self._exchange
        sends = exchange.tick(self._clock.monotonic_ns())
        if sends and self._transport is not None:
            self._transport.write(sends)
        if exchange.done:
            self._wake()
        self._arm()


class PacedLink(Link):
    """A link on which requests go out one by one, with `gap_ns` of silence before each.

    For serial lines, which need it between frames, and for devices that cannot keep up.
    """

    def __init__(self, exchange: Exchanging, clock: Clock, gap_ns: int) -> None:
        super().__init__(exchange, clock)
        self._gap_ns = gap_ns
        self._last_byte_ns = clock.monotonic_ns()

    async def exchange(
        self, wanted: Sequence[Request], buffer: bytearray, offsets: Sequence[int]
    ) -> list[int]:
        """As of Link; ends at the first request that leaves the exchange `lost`."""
        outcomes = [int(Outcome.UNANSWERED)] * len(wanted)
        try:
            for at, request in enumerate(wanted):
                await self._silence()
                outcomes[at] = (await super().exchange([request], buffer, offsets[at : at + 1]))[0]
                self._last_byte_ns = self._clock.monotonic_ns()
                if self._exchange.lost:
                    break
        finally:
            self._exchange.outcomes = outcomes
        return outcomes

    def data_received(self, data: bytes) -> None:
        """Take answers; the timer follows, as a garbled answer is judged before the time-out."""
        self._last_byte_ns = self._clock.monotonic_ns()
        super().data_received(data)
        self._disarm()
        self._arm()

    async def _silence(self) -> None:
        """Wait until the line has been silent long enough, but no longer than a time-out."""
        clock = self._clock
        latest_ns = clock.monotonic_ns() + max(_BABBLE_NS, self._gap_ns)
        while clock.monotonic_ns() < min(self._last_byte_ns + self._gap_ns, latest_ns):
            await clock.sleep_until(min(self._last_byte_ns + self._gap_ns, latest_ns))


def _why(error: Exception) -> str:
    """Reason of a lost connection, in words."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}"
    return str(error)

"""One TCP connection to a Modbus device: an asyncio protocol around the pure `Exchanging`.

Guarantees: the next request leaves from within the arrival of the answer, without a task switch;
one timer per connection, not per request; `exchange` is cancel-safe, and after `close` the socket
is gone at the next turn of the loop. Works on asyncio's own loop and on uvloop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import cast

from drivers.contract import Clock
from drivers.modbus.codec import FramingError, Request
from drivers.modbus.exchange import Exchanging

_RECEIVE_BYTES = 8192  # 16 pipelined answers have 4.2 KB


class LinkLostError(Exception):
    """The connection is gone or not to be trusted; the message says why."""


class Link(asyncio.BufferedProtocol, asyncio.Protocol):
    """Connection of one driver run; made by `connect`.

    It is both kinds of protocol on purpose. asyncio's own loop takes the buffered one: without a
    buffer of ours it allocates 256 KiB for each receive and gives it back, which costs two page
    faults a transaction (measured). uvloop takes the plain one, where it needs one call less.
    """

    def __init__(self, exchange: Exchanging, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reason = ""
        self._received = memoryview(bytearray(_RECEIVE_BYTES))
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def exchange(
        self, wanted: Sequence[Request], buffer: bytearray, offsets: Sequence[int]
    ) -> list[int]:
        """Send all requests, wait for all answers; returns an Outcome or exception code for each.

        A device that stays silent leaves the rest unanswered and the exchange `lost`. Raises
        LinkLostError when the connection ends first; what had arrived until then is in `buffer`
        and in the exchange's outcomes.
        """
        exchange = self._exchange
        sends = exchange.begin(wanted, buffer, offsets, self._clock.monotonic_ns())
        if self._transport is None or self._reason:
            raise LinkLostError(self._reason or "the link is not open")
        self._transport.write(sends)
        if not exchange.done:
            self._waiter = self._loop.create_future()
            self._arm()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._reason:
            raise LinkLostError(self._reason)
        return exchange.outcomes

    def close(self) -> None:
        """Drop the connection at once; nothing is flushed, as nothing was to be written."""
        self._disarm()
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

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

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember why, and wake whoever waits."""
        self._reason = self._reason or (str(exc) if exc else "the device closed the connection")
        self._wake()

    def _lose(self, reason: str) -> None:
        self._reason = self._reason or reason
        self.close()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

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


async def connect(
    host: str, port: int, exchange: Exchanging, clock: Clock, timeout_s: float
) -> Link:
    """Open a connection; raises LinkLostError with a clear reason. Cancel-safe."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, link = await loop.create_connection(lambda: Link(exchange, clock), host, port)
    except TimeoutError:
        raise LinkLostError(f"no TCP connection within {timeout_s:g} s") from None
    except OSError as error:
        number = error.errno or 0  # negative for name look-ups
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        raise LinkLostError(f"no TCP connection: {reason}") from error
    return link

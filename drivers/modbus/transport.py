"""Opens the link of a device: TCP, TLS, UDP, a serial port, or a DTU that dials in.

Guarantees: what goes wrong is a LinkLostError with one clear reason; opening is cancel-safe and
leaves no socket behind. TLS checks the server's certificate and name always: there is no switch.

Constraints: Modbus/TCP Security v3.6 asks for TLS 1.2 or later with certificates on both sides; its
port is 802. Over UDP a datagram is a frame; one that is none is dropped, the link stays.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import cast

from drivers.contract import Clock
from drivers.modbus import ascii as ascii_framing
from drivers.modbus import rtu
from drivers.modbus.codec import FramingError
from drivers.modbus.config import ModbusConfig
from drivers.modbus.exchange import Exchange, Exchanging
from drivers.modbus.line import Framing, LineExchange
from drivers.modbus.link import Link, LinkLostError, PacedLink
from drivers.modbus.transport_keys import Endpoint

_IDLE_NS = 50 * 10**6
"""A garbled answer is over after so much silence: USB converters hand over bytes each 16 ms."""
_DIAL_IN_S = 30.0
"""How long to wait for a DTU to dial in until its absence is said; it may come later."""


def make_exchange(config: ModbusConfig, *, shared: bool) -> Exchanging:
    """Book-keeping that fits the framing. shared: several units wait for each other."""
    timeout_ns = config.timeout_ms * 10**6
    if not config.is_line:
        return Exchange(config.in_flight, timeout_ns, config.lost_after, shared=shared)
    framing: Framing = rtu if config.transport in {"rtu", "rtu-tcp"} else ascii_framing
    return LineExchange(framing, timeout_ns, _IDLE_NS)


def make_link(config: ModbusConfig, exchange: Exchanging, clock: Clock) -> Link:
    """Link that paces requests where line or device need it."""
    gap_ns = config.pause_between_requests_ms * 10**6
    if config.transport == "rtu":
        gap_ns = max(gap_ns, rtu.silence_ns(config.baud))
    return PacedLink(exchange, clock, gap_ns) if config.is_line or gap_ns else Link(exchange, clock)


async def open_link(
    config: ModbusConfig, endpoint: Endpoint, exchange: Exchanging, clock: Clock
) -> Link:
    """Open a link; raises LinkLostError with a clear reason. Cancel-safe."""
    link = make_link(config, exchange, clock)
    await attach(config, endpoint, link, clock)
    return link


async def attach(config: ModbusConfig, endpoint: Endpoint, link: Link, clock: Clock) -> None:
    """Give a link what carries its bytes; as `open_link`."""
    try:
        if config.serial:
            open_serial(config, link)
        elif config.listen:
            await _accept(endpoint, link, config)
        else:
            await _dial(config, endpoint, link)
        if config.pause_after_connect_ms:
            await clock.sleep_until(clock.monotonic_ns() + config.pause_after_connect_ms * 10**6)
    except BaseException:
        link.close()
        raise


def open_serial(config: ModbusConfig, link: Link, *, mark_errors: bool = False) -> None:
    """Open the port of a device and attach it to a link; raises LinkLostError with the reason.

    mark_errors: as serial_port.open_port; overhear.unmark undoes it.
    """
    from drivers.serial_port import PortError, open_port

    def ended(reason: str) -> None:
        link.connection_lost(OSError(reason))

    try:
        link.attach(open_port(config, link.data_received, ended, mark_errors=mark_errors))
    except PortError as error:
        raise LinkLostError(str(error)) from error


async def _dial(config: ModbusConfig, endpoint: Endpoint, link: Link) -> None:
    loop = asyncio.get_running_loop()
    timeout_s = config.timeout_ms / 1e3
    host, port = endpoint
    if config.transport == "udp":

        async def datagrams() -> object:
            return await loop.create_datagram_endpoint(
                lambda: _Datagrams(link), remote_addr=(host, port)
            )

        await _within(timeout_s, datagrams, "UDP")
        return
    context = tls_context(config) if config.transport == "tls" else None
    name = (config.server_name or host) if context else None

    async def stream() -> object:
        return await loop.create_connection(
            lambda: link, host, port, ssl=context, server_hostname=name
        )

    await _within(timeout_s, stream, "TLS" if context else "TCP")


async def _within(timeout_s: float, dial: Callable[[], object], word: str) -> None:
    """Await a connection; say in one sentence why there is none."""
    try:
        async with asyncio.timeout(timeout_s):
            await dial()  # type: ignore[misc]  # an awaitable of some transport
    except TimeoutError:
        raise LinkLostError(f"no {word} connection within {timeout_s:g} s") from None
    except ssl.SSLCertVerificationError as error:
        text = error.verify_message or str(error)
        raise LinkLostError(f"the server's certificate is not accepted: {text}") from error
    except ssl.SSLError as error:
        text = (error.reason or str(error)).replace("_", " ").lower()
        raise LinkLostError(f"no TLS connection: {text}") from error
    except OSError as error:
        number = error.errno or 0  # negative for name look-ups
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        raise LinkLostError(f"no {word} connection: {reason}") from error


def tls_context(config: ModbusConfig) -> ssl.SSLContext:
    """Context that checks the server's certificate and name; raises LinkLostError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(config.ca)
        if config.certificate is not None:
            context.load_cert_chain(config.certificate, config.key)
    except (OSError, ssl.SSLError) as error:
        raise LinkLostError(f"ca, certificate or key cannot be used: {error}") from error
    return context


class _Datagrams(asyncio.DatagramProtocol):
    """Datagrams as the pipe of a link: each is one frame or none."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._link.attach(self)

    def write(self, frame: bytes) -> None:
        """Send each frame as a datagram of its own."""
        assert self._transport is not None  # noqa: S101  # attached by connection_made
        at = 0
        while at < len(frame):
            end = at + 6 + int.from_bytes(frame[at + 4 : at + 6], "big")
            self._transport.sendto(frame[at:end])
            at = end

    def abort(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.abort()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if len(data) >= 6 and int.from_bytes(data[4:6], "big") == len(data) - 6:
            try:
                self._link.whole_frame(data)
            except FramingError:
                return

    def error_received(self, exc: Exception) -> None:
        self._link.connection_lost(OSError(f"UDP: {os.strerror(getattr(exc, 'errno', 0) or 0)}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.connection_lost(exc)


async def _accept(endpoint: Endpoint, link: Link, config: ModbusConfig) -> None:
    """Wait for a DTU to dial in; the first one is taken, others are refused meanwhile."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()

    def welcome() -> asyncio.Protocol:
        if arrived.done():
            return _Refused()
        return _DialIn(link, config.dial_in_prefixes(), arrived)

    try:
        server = await loop.create_server(welcome, *endpoint, reuse_address=True)
    except OSError as error:
        text = os.strerror(error.errno) if error.errno else str(error)
        raise LinkLostError(f"cannot listen on {endpoint[0]}:{endpoint[1]}: {text}") from error
    try:
        async with asyncio.timeout(_DIAL_IN_S):
            await arrived
    except TimeoutError:
        raise LinkLostError(f"no DTU has dialled in within {_DIAL_IN_S:g} s") from None
    finally:
        server.close()


class _Refused(asyncio.Protocol):
    """A second caller."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()


class _DialIn(asyncio.Protocol):
    """A connection that a DTU made: registration and heartbeat packets are taken out.

    prefixes: how such packets begin. One is dropped where a received piece begins with it, up to
    the end of the prefix; on lines (rtu-tcp, ascii-tcp) whatever is left is stepped over as noise.
    """

    def __init__(
        self, link: Link, prefixes: tuple[bytes, ...], arrived: asyncio.Future[None]
    ) -> None:
        self._link = link
        self._prefixes = prefixes
        self._arrived = arrived
        self._taken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Accepted in one turn with the first, or as the wait ended: welcome could not know.
        if self._arrived.done():
            cast("asyncio.Transport", transport).abort()
            return
        self._taken = True
        self._link.connection_made(transport)
        self._arrived.set_result(None)

    def data_received(self, data: bytes) -> None:
        if not self._taken:
            return
        found = True
        while found and data:
            found = False
            for prefix in self._prefixes:
                if data.startswith(prefix):
                    data = data[len(prefix) :]
                    found = True
        if data:
            self._link.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._taken:
            self._link.connection_lost(exc)

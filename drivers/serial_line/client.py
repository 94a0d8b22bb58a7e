"""The line itself: a serial port (drivers/serial_port.py) or a TCP stream.

Guarantees:

- nothing but the requests it was made with is ever sent: `send` compares whole frames;
- holds at most 64 KiB that nobody has read; beyond that all of it is dropped and `gap` is set.
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol, cast

from drivers.serial_line.config import SerialLineConfig

_MOST_HELD_BYTES = 64 * 1024


class LineLostError(Exception):
    """The line cannot be used; the message says why, without a full stop."""


class _Pipe(Protocol):
    def write(self, frame: bytes) -> None: ...
    def abort(self) -> None: ...


class Line:
    """An open line; `open_line` makes it. allowed: the only frames that may be sent."""

    def __init__(self, allowed: frozenset[bytes]) -> None:
        self._allowed = allowed
        self._pipe: _Pipe | None = None
        self._held = bytearray()
        self._lost = ""
        self._news = asyncio.Event()
        self.gap = False

    def attach(self, pipe: _Pipe) -> None:
        """Use a pipe that is open."""
        self._pipe = pipe

    def send(self, request: bytes) -> None:
        """Send a request; raises ValueError for any that the description does not have."""
        if request not in self._allowed:
            raise ValueError("refused: only the requests of the description are sent")
        if self._lost or self._pipe is None:
            raise LineLostError(self._lost or "the line is closed")
        self._pipe.write(request)

    async def read(self, timeout_s: float) -> bytes:
        """Wait for bytes, all that are there; empty after the time-out. Raises LineLostError."""
        if not self._held and not self._lost and timeout_s > 0:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return b""
        return self.take()

    def take(self) -> bytes:
        """Take all bytes that are there, without waiting; raises LineLostError behind the last."""
        if self._lost and not self._held:
            raise LineLostError(self._lost)
        chunk = bytes(self._held)
        self._held.clear()
        return chunk

    def received(self, chunk: bytes) -> None:
        """Take bytes of the pipe."""
        if len(self._held) + len(chunk) > _MOST_HELD_BYTES:
            self._held.clear()
            self.gap = True
        else:
            self._held += chunk
        self._news.set()

    def ended(self, reason: str) -> None:
        """Say that the pipe is gone."""
        self._lost = self._lost or reason
        self._news.set()

    def close(self) -> None:
        """Close at once."""
        self.ended("the line is closed")
        if self._pipe is not None:
            self._pipe.abort()
            self._pipe = None


class _TcpPipe(asyncio.Protocol):
    def __init__(self, line: Line) -> None:
        self._line = line
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._line.attach(self)

    def data_received(self, data: bytes) -> None:
        self._line.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._line.ended(
            f"the connection broke: {_reason(exc)}"
            if exc
            else "the converter closed the connection"
        )

    def write(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def open_line(config: SerialLineConfig, allowed: frozenset[bytes]) -> Line:
    """Open the line of a device; raises LineLostError with one clear reason. Cancel-safe."""
    line = Line(allowed)
    try:
        if config.host:
            await _connect(config, line)
        else:
            _open_serial(config, line)
    except BaseException:
        line.close()
        raise
    return line


async def _connect(config: SerialLineConfig, line: Line) -> None:
    loop = asyncio.get_running_loop()
    timeout_s = config.timeout_ms / 1e3
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: _TcpPipe(line), config.host, config.port or 0)
    except TimeoutError:
        raise LineLostError(f"no TCP connection within {timeout_s:g} s") from None
    except OSError as error:
        raise LineLostError(f"no TCP connection: {_reason(error)}") from error


def _open_serial(config: SerialLineConfig, line: Line) -> None:
    from drivers.serial_port import PortError, open_port

    try:
        line.attach(open_port(config, line.received, line.ended))
    except PortError as error:
        raise LineLostError(str(error)) from error


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number and number > 0 else str(error)


__all__ = ["Line", "LineLostError", "open_line"]

"""What the console's process does from its first message to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from gateway.config.console import ConsoleConfig
from gateway.console.application import application
from gateway.console.bounded import BACKLOG, SEND_BYTES, BoundedServer
from gateway.console.certificate import CertificateError, tls_context
from gateway.console.guard import Guard
from gateway.console.link import Link
from gateway.console.live import Live
from gateway.console.messages import (
    MOST_LINE_BYTES,
    Alive,
    Failed,
    Note,
    Order,
    Ready,
    encoded,
)
from gateway.console.people import Door
from gateway.console.services import Services
from gateway.console.sessions import Sessions
from gateway.runtime.clock import SystemClock

S = 1_000_000_000
LOOK_S = 1.0
LOCAL = "127.0.0.1"
MOST_UNSENT = 1 << 20


class _EndError(Exception):
    """The console cannot go on; a sentence."""


def run(link: socket.socket) -> int:
    """Serve until the gateway says stop or is gone; gives the exit code."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return asyncio.run(_run(link))


async def _run(link: socket.socket) -> int:
    reader, writer = await asyncio.open_unix_connection(sock=link, limit=MOST_LINE_BYTES)
    line = await reader.readline()
    if not line:
        return 0
    try:
        await Console(Order.model_validate_json(line), writer).run(reader)
    except _EndError as error:
        with contextlib.suppress(OSError):  # the gateway may have gone, too
            writer.write(encoded(Failed(text=str(error)[:1000])))
            await writer.drain()
        return 1
    return 0


class Console:
    """One run of the console."""

    def __init__(self, order: Order, gateway: asyncio.StreamWriter) -> None:
        self._config = order.config
        self._data_dir = order.data_dir
        self._gateway = gateway
        clock = SystemClock()
        sessions = Sessions(
            round(self._config.idle_minutes * 60 * S), round(self._config.session_hours * 3600 * S)
        )
        self._door = Door(self._data_dir, sessions, clock, self._record)
        self._live = Live(lambda: self._link.view, clock)
        self._link = Link(self._data_dir, clock, self._live.changed)
        self._services = Services(self._link, self._live, self._door, clock, self._data_dir)
        self._server: BoundedServer | None = None
        self._stopping = False
        self._reason = ""

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Serve; returns once the gateway wants it. Raises _EndError."""
        self._door.refresh()
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(self._link.watch()),
                group.create_task(self._look()),
                group.create_task(self._obey(reader)),
            ]
            try:
                while not self._stopping:
                    await self._serve()
            finally:
                for task in beside:
                    task.cancel()
        if self._reason:
            raise _EndError(self._reason)

    async def _serve(self) -> None:
        """Serve on the address that may be served on now, until that changes or it ends."""
        restricted = not self._config.local and not self._door.anybody
        config = self._config
        if restricted:
            config = config.model_copy(update={"listen": f"{LOCAL}:{config.port}"})
        try:
            tls, fingerprint = self._tls(config)
            sockets = _listening(config)
        except (CertificateError, OSError) as error:
            self._stopping = True
            self._reason = str(error)
            return
        app: Guard = application(
            self._services, secure=tls is not None, version=version("plantgate")
        )
        server = BoundedServer(app, sockets, tls)
        self._server = server
        self._say_ready(sockets[0], tls is not None, fingerprint, restricted=restricted)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve())
            while not serving.done() and not self._stopping:
                await asyncio.sleep(0.1)
                if restricted and self._door.anybody:
                    break
            server.should_exit = True

    def _tls(self, config: ConsoleConfig) -> tuple[ssl.SSLContext | None, str]:
        if config.insecure:
            return None, ""
        return tls_context(self._config, self._data_dir)

    async def _look(self) -> None:
        """Once a second: users, memory, a sign of life."""
        while True:
            self._door.refresh()
            resident = _resident_bytes()
            if resident > self._config.memory_mb << 20:
                self._reason = f"it has {resident >> 20} MB, memory_mb is {self._config.memory_mb}"
                self._stopping = True
            server = self._server
            counted: dict[str, float] = {
                "resident_bytes": float(resident),
                "streams": float(self._live.streams),
                "pieces_sent": float(self._live.sent),
                "signed_in": float(self._door.signed_in),
                "refused_passwords": float(self._door.refused),
                "connections": float(len(server.server_state.connections) if server else 0),
                "requests": float(server.server_state.total_requests if server else 0),
                "watching": float(self._link.view.connected),
            }
            self._send(Alive(statistics=counted))
            await asyncio.sleep(LOOK_S)

    async def _obey(self, reader: asyncio.StreamReader) -> None:
        """Wait for the gateway's stop, or its end."""
        with contextlib.suppress(OSError):
            await reader.readline()
        self._stopping = True

    def _record(self, text: str, attributes: Mapping[str, str]) -> None:
        self._send(Note(text=text[:512], attributes=attributes))

    def _send(self, message: Alive | Note | Ready) -> None:
        if self._gateway.transport.get_write_buffer_size() < MOST_UNSENT:
            self._gateway.write(encoded(message))

    def _say_ready(
        self, one: socket.socket, secure: bool, fingerprint: str, *, restricted: bool
    ) -> None:
        host, port = one.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        address = f"{'https' if secure else 'http'}://{shown}:{port}/"
        self._send(Ready(address=address, fingerprint=fingerprint, restricted=restricted))


def _listening(config: ConsoleConfig) -> list[socket.socket]:
    """Bind the address; raises OSError with a sentence that names it."""
    try:
        found = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        return [_bound(family, address)]
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"it cannot listen on {config.listen} ([console] listen): {reason}"
        ) from error


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    # Named as TCP, or asyncio leaves Nagle's algorithm on: measured, 45 ms more an answer.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)  # connections inherit it
        made.bind(address)
        made.listen(BACKLOG)  # from here on connections wait, until the server takes them
    except BaseException:
        made.close()
        raise
    return made


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")

"""The console's HTTP connections, each with a bound on what it may cost.

Guarantees: a request's head has HEAD_S to arrive, from the first byte on or from the connection's
begin; a handshake of TLS has HANDSHAKE_S; a peer that takes nothing for STALL_S while something
waits for it is cut off, a slow one is not; at most about WRITE_BYTES wait here and SEND_BYTES in
the kernel beside the piece that is being sent, so that what a slow browser shows is not minutes
old; at most MOST_CONNECTIONS at a time, MOST_OF_ONE_ADDRESS from one address; heads of more than
16 kB are refused (uvicorn's own limit is larger).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
HANDSHAKE_S = 10.0
STALL_S = 30.0
KEEP_ALIVE_S = 30
GRACE_S = 1
WRITE_BYTES = SEND_BYTES = 64 << 10
_BYTES_ACKED = 120  # of tcpi_bytes_acked in struct tcp_info, linux/tcp.h; 64 bits
HEAD_BYTES = 16 << 10
MOST_CONNECTIONS = 256
MOST_OF_ONE_ADDRESS = 96
BACKLOG = 64


class BoundedProtocol(H11Protocol):
    """One connection. Its limits are the class's."""

    head_s = HEAD_S
    stall_s = STALL_S
    most_of_one_address = MOST_OF_ONE_ADDRESS
    address = ""
    _head: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Take a connection, or cut it off where there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BYTES)
        self.address = self.client[0] if self.client else ""
        alike = sum(getattr(one, "address", None) == self.address for one in self.connections)
        if len(self.connections) > MOST_CONNECTIONS or alike > self.most_of_one_address:
            transport.abort()
            return
        self._head = self.loop.call_later(self.head_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that is whole has kept its time."""
        waiting = self.cycle is None or self.cycle.response_complete
        if waiting and self._head is None:
            self._head = self.loop.call_later(self.head_s, self.transport.abort)
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._kept()

    def pause_writing(self) -> None:
        """Wait for the peer, as long as it takes something in each STALL_S."""
        super().pause_writing()
        if self._stall is None:
            self._look(-1)

    def resume_writing(self) -> None:
        """Go on: the peer has taken enough."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._kept()
        super().connection_lost(exc)  # which resumes writing

    def _look(self, before: int) -> None:
        taken = _taken(self.transport)
        if taken == before:
            self.transport.abort()
            return
        self._stall = self.loop.call_later(self.stall_s, self._look, taken)

    def _kept(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


class BoundedServer(uvicorn.Server):
    """Serves an application on sockets that are bound already, until `should_exit`."""

    def __init__(
        self,
        app: object,
        sockets: Sequence[socket.socket],
        tls: ssl.SSLContext | None,
        protocol: type[BoundedProtocol] = BoundedProtocol,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,  # type: ignore[arg-type]  # an ASGI application
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=HEAD_BYTES,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._protocol = protocol
        self._sockets = sockets
        self._tls = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the server."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, with a limit on handshakes, which uvicorn leaves at a minute."""
        loop = asyncio.get_running_loop()
        handshake_s = None if self._tls is None else HANDSHAKE_S
        shutdown_s = None if self._tls is None else float(GRACE_S)
        self.servers = [
            await loop.create_server(
                self._connection,
                sock=one,
                ssl=self._tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=handshake_s,
                ssl_shutdown_timeout=shutdown_s,
            )
            for one in sockets or self._sockets
        ]
        self.started = True

    def _connection(self) -> BoundedProtocol:
        return self._protocol(self.config, self.server_state, self.lifespan.state)


def _taken(transport: asyncio.Transport) -> int:
    """Bytes that the peer's kernel has acknowledged so far: none while its window is closed."""
    link = transport.get_extra_info("socket")
    info: bytes = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
    return int(struct.unpack_from("=Q", info, _BYTES_ACKED)[0])

"""Serves metrics and health over HTTP on this machine, and nothing else.

    GET /metrics   200, Prometheus text format
    GET /healthz   200 while ok or degraded, 503 when failed; JSON of the parts

Guarantees: listens on loopback only; one request a connection, then closed; a request of more than
MOST_REQUEST_BYTES or one that is no HTTP gets 400, another path 404, another method than GET or
HEAD 405; a client that takes longer than TIMEOUT_S, to ask or to read, is cut off; at most
MOST_CONNECTIONS at a time, more are closed unanswered. No task and no thread: a request is answered
in the callback that completes it.

Written by hand because these lines replace a framework's 20 MB of memory.
"""

from __future__ import annotations

import asyncio
from typing import Self, cast

from drivers.loopback import is_loopback
from gateway.observe.health import Health, State
from gateway.observe.metrics import CONTENT_TYPE, Metrics

MOST_REQUEST_BYTES = 8192  # Prometheus sends about 300; 8 KiB is the default of Apache and nginx
MOST_CONNECTIONS = 16
TIMEOUT_S = 5.0

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}
_TEXT = "text/plain; charset=utf-8"


class ObserveServer:
    """`async with ObserveServer(host, port, metrics, health) as server: server.address`."""

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Metrics,
        health: Health,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Port 0 takes any free one. Raises ValueError for an address that is not loopback."""
        if not is_loopback(host):
            raise ValueError(f"metrics and health are served on loopback only, not on {host}")
        self._host = host
        self._port = port
        self._metrics = metrics
        self._health = health
        self._timeout_s = timeout_s
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, self._connections, self._timeout_s), self._host, self._port
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and cut what is open."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.cut()
            await self._server.wait_closed()

    @property
    def address(self) -> str:
        """`host:port` as it really is; raises RuntimeError before the server listens."""
        if self._server is None or not self._server.sockets:
            raise RuntimeError("the server is not listening")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def answer(self, request: bytes) -> bytes:
        """Answer one request, given up to the empty line that ends its head."""
        line = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):
            return _response(400, _TEXT, b"this is no HTTP/1.1 request\n")
        method, target, _ = line
        pages = {"/metrics": self._show_metrics, "/healthz": self._show_health}
        page = pages.get(target.partition("?")[0])
        if page is None:
            return _response(404, _TEXT, b"there is /metrics and /healthz\n")
        if method not in ("GET", "HEAD"):
            return _response(405, _TEXT, b"GET or HEAD only\n", "Allow: GET, HEAD\r\n")
        status, content_type, body = page()
        return _response(status, content_type, body, head_only=method == "HEAD")

    def _show_metrics(self) -> tuple[int, str, bytes]:
        return 200, CONTENT_TYPE, self._metrics.render()

    def _show_health(self) -> tuple[int, str, bytes]:
        report = self._health.report()
        status = 503 if report.state is State.FAILED else 200
        return status, "application/json", report.to_json()


class _Connection(asyncio.Protocol):
    """One request, one answer."""

    def __init__(
        self, server: ObserveServer, connections: set[_Connection], timeout_s: float
    ) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._connections = connections
        self._received = bytearray()
        self._answered = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        if len(self._connections) > MOST_CONNECTIONS:
            self._transport.close()
            return
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self.cut)

    def data_received(self, data: bytes) -> None:
        if self._answered:  # pipelined requests are not served: the answer says close
            return
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if 0 <= end <= MOST_REQUEST_BYTES:
            self._reply(self._server.answer(bytes(self._received[:end])))
        elif len(self._received) > MOST_REQUEST_BYTES:
            self._reply(_response(400, _TEXT, b"the request is too long\n"))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def cut(self) -> None:
        """Close without waiting for the client to read."""
        if self._transport is not None:
            self._transport.abort()

    def _reply(self, response: bytes) -> None:
        self._answered = True
        self._received.clear()
        if self._transport is not None:
            self._transport.write(response)
            self._transport.close()  # once the client has read it; the timer bounds that


def _response(
    status: int, content_type: str, body: bytes, headers: str = "", *, head_only: bool = False
) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\n"
        f"X-Content-Type-Options: nosniff\r\n{headers}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if head_only else body)

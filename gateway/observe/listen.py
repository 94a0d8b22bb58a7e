"""Serve metrics and health while the gateway runs, or say in one sentence why that cannot be."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import AsyncIterator

from gateway.observe.health import Health
from gateway.observe.http import ObserveServer
from gateway.observe.metrics import Metrics

_REASONS = {
    errno.EADDRINUSE: "another program listens there; give another port, or 0 for any free one",
    errno.EACCES: "this user may not listen there; give a port above 1023",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


class ListenError(Exception):
    """Metrics and health cannot be served; the text names the address and what would help."""


def reason(error: OSError) -> str:
    """Say why an address cannot be had, and what would help."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


@contextlib.asynccontextmanager
async def listening(
    host: str, port: int, metrics: Metrics, health: Health
) -> AsyncIterator[ObserveServer]:
    """Listen for as long as the block runs. Raises ListenError if the address cannot be had."""
    async with contextlib.AsyncExitStack() as stack:
        server = ObserveServer(host, port, metrics, health)
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            text = f"[metrics] listen: cannot listen on {host}:{port}: {reason(error)}"
            raise ListenError(text) from error
        yield server

"""A listener ends without half-made connections.

Guarantees: when `cease` returns the server listens no more, and each connection that it accepted
has had its `connection_made`, so that its owner can drop it.

asyncio's selector loop makes a connection's transport one turn after it was accepted and asserts
then that the server still listens (`Server._attach`, CPython 3.11). A server closed between the two
leaves a socket that only the garbage collector closes, with a ResourceWarning. uvloop makes the
transport at once, and tells the protocol a turn later.
"""

from __future__ import annotations

import asyncio


async def cease(server: asyncio.AbstractServer) -> None:
    """Accept nothing more, let what was accepted come to be, then close the server."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.SelectorEventLoop) and isinstance(server, asyncio.Server):
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())
        await asyncio.sleep(0)  # transports are made
        await asyncio.sleep(0)  # and their protocols told
    server.close()
    await asyncio.sleep(0)  # uvloop's protocols


__all__ = ["cease"]

"""Listeners end at any turn of a connection's birth: no transport is lost, no connection unknown.

Without `cease` asyncio leaves a transport behind in the second turn.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import cast

import pytest
import uvloop

from drivers.sim.ceasing import cease


class Made(asyncio.Protocol):
    def __init__(self, made: list[asyncio.Transport]) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made.append(cast("asyncio.Transport", transport))


async def scenario(turns: int) -> bool:
    """End a listener so many turns after a client's handshake; whether the connection was made."""
    made: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Made(made), "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    with socket.create_connection(address, timeout=10):
        for _ in range(turns):
            await asyncio.sleep(0)
        await cease(server)
        known = len(made)
        for transport in made:
            transport.abort()
        await asyncio.sleep(0.01)
        assert len(made) == known, "a connection came to be after its owner had dropped them all"
    await server.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)
    gc.collect()  # a transport that nobody closed fails the test that drops it
    return bool(known)


@pytest.mark.parametrize("turns", range(6))
async def test_a_listener_ends_at_any_turn_of_a_connections_birth(turns: int) -> None:
    assert await scenario(turns) is (turns >= 2)


def test_the_products_loop_ends_a_listener_too() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for turns in range(4):
            runner.run(scenario(turns))

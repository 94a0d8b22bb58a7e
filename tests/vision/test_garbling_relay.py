"""The relay of the camera campaigns is a line: it hides from no end that the other has gone."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.garbling_relay import GarblingRelay
from tests.fakes.listening import Listener

LONGEST_S = 120.0  # a bound against hanging, never an expectation


@pytest.mark.parametrize("who", ["client", "camera"])
async def test_whoever_goes_is_gone_at_the_other_end(who: str) -> None:
    """Also while neither of the two sends anything, as a camera that hangs does."""
    arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    done = asyncio.Event()

    async def camera(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.put_nowait((reader, writer))
        await done.wait()

    listener, relay = Listener(camera), GarblingRelay(1)
    await relay.open(await listener.open())
    try:
        async with asyncio.timeout(LONGEST_S):
            client = await asyncio.open_connection("127.0.0.1", relay.port)
            client[1].write(b"x")
            at_camera = await arrived.get()
            assert await at_camera[0].readexactly(1) == b"x"
            goes, stays = (client, at_camera) if who == "client" else (at_camera, client)
            goes[1].close()
            assert await stays[0].read() == b""
            client[1].close()
    finally:
        done.set()
        await relay.close()
        await listener.close()

"""A Modbus device that answers MBAP frames in datagrams on 127.0.0.1.

garbage: answers are no frames, from the next request on.
"""

from __future__ import annotations

import asyncio
from typing import Self, cast

from tests.fakes.modbus_server import Device


class UdpServer(asyncio.DatagramProtocol):
    """Async context manager; see `port`."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.garbage = False
        self.port = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.device.answer(data)
        self._transport.sendto(b"who are you?" if self.garbage else answer, addr)

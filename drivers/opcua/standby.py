"""Compares the servers of a redundant set by what each says of itself.

Guarantees: another server is named only where it says that it is better than the present one; it is
asked over a connection of its own, for two seconds at most, at most every five seconds, and not for
fifteen after a change, so that levels which waver do not drive us to and fro.
"""

from __future__ import annotations

import asyncio

from drivers.contract import DeviceError
from drivers.opcua import services
from drivers.opcua.client import Link
from drivers.opcua.device import Device

HEALTHY = 200
"""ServiceLevel from which a server is healthy (OPC 10000-4, 6.6.2.4.2)."""

_NOT_RUNNING = range(1, 7)  # ServerState (OPC 10000-5, 12.6); 7 is Unknown
_NO_ANSWER = -1
_PROBE_SECONDS = 2.0
_EVERY_NS = 5_000_000_000
_AFTER_CHANGE_NS = 15_000_000_000


def rating(state: int, level: int | None) -> int:
    """Give how good a server is, 0 to 255; one that does not run is worth nothing."""
    if state in _NOT_RUNNING:
        return 0
    return 255 if level is None else level


class Standby:
    """The servers of one device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._next_ns = 0

    async def better(self, than: str, own: int) -> str | None:
        """Give the endpoint of a server that is better than this one, whose rating is `own`."""
        clock = self._device.clock
        if clock.monotonic_ns() < self._next_ns:
            return None
        best: str | None = None
        for endpoint in self._device.config.servers:
            found = _NO_ANSWER if endpoint == than else await self._ask(endpoint)
            if found > own:
                best, own = endpoint, found
        wait_ns = _EVERY_NS if best is None else _AFTER_CHANGE_NS
        self._next_ns = clock.monotonic_ns() + wait_ns
        return best

    async def _ask(self, endpoint: str) -> int:
        device = self._device
        link = Link(device.config, endpoint, f"plantgate {device.name}", device.traffic)
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await link.open(device.clock.wall_ns())
                state, level, _ = await services.server_health(link)
                return rating(state, level)
        except (DeviceError, TimeoutError):
            return _NO_ANSWER
        finally:
            await link.close()


__all__ = ["HEALTHY", "Standby", "rating"]

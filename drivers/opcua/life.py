"""Asks a server how it is, and keeps channel and session alive.

Guarantees: a server that answers nothing is found in PERIOD_MS plus `timeout_ms`; one that answers
no reads, but goes on publishing, is told and not lost; the channel is renewed in time, and so often
is asked that neither a channel nor a session that the server gives a short life ends of itself.
"""

from __future__ import annotations

from drivers.contract import DeviceError, Emit
from drivers.opcua import services
from drivers.opcua.client import Link
from drivers.opcua.device import Device
from drivers.opcua.faults import BUSY, NoAnswerError, StatusError

PERIOD_MS = 2_000


class FailoverError(DeviceError):
    """This server works, but says itself that another is to be preferred."""


class Life:
    """Of one session. least_level: ServiceLevel below which another server shall take over."""

    def __init__(self, device: Device, link: Link, emit: Emit, least_level: int = 0) -> None:
        self._device = device
        self._link = link
        self._emit = emit
        self._least_level = least_level
        self._heard_ns = 0
        self._renew_ns = 0
        self._told_deaf = False

    @property
    def period_ns(self) -> int:
        """How often to look."""
        shortest_ms = min(self._link.session_timeout_ms / 3, self._link.channel_lifetime_ms / 8)
        return round(max(100.0, min(PERIOD_MS, shortest_ms)) * 1e6)

    def hear(self) -> None:
        """Note that the server has published something."""
        self._heard_ns = self._device.clock.monotonic_ns()

    async def begin(self) -> None:
        """Look for the first time, when the session stands."""
        self._renew_ns = self._renewal_ns()
        await self._ask()

    async def look(self) -> None:
        """Ask, and renew the channel where that is due; DeviceError where the server is lost."""
        clock = self._device.clock
        asked_ns = clock.monotonic_ns()
        try:
            await self._ask()
        except (NoAnswerError, StatusError) as fault:
            if isinstance(fault, StatusError) and fault.status not in BUSY:
                raise
            if self._heard_ns < asked_ns:
                raise
            await self.deaf(fault)
        if clock.monotonic_ns() >= self._renew_ns:
            await self._link.renew_channel()
            self._renew_ns = self._renewal_ns()

    async def deaf(self, fault: DeviceError) -> None:
        """Tell, once a session, that the server does not answer though it publishes."""
        if not self._told_deaf:
            self._told_deaf = True
            device = self._device
            await self._emit(device.events.deaf(device.clock.wall_ns(), str(fault)))

    async def _ask(self) -> None:
        """Read the server's state; FailoverError where another server is to be preferred."""
        _, level = await services.server_health(self._link)
        if level is not None and level < self._least_level:
            raise FailoverError(f"{self._link.endpoint}: its ServiceLevel is {level}")

    def _renewal_ns(self) -> int:
        """Three quarters of the channel's lifetime from now (OPC 10000-4, 5.5.2.1)."""
        lifetime_ns = self._link.channel_lifetime_ms * 10**6
        return self._device.clock.monotonic_ns() + lifetime_ns * 3 // 4


__all__ = ["FailoverError", "Life"]

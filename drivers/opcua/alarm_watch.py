"""Watches a server's alarms and conditions during one session.

Guarantees: alarms are watched before any point is, and the standing ones asked for at each connect,
whenever the server wants it, and whenever events may have been lost; a server that refuses, or does
not answer, is told once and asked again, and costs the session nothing.
"""

from __future__ import annotations

import asyncio

from drivers.contract import Emit
from drivers.opcua import event_services
from drivers.opcua.alarms import EVENT_HANDLE
from drivers.opcua.client import Link
from drivers.opcua.device import Device
from drivers.opcua.faults import NoAnswerError, StatusError
from drivers.opcua.state import SavedSubscription

_FIRST_RETRY_S = 2


class AlarmWatch:
    """See the module. wanted: set when the standing alarms are to be asked for."""

    def __init__(self, device: Device, link: Link, emit: Emit, wanted: asyncio.Event) -> None:
        self._device = device
        self._link = link
        self._emit = emit
        self._wanted = wanted
        self._told = ""

    async def run(self, subscription: SavedSubscription) -> None:
        """Watch; ends only by its end."""
        tries = 0
        while True:
            self._wanted.clear()
            why = await self._try(subscription)
            if not why:
                tries, self._told = 0, ""
                await self._wanted.wait()
                continue
            device, clock = self._device, self._device.clock
            if why != self._told:
                self._told = why
                await self._emit(device.events.no_alarms(clock.wall_ns(), why))
            seconds = min(device.config.retry_s, _FIRST_RETRY_S << min(tries, 10))
            tries += 1
            await clock.sleep_until(clock.monotonic_ns() + seconds * 10**9)

    async def _try(self, subscription: SavedSubscription) -> str:
        """Watch and ask for the standing ones; says what went wrong, or nothing."""
        try:
            if EVENT_HANDLE not in subscription.items:
                result = await event_services.watch_events(self._link, subscription.id)
                if result.status & 0x8000_0000:
                    return f"it refused the events of its Server object (0x{result.status:08X})"
                subscription.items[EVENT_HANDLE] = result.item_id
                self._device.state.save_link()
            await event_services.refresh_conditions(self._link, subscription.id)
        except (StatusError, NoAnswerError) as refused:
            return str(refused)
        return ""


__all__ = ["AlarmWatch"]

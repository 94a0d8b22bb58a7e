"""Asks a server how it is, and keeps channel and session alive.

Guarantees: a server that answers nothing is found in PERIOD_MS plus `timeout_ms`; one that answers
no reads, but goes on publishing, is told and not lost; the channel is renewed in time, and so often
is asked that neither a channel nor a session that the server gives a short life ends of itself. A
certificate that ends soon, and a disk that takes no state, are told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from drivers.contract import DeviceError, Emit
from drivers.opcua import services
from drivers.opcua.client import Link
from drivers.opcua.device import Device
from drivers.opcua.expiry import DAY_NS, SOON_DAYS
from drivers.opcua.faults import BUSY, NoAnswerError, StatusError
from drivers.opcua.standby import HEALTHY, rating

PERIOD_MS = 2_000

STATES: Mapping[int, str] = {
    0: "running again",
    1: "failed (Failed): its values may be old or wrong",
    2: "without a configuration (NoConfiguration)",
    3: "suspended (Suspended): its values are not up to date",
    4: "shutting down (Shutdown)",
    5: "in test mode (Test): its values may be simulated",
    6: "without connection to its own sources (CommunicationFault): its values may be old",
}
"""ServerState (OPC 10000-5, 12.6); 7, Unknown, says nothing."""


Better = Callable[[str, int], Awaitable[str | None]]
"""Gives the endpoint of a server that is better than this one, of such a rating (standby.py)."""


class FailoverError(DeviceError):
    """This server works, but says itself that it is not healthy; `better` is one that is better."""

    def __init__(self, message: str, better: str) -> None:
        super().__init__(message)
        self.better = better


class Life:
    """Of one session. better: finds another server of a redundant set; None where there is none."""

    def __init__(
        self, device: Device, link: Link, emit: Emit, better: Better | None = None
    ) -> None:
        self._device = device
        self._link = link
        self._emit = emit
        self._better = better
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
        self._device.ends_ns = self._link.ends_ns
        await self._mind_ourselves()
        await self._ask()

    async def look(self) -> None:
        """Ask, and renew the channel where that is due; DeviceError where the server is lost."""
        clock = self._device.clock
        await self._mind_ourselves()
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
        """Read the server's state; FailoverError where another server is better."""
        state, level, time = await services.server_health(self._link)
        await self._mind_state(state)
        if time is not None:
            await self._mind_clock(time)
        own, here = rating(state, level), self._link.endpoint
        if self._better is not None and own < HEALTHY:
            better = await self._better(here, own)
            if better is not None:
                why = f"it is {STATES[state]}" if state in STATES and state else ""
                raise FailoverError(f"{here}: {why or f'its ServiceLevel is {level}'}", better)

    async def _mind_ourselves(self) -> None:
        await self._mind_disk()
        await self._mind_certificates()

    async def _mind_certificates(self) -> None:
        """Tell which certificates end soon; of ours one that was renewed meanwhile does not."""
        device, link, now_ns = self._device, self._link, self._device.clock.wall_ns()
        if not (due := device.expiry.feed(link.ends_ns, now_ns)):
            return
        link.look_again()
        for whose in due:
            end_ns = link.ends_ns[whose]
            if end_ns - now_ns <= SOON_DAYS * DAY_NS:
                await self._emit(device.events.certificate(now_ns, whose, end_ns))

    async def _mind_disk(self) -> None:
        """Tell when `state_dir` takes nothing, and when it does again; other words are no news."""
        device, why = self._device, self._device.state.trouble
        if bool(why) is not bool(device.unsaved_told):
            device.unsaved_told = why
            await self._emit(device.events.unsaved(device.clock.wall_ns(), why))

    async def _mind_state(self, state: int) -> None:
        """Tell when the server says that it does not run, and when it does again."""
        known = self._device.server_state
        if state == known or state not in STATES:
            return
        self._device.server_state = state
        now_ns = self._device.clock.wall_ns()
        await self._emit(self._device.events.server_state(now_ns, STATES[state]))

    async def _mind_clock(self, time: datetime) -> None:
        """Tell when the server's clock and ours are apart, and when they agree again."""
        device, now_ns = self._device, self._device.clock.wall_ns()
        moment = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        apart_s = device.server_clock.feed(round(moment.timestamp() - now_ns / 1e9))
        if apart_s is not None:
            await self._emit(device.events.clock_apart(now_ns, apart_s))

    def _renewal_ns(self) -> int:
        """Three quarters of the channel's lifetime from now (OPC 10000-4, 5.5.2.1)."""
        lifetime_ns = self._link.channel_lifetime_ms * 10**6
        return self._device.clock.monotonic_ns() + lifetime_ns * 3 // 4


__all__ = ["FailoverError", "Life"]

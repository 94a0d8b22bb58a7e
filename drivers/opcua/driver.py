"""The OPC UA driver as the gateway sees it: sessions one after another, and what is told between.

Guarantees: `run` ends with DeviceError when the server is lost, after every point has been emitted
once as bad:not_connected and link.down says why; of a redundant set another server takes over
first, at once and without that. It may be called again at once. It leaves neither tasks nor
sockets, also when cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from drivers.contract import DeviceError, Emit, Quality
from drivers.opcua.client import Link, SavedSession
from drivers.opcua.device import Device
from drivers.opcua.expiry import DAY_NS
from drivers.opcua.faults import BUSY, StatusError
from drivers.opcua.ledger import Ledger
from drivers.opcua.life import FailoverError
from drivers.opcua.poll import PollSession
from drivers.opcua.session import Session, SilentError
from drivers.opcua.standby import Standby

_SETTLE_SECONDS = 2.0


class OpcUaDriver:
    """Reads one server, or one of a redundant set, by subscription or by polling."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._ledger = Ledger(device.state, device.counters)
        self._told_down: str | None = None
        self._server = 0
        self._standby = Standby(device)

    async def run(self, emit: Emit) -> None:
        """Serve one session until cancelled or lost; raises DeviceError."""
        device = self._device
        device.state.load()
        await self._close_stale()
        sessions = device.counters.sessions
        lost = await self._serve_any(emit)
        if self._device.counters.sessions > sessions:
            self._told_down = None
        await self._tell_down(emit, str(lost))
        raise lost

    async def _close_stale(self) -> None:
        """Close the session of an earlier run whose subscriptions no longer fit the point table."""
        device = self._device
        stale, device.state.stale = device.state.stale, None
        if stale is None:
            return
        link = Link(device.config, stale.endpoint, f"plantgate {device.name}", device.traffic)
        with contextlib.suppress(DeviceError):  # gone with the server, or soon of itself
            try:
                await link.open(device.clock.wall_ns(), SavedSession(stale.token, stale.nonce))
            finally:
                await link.close()

    async def _serve_any(self, emit: Emit) -> DeviceError:
        """Serve by one server of the set after another, until none of them answers.

        Each turn begins with the one served last.
        """
        device = self._device
        servers, failed = device.config.servers, 0
        while True:
            endpoint = servers[self._server]
            before = device.counters.sessions
            lost = await self._serve(emit, endpoint)
            if len(servers) == 1:
                return lost
            failed = 0 if device.counters.sessions > before else failed + 1
            if failed == len(servers):
                return lost
            if isinstance(lost, FailoverError):
                self._server = servers.index(lost.better)
            else:
                self._server = (self._server + 1) % len(servers)
            device.counters.failovers += 1
            now_ns = device.clock.wall_ns()
            await emit(device.events.failover(now_ns, servers[self._server], str(lost)))

    async def _serve(self, emit: Emit, endpoint: str) -> DeviceError:
        """Serve one session; returns by what it was lost. The session stays, to be resumed."""
        device = self._device
        lost: DeviceError | None = None
        better = self._standby.better if len(device.config.servers) > 1 else None
        link = Link(device.config, endpoint, f"plantgate {device.name}", device.traffic)
        try:
            if device.config.reading == "poll":
                await PollSession(device, link, emit, self._ledger, better).run()
            else:
                await Session(device, link, emit, self._ledger, better).run()
        except* DeviceError as errors:
            lost = next(_leaves(errors))
        finally:
            if lost is None:  # cancelled
                await self._leave(link)
        if lost is None:  # the tasks of a session never end of themselves
            return DeviceError(f"{endpoint}: the session ended")
        refused = isinstance(lost, StatusError) and lost.status not in BUSY
        if refused or isinstance(lost, (FailoverError, SilentError)):  # no use in going on with it
            device.state.link = None
            device.state.save_link()
            await link.close()
        else:
            await link.abandon()
        return lost

    async def _leave(self, link: Link) -> None:
        """Close the session in order; subscriptions stay for our next start, if state does."""
        state = self._device.state
        with contextlib.suppress(TimeoutError):  # what is on its way to the disk shall count
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self._ledger.settle()
        await link.close(delete_subscriptions=not state.durable)
        if not state.durable:
            state.link = None

    async def _tell_down(self, emit: Emit, why: str) -> None:
        """Emit all points as bad once per outage, and why as often as the reason changes."""
        device = self._device
        if why == self._told_down:
            return
        now_ns = device.clock.wall_ns()
        if self._told_down is None:
            device.lost[:] = True
            for batch in device.batches.all_bad(Quality.BAD_NOT_CONNECTED, now_ns):
                await emit(batch)
        self._told_down = why
        device.traffic.pause()
        await emit(device.events.link_down(now_ns, why))

    def statistics(self) -> Mapping[str, float]:
        """Counts since start; `reconnects` are sessions after the first.

        certificate_days: until the first certificate of the present session ends.
        """
        counters = {name: float(value) for name, value in asdict(self._device.counters).items()}
        counters["reconnects"] = max(0.0, counters.pop("sessions") - 1)
        if self._device.ends_ns:
            left_ns = min(self._device.ends_ns.values()) - self._device.clock.wall_ns()
            counters["certificate_days"] = left_ns / DAY_NS
        return counters | self._device.traffic.statistics()


def _leaves(group: BaseExceptionGroup[DeviceError]) -> Iterator[DeviceError]:
    """Flatten an exception group."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


__all__ = ["OpcUaDriver"]

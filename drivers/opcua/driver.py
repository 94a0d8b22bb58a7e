"""The OPC UA driver as the gateway sees it: sessions one after another, and what is told between.

Guarantees: `run` ends with DeviceError when the server is lost, after every point has been emitted
once as bad:not_connected and link.down says why; it may be called again at once. It leaves neither
tasks nor sockets, also when cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from drivers.contract import DeviceError, Emit, Quality
from drivers.opcua.client import Link
from drivers.opcua.device import Device
from drivers.opcua.session import Session


class OpcUaDriver:
    """Reads one server by subscription."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._told_down: str | None = None

    async def run(self, emit: Emit) -> None:
        """Serve one session until cancelled or lost; raises DeviceError."""
        lost: DeviceError | None = None
        link = Link(self._device.config, f"plantgate {self._device.name}")
        sessions = self._device.counters.sessions
        try:
            await Session(self._device, link, emit).run()
        except* DeviceError as errors:
            lost = next(_leaves(errors))
        finally:
            await link.close()
        if self._device.counters.sessions > sessions:
            self._told_down = None
        if lost is None:  # the tasks of a session never end of themselves
            lost = DeviceError(f"{self._device.config.endpoint}: the session ended")
        await self._tell_down(emit, str(lost))
        raise lost

    async def _tell_down(self, emit: Emit, why: str) -> None:
        """Emit all points as bad once per outage, and why as often as the reason changes."""
        device = self._device
        if why == self._told_down:
            return
        now_ns = device.clock.wall_ns()
        if self._told_down is None:
            for batch in device.batches.all_bad(Quality.BAD_NOT_CONNECTED, now_ns):
                await emit(batch)
        self._told_down = why
        await emit(device.events.link_down(now_ns, why))

    def statistics(self) -> Mapping[str, float]:
        """Counts since start; `reconnects` are sessions after the first."""
        counters = {name: float(value) for name, value in asdict(self._device.counters).items()}
        counters["reconnects"] = max(0.0, counters.pop("sessions") - 1)
        return counters


def _leaves(group: BaseExceptionGroup[DeviceError]) -> Iterator[DeviceError]:
    """Flatten an exception group."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


__all__ = ["OpcUaDriver"]

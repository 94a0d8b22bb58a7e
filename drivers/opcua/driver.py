"""The OPC UA driver as the gateway sees it: sessions one after another, and what is told between.

Guarantees: `run` ends with DeviceError when the server is lost, after every point has been emitted
once as bad:not_connected and link.down says why; it may be called again at once. It leaves neither
tasks nor sockets, also when cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from drivers.contract import (
    Clock,
    DeviceError,
    Driver,
    DriverPoint,
    Emit,
    Problem,
    Quality,
    ValueKind,
)
from drivers.opcua.batches import BatchMaker
from drivers.opcua.client import Link, quiet_library
from drivers.opcua.config import OpcUaAddress, OpcUaConfig
from drivers.opcua.device import Device
from drivers.opcua.events import EventMaker
from drivers.opcua.session import Session
from drivers.opcua.trust import TrustError, load_certificate, load_identity, read_password


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


def open_driver(
    name: str, config: OpcUaConfig, points: Sequence[DriverPoint[OpcUaAddress]], clock: Clock
) -> Driver:
    """Make a driver; `run` connects."""
    quiet_library()
    return OpcUaDriver(
        Device(
            name=name,
            config=config,
            points=tuple(points),
            clock=clock,
            batches=BatchMaker(points),
            events=EventMaker(name, config.endpoint),
        )
    )


def kind_of(address: OpcUaAddress) -> ValueKind:
    """Column type of a point."""
    return address.kind()


def check(config: OpcUaConfig, points: Sequence[DriverPoint[OpcUaAddress]]) -> list[Problem]:
    """Read the files that the configuration names; reports those that cannot be used."""
    problems = [] if points else [Problem(0, "points", "the point table has no point")]
    for column, complaint in _complaints(config):
        problems.append(Problem(0, column, complaint))
    return problems


def _complaints(config: OpcUaConfig) -> Iterator[tuple[str, str]]:
    if config.certificate is not None and config.key is not None:
        yield from _complaint("certificate", load_identity, config.certificate, config.key)
    if config.server_certificate is not None:
        yield from _complaint("server_certificate", load_certificate, config.server_certificate)
    if config.password_file is not None:
        yield from _complaint("password_file", read_password, config.password_file)
    if config.trust is not None and not config.trust.is_dir():
        yield "trust", f"the trust folder {config.trust} does not exist"


def _complaint(column: str, read: Callable[..., object], *paths: Path) -> Iterator[tuple[str, str]]:
    try:
        read(*paths)
    except TrustError as error:
        yield column, str(error)


__all__ = ["OpcUaDriver", "check", "kind_of", "open_driver"]

"""Tries devices by running their own drivers until every point was told once.

Guarantees: what is asked is what the gateway would ask, by the same code and no oftener than once a
second; nothing is remembered on disk; one connection a device, and devices that share an address or
a serial port come one after another; each ends after `patience_s` whatever it does. Cancel-safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from drivers.contract import Batch, Clock, DeviceError, Driver, SourceEvent
from gateway.config.site import Device
from gateway.doctor.device_judge import findings_of
from gateway.doctor.device_watch import DeviceWatch
from gateway.doctor.finding import Finding

_TURN_NS = 250_000_000
_SLOWEST_MS = 1000
_QUIET: Mapping[str, object] = {"state_dir": None, "history": False, "alarms": False}
"""Keys of drivers by which they would remember, read back the past, or ask for alarms."""
PASSIVE = frozenset({"intake_http", "intake_mqtt", "intake_folder"})
"""Drivers that take over what they are sent: tried, they would take it and lose it."""


def groups(devices: Sequence[Device]) -> list[list[Device]]:
    """Devices that must not be tried at the same time, together."""
    found: dict[object, list[Device]] = {}
    for device in devices:
        found.setdefault(_shared(device), []).append(device)
    return list(found.values())


async def try_group(devices: Sequence[Device], clock: Clock, patience_s: float) -> list[Finding]:
    """Try devices of one address, one after another."""
    found: list[Finding] = []
    for device in devices:
        found += await try_device(device, clock, patience_s)
    return found


async def try_device(device: Device, clock: Clock, patience_s: float) -> list[Finding]:
    """Run the driver until it has told of all its points, is lost, or patience ends."""
    names = device.names()
    watch = DeviceWatch(len(names))
    ids = {name: at for at, name in enumerate(names, start=1)}
    statistics: Mapping[str, float] = {}
    try:
        driver = device.driver.open(
            device.name, _quietened(device.config), device.driver_points(ids), clock
        )
    except DeviceError as error:
        watch.lost = str(error)
    else:
        await _watched(driver, watch, clock, patience_s)
        statistics = driver.statistics()
    rows = list(device.rows)
    return findings_of(device.name, place_of(device), rows, watch, statistics)


async def _watched(driver: Driver, watch: DeviceWatch, clock: Clock, patience_s: float) -> None:
    loop = asyncio.get_running_loop()

    async def emit(item: Batch | SourceEvent) -> Awaitable[object]:
        watch.feed(item)
        receipt: asyncio.Future[object] = loop.create_future()
        receipt.set_result(None)
        return receipt

    async def run() -> None:
        try:
            await driver.run(emit)
        except DeviceError as error:
            watch.lost = str(error)
        except Exception as error:  # one driver's mistake must not hide what the others found
            watch.lost = f"the driver failed ({type(error).__name__}: {error})"

    try:
        async with asyncio.timeout(patience_s), asyncio.TaskGroup() as group:
            task = group.create_task(run())
            while not watch.turn():
                await clock.sleep_until(clock.monotonic_ns() + _TURN_NS)
            task.cancel()
    except TimeoutError:
        watch.ran_out = True


def _quietened(config: Any) -> Any:  # noqa: ANN401  # each driver's own model
    """Configuration of a device under which its driver leaves no trace here."""
    changed = {name: value for name, value in _QUIET.items() if hasattr(config, name)}
    for name in ("poll_ms", "publish_ms"):
        if hasattr(config, name):
            changed[name] = min(getattr(config, name), _SLOWEST_MS)
    return config.model_copy(update=changed)


def place_of(device: Device) -> str:
    """Address of a device, for people."""
    config = device.config
    place = getattr(config, "place", "") or ", ".join(getattr(config, "servers", ()))
    unit = getattr(config, "unit", None)
    return f"{place} unit {unit}" if unit is not None and place else place or device.driver.name


def _shared(device: Device) -> object:
    """What only one connection at a time may use."""
    config = device.config
    if getattr(config, "serial", ""):
        return "serial", config.serial  # type: ignore[attr-defined]  # just asked for
    if getattr(config, "host", ""):
        return "host", config.host, getattr(config, "port", 0)  # type: ignore[attr-defined]  # just asked for
    return "device", device.name


__all__ = ["PASSIVE", "groups", "place_of", "try_device", "try_group"]

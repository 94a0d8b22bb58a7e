"""Tries everything that a site file names, once: what is independent at the same time.

Guarantees: nothing is written to the plant, nobody is told an alarm, no record leaves; what shares
an address, a serial port or a host is tried one after another; the whole ends after a bounded time
(each step has its own end, `patience_s` for a device or a picture); a mistake of ours in one hides
nothing of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from drivers.contract import Clock
from gateway.config.site import Device, Site
from gateway.doctor import machine, running
from gateway.doctor.devices import PASSIVE, groups, try_device
from gateway.doctor.finding import MACHINE, About, Finding, State
from gateway.runtime.clock import SystemClock

if TYPE_CHECKING:
    from gateway.doctor.lockout import Lockout
    from vision.config import CameraConfig

_AT_ONCE = 16
_OPCUA = "opcua"


@dataclass(frozen=True, slots=True)
class Manner:
    """How to go about it. beside: connect also where a gateway runs.  cache: the user's folder."""

    patience_s: float
    software: str
    cache: Path
    beside: bool = False


async def visit(site: Site, clock: SystemClock, manner: Manner) -> list[Finding]:
    """Try everything; findings in the order of the site file, the machine first."""
    seen = None if manner.beside else await running.view(site)
    found = await asyncio.to_thread(_machine, site, clock, runs=seen is not None)
    if seen is not None:
        found += running.findings_of(seen, site)
        return found + await _all(_outlets(site))
    if site.cameras:
        found += await asyncio.to_thread(_cores, site)
    works: list[Work] = [
        *((group[0].name, _devices(group, clock, manner)) for group in groups(site.devices)),
        *_cameras(site, clock, manner),
        *_receivers(site, clock, manner),
        *_outlets(site),
    ]
    results = await _all(works)
    order = {name: at for at, name in enumerate(_names(site))}
    return found + sorted(results, key=lambda one: order.get(one.part, len(order)))


def _machine(site: Site, clock: SystemClock, *, runs: bool) -> list[Finding]:
    return [
        *machine.disk(site, clock),
        machine.clock_of(clock),
        machine.memory(len(site.cameras), runs=runs),
    ]


def _cores(site: Site) -> list[Finding]:
    from gateway.doctor.cameras import cores_needed
    from vision.manifest import ModelError

    try:
        return machine.processors(cores_needed(site.cameras))
    except ModelError as error:
        return [Finding(
            MACHINE, About.CPU, State.FAULT, str(error), f"模型无法使用:{error}",
            "name another model, or take the shipped one by leaving the key out",
            "更换模型,或删去该项使用自带模型",
        )]  # fmt: skip


def _names(site: Site) -> list[str]:
    parts: list[Sequence[str]] = [
        [device.name for device in site.devices],
        [camera.name for camera in site.cameras],
        [uplink.name for uplink in site.uplinks],
    ]
    return [name for part in parts for name in part]


Work = tuple[str, Awaitable[list[Finding]]]
"""What is to be done, with the name of the part that it begins with."""


async def _all(works: Sequence[Work]) -> list[Finding]:
    """Wait for all, a bounded number at a time; in the order given."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(part: str, work: Awaitable[list[Finding]]) -> list[Finding]:
        async with gate:
            try:
                return await work
            except Exception as error:  # supervised boundary: the others' findings count
                return [_broken(part, f"{type(error).__name__}: {error}")]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(*work)) for work in works]
    return [finding for task in tasks for finding in task.result()]


def _broken(part: str, why: str) -> Finding:
    return Finding(
        part, About.GATEWAY, State.NOT_TRIED,
        f"not tried to its end: this command failed ({why})", f"试连未完成:程序出错({why})",
        "this is a mistake of plantgate: please report the sentence; the others were tried",
        "这是本程序的错误,请反馈此句;其他各项已试",
    )  # fmt: skip


async def _devices(group: Sequence[Device], clock: Clock, manner: Manner) -> list[Finding]:
    found: list[Finding] = []
    for device in group:
        found += await _device(device, clock, manner)
    return found


async def _device(device: Device, clock: Clock, manner: Manner) -> list[Finding]:
    name = device.driver.name
    if name in PASSIVE:
        from gateway.doctor.outlets import try_intake

        return await try_intake(device)
    if name != _OPCUA:
        return await try_device(device, clock, manner.patience_s)
    from gateway.doctor import opcua

    found, enters = await opcua.way_in(device, clock)
    if not enters:
        return found
    found += await try_device(device, clock, manner.patience_s)
    return found + await opcua.units(device, clock)


def _cameras(site: Site, clock: Clock, manner: Manner) -> list[Work]:
    """One piece of work for each host: a recorder takes few connections at once."""
    if not site.cameras:
        return []
    from gateway.doctor.lockout import Lockout

    lockout = Lockout(manner.cache, clock.wall_ns())
    hosts: dict[str, list[CameraConfig]] = {}
    for camera in site.cameras:
        host = urlsplit(camera.source).hostname or camera.name
        hosts.setdefault(host, []).append(camera)
    return [
        (cameras[0].name, _of_host(cameras, lockout, clock, manner)) for cameras in hosts.values()
    ]


async def _of_host(
    cameras: Sequence[CameraConfig], lockout: Lockout, clock: Clock, manner: Manner
) -> list[Finding]:
    """Cameras of one host; whose login was refused is not tried for the next one either."""
    from gateway.doctor.cameras import try_camera

    found: list[Finding] = []
    for camera in cameras:
        found += await asyncio.to_thread(try_camera, camera, lockout, clock, manner.patience_s)
    return found


def _receivers(site: Site, clock: Clock, manner: Manner) -> list[Work]:
    if not site.uplinks:
        return []
    from gateway.doctor.receivers import try_receiver

    return [
        (uplink.name, try_receiver(site, uplink, clock, manner.software)) for uplink in site.uplinks
    ]


def _outlets(site: Site) -> list[Work]:
    if site.notify is None:
        return []
    from gateway.doctor.outlets import try_notifier

    return [(one.name, try_notifier(one)) for one in site.notify.notifiers]


__all__ = ["Manner", "visit"]

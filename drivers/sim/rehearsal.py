"""A whole site's Modbus and OPC UA side, served on loopback until it is told to stop.

Guarantees: values are those of SiteSignals and the faults at the second since start, so that two
runs with one seed show the same; a second that is missed is skipped, and time never drifts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from drivers.sim.faults import Disturbance, Fault, calibrating, disturbance, disturbed
from drivers.sim.modbus_wire import ModbusListener
from drivers.sim.seconds import show_each_second
from drivers.sim.signals import Floats
from drivers.sim.site_modbus import Spot, UnitMap, UnitsOnOnePort
from drivers.sim.site_signals import SimPoint, SiteSignals

if TYPE_CHECKING:
    from drivers.sim.site_opcua import NodeSpot, OpcUaSite


@dataclass(frozen=True, slots=True)
class SimDevice:
    """One [[device]]: its points, and where they are served.

    spots: (unit, spot) of a Modbus device; nodes: of an OPC UA server. Their `signal` is the place
    among this device's points. server: devices with the same are served on one port, by default
    each has its own; port: 0 takes any free one.
    """

    name: str
    port: int
    points: tuple[SimPoint, ...]
    spots: tuple[tuple[int, Spot], ...] = ()
    nodes: tuple[NodeSpot, ...] = ()
    path: str = ""
    server: str = ""

    @property
    def is_modbus(self) -> bool:
        """Whether it speaks Modbus; else OPC UA."""
        return not self.nodes


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the devices are served, by name of the device."""

    by_device: Mapping[str, int]


@dataclass(slots=True)
class _Served:
    """A device while it runs; first: place of its first value among all values."""

    device: SimDevice
    signals: SiteSignals
    faults: tuple[Fault, ...]
    first: int


class Rehearsal:
    """`await run(stop, ready)`; the rest is how the site looks at a second."""

    def __init__(self, devices: Sequence[SimDevice], faults: Iterable[Fault], seed: int) -> None:
        """Raises ValueError where one server has devices of both protocols."""
        listed = tuple(faults)
        self._served: list[_Served] = []
        first = 0
        for device in devices:
            signals = SiteSignals(device.name, device.points, seed)
            own = tuple(fault for fault in listed if fault.device == device.name)
            self._served.append(_Served(device, signals, own, first))
            first += len(signals)
        self._modbus: list[_ModbusPort] = []
        self._opcua: list[_OpcUaPort] = []
        for members in _by_server(self._served):
            kinds = {served.device.is_modbus for served in members}
            if len(kinds) > 1:
                server = members[0].device.server
                raise ValueError(f"{server} has both Modbus and OPC UA devices")
            if kinds == {True}:
                self._modbus.append(_ModbusPort(members))
            else:
                self._opcua.append(_OpcUaPort(members))

    async def run(self, stop: asyncio.Event, ready: Callable[[Ports], None]) -> None:
        """Serve until `stop` is set. Raises OSError if a port is taken."""
        async with contextlib.AsyncExitStack() as stack:
            raw = self._raw(0)
            ports: dict[str, int] = {}
            for bus in self._modbus:
                bus.show(raw, 0)
                listener = ModbusListener(bus.units.respond, bus.members[0].device.port)
                await stack.enter_async_context(listener)
                ports |= {served.device.name: listener.port for served in bus.members}
            for server in self._opcua:
                stack.push_async_callback(server.stop)
                port = await server.start(raw)
                ports |= {served.device.name: port for served in server.members}
            ready(Ports(ports))
            await show_each_second(self._show, stop)

    async def _show(self, second: int) -> None:
        raw = self._raw(second)
        for bus in self._modbus:
            bus.show(raw, second)
        for server in self._opcua:
            await server.show(raw, second)

    def _raw(self, second: int) -> Floats:
        """Raw values of all devices, faults included."""
        parts = [
            served.signals.raw(disturbed(served.signals, served.faults, second))
            for served in self._served
        ]
        return np.concatenate(parts) if parts else np.empty(0)


class _ModbusPort:
    """The units of all devices on one port."""

    def __init__(self, members: Sequence[_Served]) -> None:
        self.members = members
        spots: dict[int, list[Spot]] = {}
        self._owners: dict[int, list[_Served]] = {}
        for served in members:
            for unit, spot in served.device.spots:
                moved = Spot(
                    served.first + spot.signal, spot.area, spot.start, spot.type, spot.order
                )
                spots.setdefault(unit, []).append(moved)
                owners = self._owners.setdefault(unit, [])
                if served not in owners:
                    owners.append(served)
        self.units = UnitsOnOnePort({unit: UnitMap(found) for unit, found in spots.items()})

    def show(self, raw: Floats, second: int) -> None:
        """Let the registers show this second."""
        ails: dict[int, Disturbance] = {}
        for unit, owners in self._owners.items():
            faults = [fault for served in owners for fault in served.faults]
            ails[unit] = disturbance(faults, unit, second)
        self.units.show(raw, ails)


@dataclass(slots=True)
class _OpcUaPort:
    """One server for all devices on one port; dead while any of them is."""

    members: Sequence[_Served]
    _site: OpcUaSite | None = field(default=None, init=False)

    async def start(self, raw: Floats) -> int:
        """Listen; gives the port."""
        from drivers.sim.site_opcua import NodeSpot, OpcUaSite  # loads asyncua

        nodes = [
            NodeSpot(
                served.first + node.signal, node.tag, node.namespace, node.identifier, node.type
            )
            for served in self.members
            for node in served.device.nodes
        ]
        device = self.members[0].device
        self._site = OpcUaSite(nodes, device.port, path=device.path)
        await self._site.start(raw)
        port = self._site.port
        if self._dead(0):
            await self._site.stop()
        return port

    async def stop(self) -> None:
        """Close everything."""
        if self._site is not None:
            await self._site.stop()

    async def show(self, raw: Floats, second: int) -> None:
        """Let the nodes show this second; go down and come back as the faults say."""
        if self._site is None:
            return
        if self._dead(second):
            await self._site.stop()
            return
        if not self._site.serving:
            await self._site.start(raw)
        under = {
            served.first + at
            for served in self.members
            for at in calibrating(served.signals, served.faults, second)
        }
        await self._site.show(raw, frozenset(under))

    def _dead(self, second: int) -> bool:
        return any(disturbance(served.faults, None, second).dead for served in self.members)


def _by_server(served: Sequence[_Served]) -> list[list[_Served]]:
    groups: dict[tuple[str, str], list[_Served]] = {}
    for member in served:
        server, name = member.device.server, member.device.name
        groups.setdefault((server, "" if server else name), []).append(member)
    return list(groups.values())


__all__ = ["Ports", "Rehearsal", "SimDevice"]

"""What a server says of its nodes beside their values: unit and range (OPC 10000-8, 5.3.2.3).

For commissioning: one session, closed again; nothing is subscribed, nothing remembered. Properties
are read of at most MOST nodes. A node without them is left out; nothing here is an error of a node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drivers.contract import Clock, DriverPoint
from drivers.opcua import services
from drivers.opcua.batches import BatchMaker
from drivers.opcua.client import Link, quiet_library
from drivers.opcua.config import OpcUaAddress, OpcUaConfig
from drivers.opcua.device import Device
from drivers.opcua.events import EventMaker
from drivers.opcua.nodes import NodeFinder, chunks
from drivers.opcua.services import Item, Place
from drivers.opcua.state import State

MOST = 2_000
_CALL = 50
_PROPERTIES = 100  # references asked for of each node; an analog item has some ten
_UNIT, _RANGE = "EngineeringUnits", "EURange"


@dataclass(frozen=True, slots=True)
class Described:
    """Of one point. unit: as the server writes it, empty if not told; low, high: None likewise."""

    unit: str = ""
    low: float | None = None
    high: float | None = None


async def described(
    config: OpcUaConfig, points: Sequence[DriverPoint[OpcUaAddress]], clock: Clock
) -> dict[int, Described]:
    """Ask for units and ranges; by place of the point, from 0. Raises DeviceError."""
    quiet_library()
    device = Device(
        name="check", config=config, points=tuple(points), clock=clock,
        batches=BatchMaker(points, stamp_here=False), events=EventMaker("check", ""),
        state=State(None, "check", points),
    )  # fmt: skip
    link = Link(config, config.servers[0], "plantgate check")
    try:
        await link.open(clock.wall_ns())
        finder = NodeFinder(device, link)
        plain = [h for h in device.leaders if not points[h].address.field]
        items, _ = await finder.find(plain[:MOST])
        size = min(_CALL, finder.surroundings.limits.browse_per_call or _CALL)
        found: dict[int, Described] = {}
        for chunk in chunks(items, size):
            found |= await _of(link, chunk)
        return found
    finally:
        await link.close()


async def _of(link: Link, items: Sequence[Item]) -> dict[int, Described]:
    """Unit and range of a few nodes."""
    wanted: list[tuple[int, str, Place]] = []
    answers = await services.browse(link, [item.place for item in items], _PROPERTIES)
    for item, references in zip(items, answers, strict=True):
        for reference in references:
            name = str(reference.BrowseName.Name)
            if name in (_UNIT, _RANGE) and not reference.BrowseName.NamespaceIndex:
                wanted.append((item.handle, name, services.place_of(reference.NodeId)))
    told: dict[int, dict[str, Any]] = {}
    for chunk in chunks(wanted, _CALL):
        places = [place for _, _, place in chunk]
        values = await services.read_attributes(link, places, services.VALUE)
        for (handle, name, _), (value, _) in zip(chunk, values, strict=True):
            told.setdefault(handle, {})[name] = value
    return {handle: _described(properties) for handle, properties in told.items()}


def _described(properties: dict[str, Any]) -> Described:
    """Read an EUInformation and a Range, as far as they are what they should be."""
    unit, low, high = "", None, None
    with contextlib.suppress(AttributeError, TypeError):
        unit = str(properties[_UNIT].DisplayName.Text or "") if _UNIT in properties else ""
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        if _RANGE in properties:
            low, high = float(properties[_RANGE].Low), float(properties[_RANGE].High)
    return Described(unit, low, high) if low != high else Described(unit)


__all__ = ["Described", "described"]

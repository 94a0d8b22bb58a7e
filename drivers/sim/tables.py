"""Point tables of the simulated plant, as a vendor would hand them over. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from drivers.sim.modbus_server import RegisterMap
from drivers.sim.signals import NAMESPACE, Form, Plant, Signal

_LIMITS = ("low_low", "low", "high", "high_high", "deadband")
_COMMON = ("unit", *_LIMITS, "range_low", "range_high", "priority", "gas", "description")


def modbus_table(plant: Plant) -> str:
    """Point table in CSV for the simulated Modbus device."""
    heading = ("name", "area", "address", "type", "order", "scale", *_COMMON)
    rows = (
        (
            place.signal.tag, place.area, place.address, place.type, "ABCD", place.scale,
            *_common(place.signal),
        )
        for place in RegisterMap(plant).places
    )  # fmt: skip
    return _csv(heading, rows)


def opcua_table(plant: Plant) -> str:
    """Point table in CSV for the simulated OPC UA server."""
    rows = (
        (
            signal.tag,
            f"nsu={NAMESPACE};s={signal.tag}",
            "bool" if signal.form is Form.CONTACT else "float",
            *_common(signal),
        )
        for signal in plant.signals
    )
    return _csv(("name", "node", "type", *_COMMON), rows)


def _common(signal: Signal) -> tuple[object, ...]:
    limits = tuple(getattr(signal.limits, name) for name in _LIMITS)
    gas = signal.form is Form.GAS
    judged = (0.0, 100.0, 1, "CH4") if gas else ("", "", 3, "")
    return (signal.unit, *("" if limit is None else limit for limit in limits), *judged,
            signal.description)  # fmt: skip


def _csv(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return text.getvalue()

"""Faults of a rehearsal: what goes wrong, where, when and for how long. Pure.

    [[fault]]
    device = "gds-1"          # name of a [[device]]
    kind = "dead"             # dead illegal slow drift stuck calibration
    at_s = 60                 # seconds after start
    for_s = 120               # left out: to the end

| kind | more keys | what the device does |
|---|---|---|
| dead | unit | answers nothing; an OPC UA server closes its connections and stops listening |
| illegal | area, from, to (wire addresses, both included), unit | exception 2 for any of these |
| slow | delay_ms, unit | answers so much later |
| drift | tag, per_s | the value moves away by so much each second |
| stuck | tag | the value stays what it was |
| calibration | tag, status_tag, status_value | value at zero; another point says so, if named |

unit limits a fault to one unit id of a device that has points on several. illegal and slow are of
Modbus devices. A value under calibration carries Uncertain_SensorCalibration on OPC UA.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from drivers.contract import StrictModel
from drivers.sim.signals import Floats
from drivers.sim.site_signals import SiteSignals, held

AREAS: Mapping[str, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
"""Areas by the function that reads them."""

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "dead": (),
    "illegal": ("area", "from", "to"),
    "slow": ("delay_ms",),
    "drift": ("tag", "per_s"),
    "stuck": ("tag",),
    "calibration": ("tag",),
}
_MAY: Mapping[str, tuple[str, ...]] = {
    "dead": ("unit",),
    "illegal": ("unit",),
    "slow": ("unit",),
    "calibration": ("status_tag", "status_value"),
}
_OF_KINDS = ("area", "from", "to", "delay_ms", "tag", "per_s", "status_tag", "status_value", "unit")
_MODBUS_ONLY = frozenset({"illegal", "slow"})


class Fault(StrictModel):
    """One [[fault]]; see the module."""

    device: str
    kind: Literal["dead", "illegal", "slow", "drift", "stuck", "calibration"]
    at_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    for_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    area: Literal["coil", "discrete", "holding", "input"] | None = None
    first: int | None = Field(default=None, validation_alias="from", ge=0, le=65535)
    last: int | None = Field(default=None, validation_alias="to", ge=0, le=65535)
    delay_ms: int | None = Field(default=None, ge=1, le=600_000)
    tag: str | None = None
    per_s: float | None = Field(default=None, allow_inf_nan=False)
    status_tag: str | None = None
    status_value: float | None = Field(default=None, allow_inf_nan=False)
    unit: int | None = Field(default=None, ge=0, le=255)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = {key for key in _OF_KINDS if self._key(key) is not None}
        needed = set(_NEEDED[self.kind])
        if missing := sorted(needed - given):
            raise ValueError(f"a fault of kind {self.kind} needs {', '.join(missing)}")
        if surplus := sorted(given - needed - set(_MAY.get(self.kind, ()))):
            raise ValueError(f"a fault of kind {self.kind} takes no {', '.join(surplus)}")
        if self.first is not None and self.last is not None and self.last < self.first:
            raise ValueError(f"to ({self.last}) must not be below from ({self.first})")
        if (self.status_tag is None) != (self.status_value is None):
            raise ValueError("status_tag and status_value go together")
        return self

    def active(self, second: float) -> bool:
        """Tell whether the fault is there `second` seconds after start."""
        return self.at_s <= second < self.at_s + (np.inf if self.for_s is None else self.for_s)

    def _key(self, key: str) -> object:
        return getattr(self, {"from": "first", "to": "last"}.get(key, key))


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What ails one unit of a device at one moment. illegal: (area, first, end)."""

    dead: bool = False
    delay_s: float = 0.0
    illegal: tuple[tuple[int, int, int], ...] = ()


def complaints(fault: Fault, signals: SiteSignals | None, modbus: bool) -> Iterator[str]:
    """Mistakes of a fault that only the site shows. signals: of its device, None if unknown."""
    if signals is None:
        yield f"there is no simulated device {fault.device!r}"
        return
    if fault.kind in _MODBUS_ONLY and not modbus:
        yield f"a fault of kind {fault.kind} is for Modbus devices only"
    for tag in (fault.tag, fault.status_tag):
        if tag is not None and tag not in signals.places:
            yield f"device {fault.device} has no point {tag!r}"


def disturbance(faults: Sequence[Fault], unit: int | None, second: float) -> Disturbance:
    """What ails a unit of the device that these faults are of."""
    now = [f for f in faults if f.active(second) and (f.unit is None or f.unit == unit)]
    return Disturbance(
        dead=any(fault.kind == "dead" for fault in now),
        delay_s=max((f.delay_ms / 1000.0 for f in now if f.delay_ms is not None), default=0.0),
        illegal=tuple(
            (AREAS[f.area], f.first, f.last + 1)
            for f in now
            if f.area is not None and f.first is not None and f.last is not None
        ),
    )


def disturbed(signals: SiteSignals, faults: Sequence[Fault], second: int) -> Floats:
    """Give the values of a device at a second, faults included."""
    values = signals.values(second)
    for fault in faults:
        if fault.tag is None or not fault.active(second):
            continue
        at = signals.places[fault.tag]
        point = signals.points[at]
        if fault.kind == "stuck":
            values[at] = signals.values(int(fault.at_s))[at]
        elif fault.kind == "drift" and fault.per_s is not None:
            low, high = held(point)
            moved = values[at] + fault.per_s * (second - fault.at_s)
            values[at] = min(max(moved, low), high)
        elif fault.kind == "calibration":
            values[at] = 0.0 if point.range_low is None else point.range_low
            if fault.status_tag is not None and fault.status_value is not None:
                values[signals.places[fault.status_tag]] = fault.status_value
    return values


def calibrating(signals: SiteSignals, faults: Sequence[Fault], second: int) -> frozenset[int]:
    """Places of the points under calibration."""
    return frozenset(
        signals.places[fault.tag]
        for fault in faults
        if fault.kind == "calibration" and fault.tag is not None and fault.active(second)
    )


__all__ = ["AREAS", "Disturbance", "Fault", "calibrating", "complaints", "disturbance", "disturbed"]

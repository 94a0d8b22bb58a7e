"""Point 点位: one measured thing, as the whole gateway knows it."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.contract import ValueKind


@dataclass(frozen=True, slots=True)
class Limits:
    """Alarm limits in engineering units; None where there is none. Delays in seconds."""

    low_low: float | None = None
    low: float | None = None
    high: float | None = None
    high_high: float | None = None
    deadband: float = 0.0
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0

    def any(self) -> bool:
        """Tell whether at least one limit is set."""
        return not (self.low_low is self.low is self.high is self.high_high is None)


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the catalogue.

    id: small integer, never reused within a log.  name: `device/tag`.  kind: column type.
    value = raw * scale + offset, in `unit`.  priority: 1 (highest) to 4.
    alarm_source: "gateway" (its limits judge) or "panel" (the device's own bit judges).
    alarm_of: of such a bit, the alarm that it is: `device/tag:high`; else empty.
    """

    id: int
    name: str
    kind: ValueKind = ValueKind.FLOAT
    unit: str = ""
    description: str = ""
    scale: float = 1.0
    offset: float = 0.0
    range_low: float | None = None
    range_high: float | None = None
    limits: Limits = Limits()
    priority: int = 3
    gas: str = ""
    place: str = ""
    hazard: str = ""
    equipment: str = ""
    indicator: str = ""
    operator_position: str = ""
    alarm_source: str = "gateway"
    alarm_of: str = ""

    @property
    def device(self) -> str:
        """Name of the device or camera: what stands before the first slash."""
        return self.name.partition("/")[0]

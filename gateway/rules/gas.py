"""What every gas detector point has besides its two levels: fault, over-range, inhibit. Pure.

A point with a `gas` gets three alarms of its own quality: 故障 fault, 超量程 over-range and 抑制
inhibit are separate things from level 1 (high) and level 2 (high_high), and a detector in one of
them is not a detector without gas.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.contract import Quality
from gateway.model.point import Point
from gateway.rules.condition_spec import AlarmSpec, Kind

FAULT, OVER_RANGE, INHIBITED = "gas_fault", "gas_over_range", "gas_inhibited"
_STATES = (
    (FAULT, (Quality.BAD_SENSOR_FAULT,), "the detector has a fault 探测器故障"),
    (OVER_RANGE, (Quality.UNCERTAIN_OUT_OF_RANGE, Quality.BAD_OUT_OF_RANGE),
     "the reading is beyond the range 超量程"),
    (INHIBITED, (Quality.UNCERTAIN_INHIBITED,), "the detector is inhibited 探测器被抑制"),
)  # fmt: skip


def gas_specs(points: Sequence[Point]) -> list[AlarmSpec]:
    """Alarms of all gas points; device alarm bits (points with a dot and a limit) have none."""
    names = tuple(point.name for point in points if point.gas)
    if not names:
        return []
    return [
        AlarmSpec(
            name=condition,
            kind=Kind.QUALITY,
            points=names,
            condition=condition,
            rule=f"{condition.replace('_', '.', 1)}/1",
            qualities=tuple(int(code) for code in codes),
            text=text,
        )
        for condition, codes, text in _STATES
    ]

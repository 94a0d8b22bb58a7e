"""What every gas detector point has besides its two levels: fault, ranges, inhibit, test. Pure.

A point with a `gas` gets alarms of its own quality: 故障 fault, 超量程 over-range, 低于量程 below
the range, 抑制 inhibit and 未退出标定 left in a test are separate things from level 1 (high) and
level 2 (high_high), and a detector in one of them is not a detector without gas.

Guarantees: a value below the range is no over-range; none of these returns by a quality that does
not tell (a lost link ends no over-range).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from drivers.contract import Quality
from gateway.model.point import Point
from gateway.rules.condition_spec import AlarmSpec, Kind

FAULT, OVER_RANGE, INHIBITED = "gas_fault", "gas_over_range", "gas_inhibited"
UNDER_RANGE, LEFT_IN_TEST = "gas_under_range", "gas_left_in_test"
UNDER_RANGE_RATIO = 0.1
UNDER_RANGE_S = 10.0
LEFT_IN_TEST_S = 3600.0
"""Ours, from no document: a zero that drifts by less than a tenth of the span is usual and only
marks the value; a calibration takes minutes."""

_STATES = (
    (FAULT, (Quality.BAD_SENSOR_FAULT,), 0.0, "the detector has a fault 探测器故障"),
    (INHIBITED, (Quality.UNCERTAIN_INHIBITED,), 0.0, "the detector is inhibited 探测器被抑制"),
    (LEFT_IN_TEST, (Quality.GOOD_SIMULATED, Quality.UNCERTAIN_WARM_UP,
                    Quality.UNCERTAIN_CALIBRATING, Quality.UNCERTAIN_UNDER_TEST), LEFT_IN_TEST_S,
     "the detector is in warm-up, calibration or simulation for an hour 探测器未退出标定或模拟"),
)  # fmt: skip
_OVER = (Quality.UNCERTAIN_OUT_OF_RANGE, Quality.BAD_OUT_OF_RANGE)


def gas_specs(points: Sequence[Point]) -> list[AlarmSpec]:
    """Alarms of all gas points; device alarm bits (points with a dot and a limit) have none."""
    gas = [point for point in points if point.gas]
    names = tuple(point.name for point in gas)
    if not names:
        return []
    specs = [
        _spec(condition, names, qualities, text, on_delay_s=delay_s, holds="bad")
        for condition, qualities, delay_s, text in _STATES
    ]
    for low in dict.fromkeys(point.range_low for point in gas):
        members = tuple(point.name for point in gas if point.range_low == low)
        text = "the reading is beyond the range 超量程"
        specs.append(_spec(OVER_RANGE, members, _OVER, text, holds="judged",
                           least=-math.inf if low is None else low))  # fmt: skip
    for most in dict.fromkeys(_clearly_below(point) for point in gas):
        members = tuple(point.name for point in gas if _clearly_below(point) == most)
        if most is not None:
            text = "the reading is below the range, a drifted zero or a broken line 低于量程"
            specs.append(_spec(UNDER_RANGE, members, _OVER[:1], text, holds="judged", most=most,
                               on_delay_s=UNDER_RANGE_S, off_delay_s=UNDER_RANGE_S))  # fmt: skip
    return specs


def _clearly_below(point: Point) -> float | None:
    """Value from which on a reading is below the range by more than drift; None without a range."""
    low, high = point.range_low, point.range_high
    return None if low is None or high is None else low - UNDER_RANGE_RATIO * (high - low)


def _spec(
    condition: str, names: tuple[str, ...], qualities: Sequence[Quality], text: str, *, holds: str,
    least: float = -math.inf, most: float = math.inf, on_delay_s: float = 0.0,
    off_delay_s: float = 0.0,
) -> AlarmSpec:  # fmt: skip
    return AlarmSpec(
        name=condition,
        kind=Kind.QUALITY,
        points=names,
        condition=condition,
        rule=f"{condition.replace('_', '.', 1)}/1",
        qualities=tuple(int(code) for code in qualities),
        text=text,
        least=least,
        most=most,
        holds=holds,
        on_delay_s=on_delay_s,
        off_delay_s=off_delay_s,
    )

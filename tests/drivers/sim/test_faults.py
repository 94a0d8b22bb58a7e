"""Faults: what may be said, when they are there, and what they do to values."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from drivers.sim.faults import (
    Disturbance,
    Fault,
    calibrating,
    complaints,
    disturbance,
    disturbed,
)
from drivers.sim.site_signals import SimPoint, SiteSignals

SIGNALS = SiteSignals(
    "d",
    [SimPoint("A", range_low=4.0, range_high=20.0), SimPoint("B"), SimPoint("S", whole=True)],
    1,
)


def fault(kind: str, **keys: Any) -> Fault:
    return Fault.model_validate({"device": "d", "kind": kind, **keys})


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"kind": "illegal", "area": "holding"}, "needs from, to"),
        ({"kind": "drift", "tag": "A"}, "needs per_s"),
        ({"kind": "dead", "tag": "A"}, "takes no tag"),
        ({"kind": "stuck", "tag": "A", "unit": 1}, "takes no unit"),
        ({"kind": "slow"}, "needs delay_ms"),
        ({"kind": "illegal", "area": "input", "from": 5, "to": 4}, "must not be below from"),
        ({"kind": "calibration", "tag": "A", "status_tag": "S"}, "go together"),
        ({"kind": "dead", "for_s": 0.0}, "greater than 0"),
        ({"kind": "gone"}, "Input should be"),
    ],
)
def test_what_makes_no_sense_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Fault.model_validate({"device": "d", **keys})


def test_what_only_the_site_shows() -> None:
    wrong = fault("calibration", tag="X", status_tag="Y", status_value=1.0)
    assert list(complaints(wrong, SIGNALS, True)) == [
        "device d has no point 'X'",
        "device d has no point 'Y'",
    ]
    slow = fault("slow", delay_ms=5)
    assert list(complaints(slow, SIGNALS, False)) == [
        "a fault of kind slow is for Modbus devices only"
    ]
    assert list(complaints(slow, SIGNALS, True)) == []
    assert list(complaints(slow, None, False)) == ["there is no simulated device 'd'"]


def test_a_fault_is_there_from_its_start_to_its_end() -> None:
    timed = fault("dead", at_s=10.0, for_s=5.0)
    assert [timed.active(second) for second in (9, 10, 14, 15)] == [False, True, True, False]
    assert fault("dead", at_s=10.0).active(10**9)


def test_what_ails_a_unit() -> None:
    faults = [
        fault("dead", unit=2),
        fault("slow", delay_ms=250),
        fault("slow", delay_ms=100),
        fault("illegal", area="holding", **{"from": 4, "to": 5}),
        fault("illegal", area="input", at_s=9.0, **{"from": 0, "to": 0}),
    ]
    assert disturbance(faults, 1, 0) == Disturbance(False, 0.25, ((3, 4, 6),))
    assert disturbance(faults, 2, 9) == Disturbance(True, 0.25, ((3, 4, 6), (4, 0, 1)))


def test_stuck_drifting_and_calibrated_values() -> None:
    stuck = fault("stuck", tag="B", at_s=10.0, for_s=20.0)
    drift = fault("drift", tag="A", per_s=0.5, at_s=10.0)
    zero = fault("calibration", tag="A", status_tag="S", status_value=8.0, at_s=100.0)
    faults = [stuck, drift, zero]
    before, at, later = SIGNALS.values(9), SIGNALS.values(10), SIGNALS.values(25)
    assert disturbed(SIGNALS, faults, 9).tolist() == before.tolist()
    seen = disturbed(SIGNALS, faults, 25)
    assert seen[1] == at[1]
    assert seen[0] == pytest.approx(later[0] + 7.5)
    assert disturbed(SIGNALS, faults, 30)[1] == SIGNALS.values(30)[1]
    assert disturbed(SIGNALS, faults, 100).tolist()[0::2] == [4.0, 8.0]
    assert calibrating(SIGNALS, faults, 99) == frozenset()
    assert calibrating(SIGNALS, faults, 100) == {0}


def test_drift_ends_where_the_register_ends() -> None:
    signals = SiteSignals("d", [SimPoint("A", scale=0.1, whole=True, raw_low=0, raw_high=1000)], 1)
    (value,) = disturbed(signals, [fault("drift", tag="A", per_s=50.0)], 10**6).tolist()
    assert value == 100.0

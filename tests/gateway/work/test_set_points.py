"""The audit of set points: one step on either side of each ceiling of GB/T 50493 5.5.2."""

from __future__ import annotations

import datetime as dt

import pytest

from gateway.model.point import Limits
from gateway.rules.rulebook import shipped
from gateway.work.gases import shipped_gases
from gateway.work.set_points import Audit

AUDIT = Audit(shipped(), dt.date(2026, 11, 28), shipped_gases())

# gas, unit, right limits, wrong limits, column, what is said
CEILINGS = [
    ("CH4", "%LEL", (None, None, 25, 50), (None, None, 25.1, 50), "high", "at most 25 %LEL"),
    ("甲烷", "%LEL", (None, None, 25, 50), (None, None, 25, 50.1), "high_high", "at most 50 %LEL"),
    ("H2S", "mg/m³", (None, None, 10, 20), (None, None, 10.1, 20), "high", "at most 100 %OEL"),
    ("H2S", "mg/m3", (None, None, 10, 20), (None, None, 10, 20.1), "high_high", "10 %IDLH"),
    ("H2S", "ppm", (None, None, 7.1, 14.3), (None, None, 7.2, 14.3), "high", "100.4 %OEL"),
    ("O2", "%VOL", (None, 19.5, 23.5, None), (None, 19.4, 23.5, None), "low", "19.5 %vol"),
    ("氧气", "%vol", (None, 19.5, 23.5, None), (None, 19.5, 23.6, None), "high", "23.5 %vol"),
    ("CH4", "LEL·m", (None, None, 1, 2), (None, None, 1.1, 2), "high", "1 LEL·m"),
    ("CH4", "LEL.m", (None, None, 1, 2), (None, None, 1, 2.1), "high_high", "2 LEL·m"),
    ("methane", "%vol", (None, None, 1.1, 2.2), (None, None, 1.11, 2.2), "high", "25 %LEL"),
]


@pytest.mark.parametrize(("gas", "unit", "right", "wrong", "column", "said"), CEILINGS)
def test_a_ceiling_breaks_one_step_above_it(
    gas: str,
    unit: str,
    right: tuple[float | None, ...],
    wrong: tuple[float | None, ...],
    column: str,
    said: str,
) -> None:
    names = ("low_low", "low", "high", "high_high")
    good, bad = (Limits(**dict(zip(names, four, strict=True))) for four in (right, wrong))  # type: ignore[arg-type] # four limits by name
    assert AUDIT.of(gas, unit, good) == []
    [finding] = AUDIT.of(gas, unit, bad)
    assert finding.column == column
    assert said in finding.message
    assert "GB/T 50493-2019" in finding.message
    assert "5.5.2" in finding.message
    assert "secondary source" in finding.message


OTHER = [
    ("CH4", "%LEL", Limits(high=25), "high_high", "level 2 is not set"),
    ("CH4", "%LEL", Limits(high_high=50), "high", "level 1 is not set"),
    ("CH4", "%LEL", Limits(low=5, high=25, high_high=50), "low", "wrong direction"),
    ("CH4", "%LEL", Limits(high=25, high_high=25), "high_high", "must lie above level 1"),
    ("O2", "%vol", Limits(high=23.5), "low", "no oxygen-deficient level"),
    ("O2", "ppm", Limits(low=19.5), "unit", "judged in %vol"),
    ("CH4", "mmHg", Limits(high=25, high_high=50), "unit", "none of %LEL"),
    ("CH4", "", Limits(high=25, high_high=50), "unit", "none of %LEL"),
    ("unobtainium", "ppm", Limits(high=1, high_high=2), "gas", "not in the gas table"),
]


@pytest.mark.parametrize(("gas", "unit", "limits", "column", "said"), OTHER)
def test_what_else_is_found(gas: str, unit: str, limits: Limits, column: str, said: str) -> None:
    [finding] = AUDIT.of(gas, unit, limits)
    assert finding.column == column
    assert said in finding.message


def test_what_has_no_exposure_limit_is_said_not_guessed() -> None:
    found = AUDIT.of("propane", "ppm", Limits(high=100, high_high=200))
    assert [one.column for one in found] == ["high", "high_high"]
    assert all("cannot be judged: no exposure limit of propane" in one.message for one in found)


def test_percent_lel_needs_no_table_and_bits_and_bare_points_are_none_of_it() -> None:
    assert AUDIT.of("a mixture", "%LEL", Limits(high=25, high_high=50)) == []
    assert AUDIT.of("CH4", "", Limits(high=0.5)) == []
    assert AUDIT.of("CH4", "%LEL", Limits()) == []
    assert AUDIT.of("", "%LEL", Limits(high=99)) == []

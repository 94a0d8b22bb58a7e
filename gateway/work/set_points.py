"""Audit of the set points of fixed gas detectors 探测器报警设定值 against GB/T 50493. Pure.

Guarantees: nothing is changed and no alarm comes from here; each finding names level, value,
ceiling, clause and how well its source was read; what cannot be judged (unknown gas or unit, no
exposure limit) is said and never guessed.

Level 1 is `high`, level 2 is `high_high`; oxygen has `low` (deficient) and `high` (rich).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.wording import shown
from gateway.model.point import Limits
from gateway.rules.rulebook import Rule, RuleBooks
from gateway.work.gases import OXYGEN, Gas, GasError, GasTable

_UNITS = {
    "%lel": "%LEL", "lel%": "%LEL", "lel": "%LEL",
    "%vol": "%vol", "vol%": "%vol", "%v/v": "%vol", "%": "%vol",
    "ppm": "ppm", "mg/m3": "mg/m3", "mg/m³": "mg/m3",
    "lel·m": "LEL·m", "lel.m": "LEL·m", "lelm": "LEL·m", "lel*m": "LEL·m",
}  # fmt: skip
_LEVELS = (("high", 1), ("high_high", 2))
_BINARY = {0.5, 1.0}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the standard asks; `column` of the point table."""

    column: str
    message: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What set points are held against."""

    books: RuleBooks
    on: dt.date
    gases: GasTable

    def of(self, gas: str, unit: str, limits: Limits) -> list[Finding]:
        """Judge one detector; one without a gas or without limits gives nothing."""
        if not gas or not limits.any() or _is_a_bit(unit, limits):
            return []
        return list(self._findings(gas, _UNITS.get(unit.strip().lower().replace(" ", "")), unit,
                                   limits))  # fmt: skip

    def _findings(
        self, gas: str, unit: str | None, written: str, limits: Limits
    ) -> Iterator[Finding]:
        if unit is None:
            yield Finding(
                "unit",
                f"set points of {gas} cannot be judged: unit {shown(written)} is none of %LEL,"
                " %vol, ppm, mg/m3, LEL·m",
            )
            return
        try:
            known: Gas | None = self.gases.find(gas)
        except GasError as error:
            known = None
            if unit not in {"%LEL", "LEL·m"}:
                yield Finding("gas", f"set points cannot be judged: {error}")
                return
        if known is not None and known.name == OXYGEN:
            yield from self._oxygen(unit, limits)
            return
        yield from self._levels(unit, known, limits)

    def _oxygen(self, unit: str, limits: Limits) -> Iterator[Finding]:
        if unit != "%vol":
            yield Finding("unit", f"oxygen is judged in %vol, not in {unit}")
            return
        if limits.low is None:
            rule = self._rule("gas.oxygen.deficient")
            yield Finding("low", f"no oxygen-deficient level is set: {_cited(rule)}")
        for column, rule_id in (("low", "gas.oxygen.deficient"), ("high", "gas.oxygen.rich")):
            value, rule = getattr(limits, column), self._rule(rule_id)
            if value is not None and not rule.holds(value):
                yield Finding(column, f"is set to {value:g} %vol: {_cited(rule)}")

    def _levels(self, unit: str, gas: Gas | None, limits: Limits) -> Iterator[Finding]:
        for column in ("low", "low_low"):
            if getattr(limits, column) is not None:
                yield Finding(column, "a low limit has the wrong direction for this gas:"
                              " its alarms rise")  # fmt: skip
        family = {"LEL·m": "open_path", "%LEL": "combustible"}.get(unit, "")
        if not family:
            family = "combustible" if unit == "%vol" and gas and gas.combustible else "toxic"
        for column, level in _LEVELS:
            value, rule = getattr(limits, column), self._rule(f"gas.{family}.level{level}")
            if value is None:
                yield Finding(column, f"level {level} is not set: {_cited(rule)}")
                continue
            yield from self._ceiling(column, level, value, unit, gas, rule)
        one, two = limits.high, limits.high_high
        if one is not None and two is not None and one >= two:
            yield Finding("high_high", f"level 2 ({two:g}) must lie above level 1 ({one:g})")

    def _ceiling(
        self, column: str, level: int, value: float, unit: str, gas: Gas | None, rule: Rule
    ) -> Iterator[Finding]:
        try:
            measured = _converted(value, unit, gas, rule.unit)
        except GasError as error:
            yield Finding(column, f"level {level} cannot be judged: {error}")
            return
        if rule.holds(measured):
            return
        same = "" if unit == rule.unit else f" = {measured:.4g} {rule.unit}"
        otherwise = ""
        if rule.unit == "%OEL":
            idlh = self._rule(f"gas.toxic.level{level}_idlh")
            otherwise = (
                f"; where the range cannot reach it, at most {idlh.value:g} {idlh.unit}; the"
                " exposure limit is the gas table's, not compared with GBZ 2.1"
            )
        yield Finding(
            column, f"level {level} is set to {value:g} {unit}{same}: {_cited(rule)}{otherwise}"
        )

    def _rule(self, rule_id: str) -> Rule:
        return self.books.get(rule_id, on=self.on)


def _converted(value: float, unit: str, gas: Gas | None, wanted: str) -> float:
    if unit == wanted:
        return value
    if gas is None:
        raise GasError("the gas is unknown")
    if wanted == "%OEL":
        return gas.oel_percent(value, unit)
    return gas.vol_percent(value, unit) / gas.lel_least * 100  # the strict side


def _is_a_bit(unit: str, limits: Limits) -> bool:
    given = {
        v for v in (limits.low_low, limits.low, limits.high, limits.high_high) if v is not None
    }
    return not unit and given <= _BINARY


def _cited(rule: Rule) -> str:
    return f"{rule.citation}: {rule.en} [{rule.state.words}]"

"""Risk view 风险视图: the grade of the enterprise and the risk of its units, as they came in.

Guarantees: two things with the same four colours that are never mixed: `EnterpriseGrade` is the
authority's word on the enterprise (鲁安发〔2023〕13号 item 24), `RiskLevel` dual prevention's on
one unit. The newest word by its own time holds, in whatever order they come; a deleted one is gone.
Nothing is computed here: what nobody said is not known.

Fed with the events `intake.enterprise_grade` and `intake.unit_risk`. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

GRADE_EVENT, UNIT_EVENT = "intake.enterprise_grade", "intake.unit_risk"
Scalar = str | int | float | bool


class EnterpriseGrade(enum.Enum):
    """企业分级."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    BLUE = "blue"

    @property
    def words(self) -> str:
        """For a person."""
        return _GRADES[self]


class RiskLevel(enum.Enum):
    """风险等级 of a unit, 1 重大 to 4 低."""

    MAJOR = "major"
    LARGER = "larger"
    GENERAL = "general"
    LOW = "low"

    @property
    def words(self) -> str:
        """For a person."""
        return _LEVELS[self]


_GRADES = {
    EnterpriseGrade.RED: "red 红: production stopped for rectification 停产停业整顿",
    EnterpriseGrade.ORANGE: "orange 橙: a full inspection at least each half-year 每半年全面检查",
    EnterpriseGrade.YELLOW: "yellow 黄: random checks 抽查",
    EnterpriseGrade.BLUE: "blue 蓝: random checks 抽查",
}
_LEVELS = {
    RiskLevel.MAJOR: "major 重大风险（红）",
    RiskLevel.LARGER: "larger 较大风险（橙）",
    RiskLevel.GENERAL: "general 一般风险（黄）",
    RiskLevel.LOW: "low 低风险（蓝）",
}


@dataclass(frozen=True, slots=True)
class _Said:
    word: str
    time_ns: int
    deleted: bool


class RiskView:
    """What is known of grade and levels."""

    def __init__(self) -> None:
        self._grade: _Said | None = None
        self._units: dict[str, _Said] = {}

    def feed(self, kind: str, said: Mapping[str, Scalar], time_ns: int) -> bool:
        """Take an event; tells whether it meant anything. time_ns: the event's own time."""
        gone = said.get("deleted") in {True, "true"}
        if kind == GRADE_EVENT and said.get("grade") in {grade.value for grade in EnterpriseGrade}:
            self._grade = _newer(self._grade, _Said(str(said["grade"]), time_ns, gone))
            return True
        unit, level = said.get("unit"), said.get("level")
        if kind == UNIT_EVENT and unit and level in {one.value for one in RiskLevel}:
            now = _Said(str(level), time_ns, gone)
            self._units[str(unit)] = _newer(self._units.get(str(unit)), now)
            return True
        return False

    @property
    def grade(self) -> EnterpriseGrade | None:
        """Grade of the enterprise, or None if nobody said it."""
        if self._grade is None or self._grade.deleted:
            return None
        return EnterpriseGrade(self._grade.word)

    @property
    def units(self) -> dict[str, RiskLevel]:
        """Level of each unit, the highest risk first."""
        known = {unit: RiskLevel(s.word) for unit, s in self._units.items() if not s.deleted}
        order = list(RiskLevel)
        return dict(sorted(known.items(), key=lambda one: (order.index(one[1]), one[0])))


def _newer(before: _Said | None, now: _Said) -> _Said:
    return now if before is None or now.time_ns >= before.time_ns else before

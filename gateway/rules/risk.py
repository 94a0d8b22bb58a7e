"""Risk view 风险视图: the grade of the enterprise and the risk of its units, as they came in.

Guarantees: two things with the same four colours that are never mixed: `EnterpriseGrade` is the
authority's word on the enterprise (鲁安发〔2023〕13号 item 24), `RiskLevel` dual prevention's on
one unit. The newest word by its own time holds, in whatever order they come; a deleted one is gone.
Nothing is computed here: what nobody said is not known.

Fed with the events `intake.enterprise_grade` and `intake.unit_risk`; kept over a restart in the
log's state (STATE). What it raises: gateway/uplink/reporting.py. Pure.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from gateway.rules.open_alarm import StateError

GRADE_EVENT, UNIT_EVENT = "intake.enterprise_grade", "intake.unit_risk"
STATE = "risk.view"
KINDS = frozenset({GRADE_EVENT, UNIT_EVENT})
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

    @property
    def rank(self) -> int:
        """1 for the highest, red, to 4."""
        return list(EnterpriseGrade).index(self) + 1


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

    @property
    def rank(self) -> int:
        """1 for the highest, major, to 4."""
        return list(RiskLevel).index(self) + 1


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
    """What is known of grade and levels. restored: an earlier `state()`, else StateError."""

    def __init__(self, restored: bytes = b"") -> None:
        self._grade: _Said | None = None
        self._units: dict[str, _Said] = {}
        if restored:
            self._restore(restored)

    def _restore(self, restored: bytes) -> None:
        try:
            raw = json.loads(restored)
            grade = raw["grade"]
            self._grade = _Said(**grade) if grade is not None else None
            self._units = {str(unit): _Said(**said) for unit, said in raw["units"].items()}
            known = (self.grade, self.units)  # words that are none raise here
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(f"grade and risk cannot be read: {error}") from error
        del known

    def state(self) -> bytes:
        """Encode what must survive a restart."""
        grade = asdict(self._grade) if self._grade is not None else None
        units = {unit: asdict(said) for unit, said in self._units.items()}
        return json.dumps({"grade": grade, "units": units}, ensure_ascii=False).encode()

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

    def statistics(self) -> dict[str, float]:
        """For metrics: grade 1 (red) to 4 (blue), 0 where nobody said it, and units by level."""
        levels = list(self.units.values())
        found = {f"units_{level.value}": float(levels.count(level)) for level in RiskLevel}
        return {"grade": float(self.grade.rank if self.grade is not None else 0), **found}

    @property
    def units(self) -> dict[str, RiskLevel]:
        """Level of each unit, the highest risk first."""
        known = {unit: RiskLevel(s.word) for unit, s in self._units.items() if not s.deleted}
        order = list(RiskLevel)
        return dict(sorted(known.items(), key=lambda one: (order.index(one[1]), one[0])))


def _newer(before: _Said | None, now: _Said) -> _Said:
    return now if before is None or now.time_ns >= before.time_ns else before

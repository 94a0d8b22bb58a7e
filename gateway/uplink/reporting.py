"""How often a destination with a filter is told, by grade of the enterprise and risk of units.

Guarantees: while the enterprise's grade 企业分级 or the risk 风险等级 of any unit is as high as the
site says or higher, the destination's closer choice holds, else its normal one; each change is told
once, with why. What nobody has said raises nothing. What is stored is not touched either way. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.rules.risk import EnterpriseGrade, RiskLevel, RiskView
from gateway.uplink.thin import Choice


@dataclass(frozen=True, slots=True)
class Closer:
    """A choice that leaves out less, and from which grade or risk on it holds; None: from none."""

    choice: Choice
    grade: EnterpriseGrade | None = None
    unit_risk: RiskLevel | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """The choice that holds from now on, and why, in half a sentence."""

    choice: Choice
    why: str
    raised: bool


class Reporting:
    """Which of its two choices a destination has now; begins with the normal one."""

    def __init__(self, normal: Choice, closer: Closer) -> None:
        self._normal = normal
        self._closer = closer
        self._why = ""

    @property
    def raised(self) -> bool:
        """Tell whether the closer choice holds."""
        return bool(self._why)

    def feed(self, view: RiskView) -> Turn | None:
        """Take what is known of grade and risk; gives the turn if the choice is another now."""
        before, self._why = self._why, self._reason(view)
        if bool(before) == bool(self._why):
            return None
        if self._why:
            return Turn(self._closer.choice, self._why, raised=True)
        return Turn(self._normal, "grade and risk are lower again 等级已降低", raised=False)

    def _reason(self, view: RiskView) -> str:
        grade, least = view.grade, self._closer.grade
        if least is not None and grade is not None and grade.rank <= least.rank:
            return f"the grade of the enterprise 企业分级 is {grade.words}"
        for unit, level in view.units.items():  # the highest risk first
            least_risk = self._closer.unit_risk
            if least_risk is not None and level.rank <= least_risk.rank:
                return f"the risk of {unit} 风险等级 is {level.words}"
        return ""

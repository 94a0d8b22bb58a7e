"""What an alarm beyond the four limits is: kind, points and numbers of one [[alarm]]. Pure.

| kind | active while |
|---|---|
| rate | the value changes by `limit` or more a minute, over `over_s` |
| deviation | the value is `limit` or more away from the point `reference` |
| discrete, interlock_bypass 联锁旁路 | the value is one of `values` |
| system_out_of_service 四个系统停用 | the value is one of `values` |
| stale | no sample has come for `after_s` |
| frozen | the value has not changed for `after_s` |
| quality | the quality is bad, or of `qualities` |
| valve_discrepancy 切断阀不一致 | command and position differ, for the travel time |
| disagreement | the panel's bit `reference` and the limit (with its deadband) do not agree |
| expression | the CEL expression is true |

An alarm's condition is "kind.name", so that two of a kind on one point are two alarms.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field


class Kind(enum.Enum):
    """Kinds of alarms beside limits."""

    RATE = "rate"
    DEVIATION = "deviation"
    DISCRETE = "discrete"
    INTERLOCK_BYPASS = "interlock_bypass"
    SYSTEM = "system_out_of_service"
    STALE = "stale"
    FROZEN = "frozen"
    QUALITY = "quality"
    VALVE = "valve_discrepancy"
    DISAGREEMENT = "disagreement"
    EXPRESSION = "expression"


MATCHES = frozenset({Kind.DISCRETE, Kind.INTERLOCK_BYPASS, Kind.SYSTEM})
PAIRS = frozenset({Kind.DEVIATION, Kind.VALVE, Kind.DISAGREEMENT})


@dataclass(frozen=True, slots=True)
class AlarmSpec:
    """One alarm on one or more points.

    points: names, not patterns.  condition: word on the alarm record.  rule: id and version.
    priority: 0 takes the point's.  limit, deadband: in the point's unit (rate: a minute).
    direction: of a rate, 1 up, -1 down, 0 both.  qualities: codes; empty means every bad one.
    least, most: of alarms on quality, values for which it counts; one that is none always does.
    holds: of alarms on quality, what neither raises nor returns: "bad" quality, or all that is not
    "judged"; nothing if empty.
    variables: point name of each variable of the expression.  text: words for a person.
    """

    name: str
    kind: Kind
    points: tuple[str, ...]
    condition: str = ""
    rule: str = ""
    priority: int = 0
    limit: float = 0.0
    deadband: float = 0.0
    direction: int = 0
    over_s: float = 60.0
    reference: str = ""
    values: tuple[float, ...] = ()
    qualities: tuple[int, ...] = ()
    least: float = -math.inf
    most: float = math.inf
    holds: str = ""
    after_s: float = 0.0
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0
    expression: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    @property
    def word(self) -> str:
        """Condition on the alarm record."""
        return self.condition or f"{self.kind.value}.{self.name}"

    @property
    def rule_name(self) -> str:
        """Rule on the alarm record."""
        return self.rule or f"alarm.{self.kind.value}/1"


def said(kind: Kind) -> str:
    """What is the matter, for the text of an alarm."""
    return _SAID[kind]


_SAID: Mapping[Kind, str] = {
    Kind.RATE: "changes too fast 变化过快",
    Kind.DEVIATION: "is too far from its reference 偏差过大",
    Kind.DISCRETE: "is in its alarm state 状态报警",
    Kind.INTERLOCK_BYPASS: "an interlock is bypassed 联锁旁路",
    Kind.SYSTEM: "the system is out of service 系统停用",
    Kind.STALE: "no value comes any more 数据中断",
    Kind.FROZEN: "the value does not change any more 数值不变",
    Kind.QUALITY: "the quality is not good 质量异常",
    Kind.VALVE: "command and position differ 阀位与指令不一致",
    Kind.DISAGREEMENT: "panel and gateway disagree 报警不一致",
    Kind.EXPRESSION: "the expression is true 表达式报警",
}

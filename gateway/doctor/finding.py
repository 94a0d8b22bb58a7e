"""One thing that was tried, and what came of it. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class State(enum.Enum):
    """What became of it, from best to worst."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    NOT_TRIED = "not_tried"
    FAULT = "fault"

    @property
    def words(self) -> str:
        """For a table."""
        return _WORDS[self]


_WORDS = {
    State.GOOD: "ok 正常",
    State.DOUBTFUL: "look 存疑",
    State.NOT_TRIED: "left 未试",
    State.FAULT: "FAULT 故障",
}
_ORDER = tuple(State)


class About(enum.Enum):
    """What a finding is about: a word for programs, and the same in Chinese."""

    LINK = ("link", "链路")
    POINTS = ("points", "点位")
    RANGE = ("range", "量程")
    ORDER = ("order", "字序")
    UNITS = ("units", "单位")
    ALARMS = ("alarms", "报警")
    PERIOD = ("period", "周期")
    SECURITY = ("security", "安全")
    DEVICE = ("device", "设备")
    LOGIN = ("login", "登录")
    STREAM = ("stream", "码流")
    PICTURE = ("picture", "画面")
    CERTIFICATE = ("certificate", "证书")
    ENROLMENT = ("enrolment", "准入")
    CLOCK = ("clock", "时钟")
    VERSION = ("version", "版本")
    DISK = ("disk", "磁盘")
    MEMORY = ("memory", "内存")
    CPU = ("cpu", "处理器")
    GATEWAY = ("gateway", "网关")

    @property
    def words(self) -> str:
        """For a table."""
        return f"{self.value[0]} {self.value[1]}"


@dataclass(frozen=True, slots=True)
class Finding:
    """text, chinese: what was found.  advice, chinese_advice: what to do, of all that is not good.

    part: device, camera, uplink or notifier as the site file calls it, or `this machine`.
    """

    part: str
    about: About
    state: State
    text: str
    chinese: str
    advice: str = ""
    chinese_advice: str = ""


MACHINE = "this machine 本机"


def all_good(findings: Iterable[Finding]) -> bool:
    """Tell whether everything was tried and nothing is a fault; doubts are no faults."""
    return all(one.state in {State.GOOD, State.DOUBTFUL} for one in findings)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Findings to act on, worst first, each kind in the order found."""
    wrong = [one for one in findings if one.state is not State.GOOD]
    return sorted(wrong, key=lambda one: -_ORDER.index(one.state))


__all__ = ["MACHINE", "About", "Finding", "State", "all_good", "worst_first"]

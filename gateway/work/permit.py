"""Permits 作业票 as the site's systems sent them, and the gas analyses that belong to them.

Guarantees:

- A permit's state is a function of the set of versions known, never of their order of arrival:
  repeated, late, reordered and edited versions are folded anew in the order of their own time.
- What the table of life.py refuses changes nothing and is listed in `Permit.refused`.
- Times of start, breaks and end are those of the site (`actual_start`, `actual_end`, else the time
  of the version that said so).

Pure.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256

from gateway.work.life import PERMIT, State, TransitionError, Trigger, step
from gateway.work.words import local

Scalar = str | int | float | bool
MINUTE_NS = 60_000_000_000


class Kind(enum.Enum):
    """GB 30871-2022's eight kinds, then the extra jobs of 鲁安发〔2023〕13号 item 8 (S1-8)."""

    HOT_WORK = "hot_work"
    CONFINED_SPACE = "confined_space"
    BLIND_PLATE = "blind_plate"
    HEIGHT = "height"
    LIFTING = "lifting"
    TEMPORARY_POWER = "temporary_power"
    EARTH = "earth"
    ROAD_CLOSING = "road_closing"
    PLUGGING = "plugging"
    TANK_CLEANING = "tank_cleaning"
    WATER_DRAINING = "water_draining"
    UNPLANNED_MAINTENANCE = "unplanned_maintenance"

    @property
    def zh(self) -> str:
        """Chinese word."""
        return KIND_ZH[self]


KIND_ZH = dict(
    zip(
        Kind,
        ("动火", "受限空间", "盲板抽堵", "高处", "吊装", "临时用电", "动土", "断路",
         "堵漏", "清罐", "切水", "非计划检维修"),
        strict=True,
    )
)  # fmt: skip


class Level(enum.IntEnum):
    """Grade of hot work 动火级别, 5.1.2–5.1.4; a smaller number is stricter."""

    SPECIAL = 1
    FIRST = 2
    SECOND = 3

    @property
    def zh(self) -> str:
        """Chinese word."""
        return ("特级", "一级", "二级")[self - 1]

    @property
    def word(self) -> str:
        """Word that rule ids use."""
        return ("special", "first", "second")[self - 1]

    def raised(self) -> Level:
        """One grade up, 5.1.1; the special grade stays."""
        return Level(max(1, self - 1))


_LEVELS = {
    "special": Level.SPECIAL, "特级": Level.SPECIAL, "特殊": Level.SPECIAL, "1": Level.SPECIAL,
    "first": Level.FIRST, "一级": Level.FIRST, "2": Level.FIRST,
    "second": Level.SECOND, "二级": Level.SECOND, "3": Level.SECOND,
}  # fmt: skip
"""Codes 1 to 3 as public receiver code has them (secondary source)."""

_TRIGGERS = {
    Trigger.RECEIVE: ("received", "submitted", "applied", "draft", "待审批", "已申请"),
    Trigger.APPROVE: ("approved", "signed", "已审批", "审批通过"),
    Trigger.START: ("active", "started", "working", "resumed", "作业中", "已开工"),
    Trigger.SUSPEND: ("suspended", "interrupted", "paused", "中断", "暂停"),
    Trigger.END: ("ended", "finished", "completed", "完工", "作业结束"),
    Trigger.CLOSE: ("closed", "accepted", "archived", "验收", "关闭", "已归档"),
    Trigger.CANCEL: ("cancelled", "canceled", "void", "rejected", "作废", "取消", "驳回"),
}
STATUS_WORDS: Mapping[str, Trigger] = {
    word: trigger for trigger, words in _TRIGGERS.items() for word in words
}
"""Words of `status` that are understood; a site's own codes become these by its mapping file."""


class PermitError(ValueError):
    """A permit or analysis says what cannot be used; one clear sentence."""


@dataclass(frozen=True, slots=True)
class Version:
    """One message about a permit. `said` holds its attributes as they came."""

    ticket: str
    time_ns: int
    digest: str
    trigger: Trigger | None
    said: Mapping[str, Scalar] = field(compare=False)

    @classmethod
    def of(cls, attributes: Mapping[str, Scalar], time_ns: int) -> Version:
        """Read an intake event. Raises PermitError where ticket or kind cannot be read."""
        ticket = str(attributes.get("ticket_no", "")).strip()
        if not ticket:
            raise PermitError("a permit without ticket_no cannot be watched")
        try:
            Kind(str(attributes.get("work")))
        except ValueError:
            raise PermitError(
                f"permit {ticket}: work {attributes.get('work')!r} is no kind of special work"
            ) from None
        gone = any(attributes.get(key) is True for key in ("deleted", "cancelled"))
        status = str(attributes.get("status", "")).strip().lower()
        trigger = Trigger.CANCEL if gone else STATUS_WORDS.get(status)
        said = {key: value for key, value in attributes.items() if key not in _NOT_SAID}
        return cls(ticket, time_ns, _digest(said, time_ns), trigger, said)

    def order(self) -> tuple[int, int, str]:
        """Order of versions: time, then how far in its life it says the permit is."""
        rank = 0 if self.trigger is None else list(Trigger).index(self.trigger)
        return self.time_ns, rank, self.digest


_NOT_SAID = {"sender", "content_sha256", "clock_ahead_s", "mapping_table"}


@dataclass(frozen=True, slots=True)
class Analysis:
    """A gas analysis 气体分析 as sent.

    time_ns: when the sample was taken.  distance_m: from the point of the work, None if unsaid.
    """

    id: str
    ticket: str
    time_ns: int
    gas: str
    value: float
    unit: str
    gas_type: str = ""
    stage: str = ""
    place: str = ""
    analyst: str = ""
    digest: str = ""
    distance_m: float | None = None

    @classmethod
    def of(cls, attributes: Mapping[str, Scalar], time_ns: int) -> Analysis:
        """Read an intake event; raises PermitError if it cannot be read."""
        value = attributes.get("value")
        ticket = str(attributes.get("permit", "")).strip()
        if isinstance(value, bool | str | None) or not ticket:
            raise PermitError("a gas analysis needs permit and value")
        text = {key: str(attributes.get(key, "")) for key in
                ("id", "gas", "unit", "gas_type", "stage", "place", "analyst")}  # fmt: skip
        said: dict[str, Scalar] = {**text, "value": float(value)}
        distance = attributes.get("distance_m")
        distance_m = None if isinstance(distance, bool | str | None) else float(distance)
        if distance_m is not None:
            said["distance_m"] = distance_m
        digest = _digest(said, time_ns)
        return cls(ticket=ticket, time_ns=time_ns, value=float(value), digest=digest,
                   distance_m=distance_m, **text)  # fmt: skip

    @property
    def toxic(self) -> bool:
        """Tell whether it was judged as a toxic gas by whoever sent it."""
        return self.gas_type == "toxic"


@dataclass(frozen=True)
class Permit:
    """A permit as all its versions make it.

    started_ns, ended_ns: 0 where not (yet).  breaks: (from, to), `to` 0 while it lasts.
    """

    ticket: str
    versions: tuple[Version, ...]
    state: State
    approved: bool
    started_ns: int
    ended_ns: int
    breaks: tuple[tuple[int, int], ...]
    refused: tuple[str, ...]
    unknown_status: str = ""

    @cached_property
    def said(self) -> Mapping[str, Scalar]:
        """What the versions say in sum: the newest word on each field."""
        merged: dict[str, Scalar] = {}
        for version in self.versions:
            merged.update(version.said)
        return merged

    @property
    def kind(self) -> Kind:
        """Kind of work."""
        return Kind(str(self.said["work"]))

    @property
    def level(self) -> Level | None:
        """Grade as the permit has it; None where it says none that is understood."""
        return _LEVELS.get(self.text("level").lower())

    @property
    def raised_by_site(self) -> bool:
        """Tell whether the permit says that its grade was raised already."""
        return self.said.get("upgraded") is True

    def text(self, name: str) -> str:
        """Give a field as text, empty if it was never given."""
        value = self.said.get(name)
        return "" if value is None else str(value).strip()

    def number(self, name: str) -> float | None:
        """Give a field as a number, None if it is none."""
        value = self.said.get(name)
        return None if isinstance(value, bool | str | None) else float(value)

    def time_ns(self, name: str) -> int:
        """Give a field as a time, 0 if it is none."""
        return read_time(self.said.get(name))

    @property
    def valid_from_ns(self) -> int:
        """From when the permit is valid: its plan, else its start."""
        return self.time_ns("plan_start") or self.started_ns

    @property
    def plan_ns(self) -> tuple[int, int]:
        """Time that the work is planned for; what is missing is the start, or nothing."""
        start = self.valid_from_ns
        return start, max(start, self.time_ns("plan_end"))

    def changed_after_approval(self) -> tuple[str, ...]:
        """Fields that were given another value after the approval (4.16–4.17)."""
        before: dict[str, Scalar] = {}
        after: dict[str, Scalar] = {}
        approved = False
        for version in self.versions:
            into = after if approved else before
            into.update({key: version.said[key] for key in _FIXED if key in version.said})
            approved = approved or version.trigger is Trigger.APPROVE
        return tuple(key for key in _FIXED if key in before and after.get(key, before[key])
                     != before[key])  # fmt: skip

    def codes(self, name: str) -> tuple[str, ...]:
        """Device codes of a field, which may hold several."""
        return tuple(part for part in self.text(name).replace("，", ",").replace(";", ",")
                     .replace(" ", ",").split(",") if part)  # fmt: skip


_FIXED = ("content", "place", "area", "worker", "guardian")


def fold(versions: Iterable[Version]) -> Permit:
    """Make the permit that a set of versions of one ticket describes; at least one is needed."""
    known = {version.digest: version for version in versions}
    ordered = tuple(sorted(known.values(), key=Version.order))
    state, approved, unknown = State.RECEIVED, False, ""
    started_ns = ended_ns = 0
    breaks: list[tuple[int, int]] = []
    refused: list[str] = []
    for version in ordered:
        trigger = version.trigger
        if trigger is None:
            unknown = str(version.said.get("status", ""))
            continue
        try:
            following = step(PERMIT, state, trigger)
        except TransitionError as error:
            refused.append(f"{local(version.time_ns)}: {error}")
            continue
        at_ns = version.time_ns
        if following is State.ACTIVE and state is State.SUSPENDED:
            breaks[-1] = (breaks[-1][0], max(at_ns, breaks[-1][0]))
        elif following is State.ACTIVE and not started_ns:
            started_ns = at_ns
        elif following is State.SUSPENDED and state is State.ACTIVE:
            breaks.append((at_ns, 0))
        if following.over and started_ns and not ended_ns:
            ended_ns = at_ns
        approved = (approved and trigger is not Trigger.RECEIVE) or trigger is Trigger.APPROVE
        state = following
    if started_ns:  # an edited version may correct what was said at the start
        started_ns = _newest_time(ordered, "actual_start") or started_ns
    if ended_ns:
        ended_ns = _newest_time(ordered, "actual_end") or ended_ns
    return Permit(ordered[0].ticket, ordered, state, approved, started_ns, ended_ns,
                  tuple(breaks), tuple(refused), unknown)  # fmt: skip


def _newest_time(ordered: Iterable[Version], name: str) -> int:
    found = [read_time(version.said.get(name)) for version in ordered]
    return next((time_ns for time_ns in reversed(found) if time_ns), 0)


def read_time(value: object) -> int:
    """Read an ISO 8601 time of an event into ns since 1970 UTC; 0 where there is none."""
    if not isinstance(value, str) or not value:
        return 0
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        return 0
    return round(moment.timestamp() * 1000) * 1_000_000


def _digest(said: Mapping[str, Scalar], time_ns: int) -> str:
    written = json.dumps([said, time_ns], sort_keys=True, ensure_ascii=False)
    return sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:32]

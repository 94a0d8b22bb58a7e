"""Typed records of site systems, strict: what a permit, a gas analysis or an alarm must say.

Guarantees: a record has an id, a time and a deleted flag; a field holds what its type says or the
row is refused with one sentence; units are words and kept as sent, never converted; the two scales
of gas ("%vol" of volume, "%LEL" of the explosive limit) are never mixed, a bare "%" is refused.

Field names follow the words that public client code shares (permits and dual prevention 双重预防 as
in Shandong and Jiangsu clients, secondary sources); no official text was seen. Codes of a vendor
become words by the mapping file. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    model_validator,
)

from drivers.intake.moments import Instant

MAX_TEXT = 2000
"""Characters of one text: a list of safety measures of a permit has some hundred."""

NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What neither protobuf nor SQLite can hold: NUL, and halves of surrogate pairs."""

Scalar = str | int | float | bool
_WORDS = {"1": True, "true": True, "yes": True, "是": True,
          "0": False, "false": False, "no": False, "否": False}  # fmt: skip


def _wrong(what: str, value: object) -> ValueError:
    return ValueError(f"must be {what}, not {value!r:.60}")


def _text(value: object) -> str:
    """Texts, and numbers where a system writes codes without quotes."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong("text", value)
    text = str(value).strip()
    if len(text) > MAX_TEXT:
        raise ValueError(f"must have at most {MAX_TEXT} characters, not {len(text)}")
    if NO_TEXT.search(text):
        raise ValueError("holds a character that is no text (NUL or half a surrogate pair)")
    return text


def _identifier(value: object) -> str:
    text = _text(value)
    if not 1 <= len(text) <= 128 or not text.isprintable():
        raise ValueError(f"must have 1 to 128 printable characters, not {text!r:.60}")
    return text


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong("a number", value)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _wrong("a number", value) from None
    if not math.isfinite(number):
        raise _wrong("a finite number", value)
    return number


def _whole(value: object) -> int:
    number = _number(value)
    if number != int(number) or abs(number) > 2**53:
        raise _wrong("a whole number", value)
    return int(number)


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    found = _WORDS.get(str(value).strip().lower()) if isinstance(value, str | int) else None
    if found is None:
        raise _wrong("true or false (or 1, 0, 是, 否)", value)
    return found


def _moment(value: object, info: ValidationInfo) -> Instant:
    if not info.context:
        raise ValueError("no time format was given with the row")
    parse: Callable[[object], Instant] = info.context["moment"]
    return parse(value)


Text = Annotated[str, PlainValidator(_text)]
Identifier = Annotated[str, PlainValidator(_identifier)]
Number = Annotated[float, PlainValidator(_number)]
Whole = Annotated[int, PlainValidator(_whole)]
Flag = Annotated[bool, PlainValidator(_flag)]
Moment = Annotated[Instant, PlainValidator(_moment)]


class Record(BaseModel):
    """What all records say. time: when it happened or was changed, by the sender's clock."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: ClassVar[str] = ""
    codes: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    id: Identifier
    time: Moment
    deleted: Flag = False

    def summary(self) -> str:
        """What it is, for a person; the row reader puts the source before it."""
        return f"{self.kind} {self.id}"

    def attributes(self) -> dict[str, Scalar]:
        """Fields that are set, flat and JSON-compatible; times in ISO 8601 UTC."""
        given = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {
            name: str(value) if isinstance(value, Instant) else value
            for name, value in given
            if value is not None
        }


Work = Literal[
    "hot_work", "confined_space", "blind_plate", "height", "lifting", "temporary_power", "earth",
    "road_closing", "plugging", "tank_cleaning", "water_draining", "unplanned_maintenance",
]  # fmt: skip
"""GB 30871-2022's eight kinds 动火 受限空间 盲板抽堵 高处 吊装 临时用电 动土 断路, then those that
Shandong manages like them (鲁安发〔2023〕13号, item 8): 堵漏 清罐 切水 非计划检维修."""


class Permit(Record):
    """Special-work permit 特殊作业票. status: the system's own word, or the mapping file's."""

    kind: ClassVar[str] = "permit"

    ticket_no: Text
    work: Work
    status: Text
    level: Text | None = None
    plan_start: Moment | None = None
    plan_end: Moment | None = None
    actual_start: Moment | None = None
    actual_end: Moment | None = None
    place: Text | None = None
    area: Text | None = None
    hazard: Text | None = None
    company: Text | None = None
    longitude: Number | None = None
    latitude: Number | None = None
    content: Text | None = None
    guardian: Text | None = None
    worker: Text | None = None
    contractor: Flag | None = None
    contractor_name: Text | None = None
    related_tickets: Text | None = None
    risks: Text | None = None
    camera: Text | None = None
    detectors: Text | None = None
    guardian_card: Text | None = None
    height_m: Number | None = None
    height_factors: Flag | None = None
    communication: Flag | None = None
    load_t: Number | None = None
    depth_m: Number | None = None
    pipe: Text | None = None
    upgraded: Flag | None = None
    changed: Flag | None = None
    cancelled: Flag | None = None

    def summary(self) -> str:
        """Ticket, kind of work, status and place."""
        where = f" at {self.place}" if self.place else ""
        return f"permit {self.ticket_no} ({self.work}){where}: {self.status}"


class GasAnalysis(Record):
    """Gas analysis 气体分析 of a permit; time is when the sample was taken."""

    kind: ClassVar[str] = "gas_analysis"

    permit: Text
    gas: Text
    value: Number
    unit: Literal["%vol", "%LEL", "ppm", "mg/m3"]
    work: Work | None = None
    gas_type: Literal["toxic", "combustible", "oxygen"] | None = None
    stage: Literal["before", "during", "after"] | None = None
    place: Text | None = None
    distance_m: Number | None = None
    analyst: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_bare_percent(cls, row: object) -> object:
        if isinstance(row, dict) and str(row.get("unit")) in {"%", "％"}:
            raise ValueError(
                "unit '%' may mean %vol or %LEL: say which in the mapping file (values.unit)"
            )
        return row

    def summary(self) -> str:
        """Gas, value and unit as sent."""
        return f"gas analysis of permit {self.permit}: {self.gas} {self.value:g} {self.unit}"


class PositionCount(Record):
    """Headcount of an area by personnel positioning 人员定位."""

    kind: ClassVar[str] = "position_count"

    area: Text
    people: Annotated[Whole, Field(ge=0)]
    area_type: Text | None = None
    area_maximum: Whole | None = None
    company_people: Whole | None = None
    company: Text | None = None

    def summary(self) -> str:
        """Area and people."""
        return f"{self.people} people in {self.area}"


class Position(Record):
    """Where a card 定位卡 is now, by personnel positioning; coordinates are CGCS2000 degrees."""

    kind: ClassVar[str] = "position"

    card: Text
    area: Text | None = None
    person: Text | None = None
    floor: Text | None = None
    longitude: Number | None = None
    latitude: Number | None = None
    status: Text | None = None
    company: Text | None = None

    def summary(self) -> str:
        """Card and area."""
        return f"card {self.card} is in {self.area or 'no known area'}"


class PositionAlarm(Record):
    """Alarm of personnel positioning; BJLX 报警类型 codes 1 to 6 as a Jiangsu receiver has them."""

    kind: ClassVar[str] = "position_alarm"
    codes: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "alarm": {
            "1": "over_count", "2": "left_post", "3": "wrong_area", "4": "motionless",
            "5": "sos", "6": "wrong_person",
            "超员": "over_count", "脱岗": "left_post", "串岗": "wrong_area",
            "长时间静止": "motionless", "一键求救": "sos", "人证不符": "wrong_person",
        }
    }  # fmt: skip

    alarm: Literal["over_count", "left_post", "wrong_area", "motionless", "sos", "wrong_person"]
    active: Flag = True
    area: Text | None = None
    card: Text | None = None
    floor: Text | None = None
    longitude: Number | None = None
    latitude: Number | None = None
    people: Whole | None = None
    ended: Moment | None = None
    handling: Text | None = None

    def summary(self) -> str:
        """Alarm, area and whether it stands."""
        where = f" in {self.area}" if self.area else ""
        return f"positioning alarm {self.alarm}{where} {'stands' if self.active else 'ended'}"


class DualPrevention(Record):
    """One row of the six linked tables of dual prevention 双重预防; `parent` is the row above."""

    kind: ClassVar[str] = "dual_prevention"

    table: Literal[
        "risk_unit", "risk_event", "control_measure", "check_mission", "check_record",
        "hidden_danger",
    ]  # fmt: skip
    parent: Text | None = None
    name: Text | None = None
    description: Text | None = None
    hazard: Text | None = None
    department: Text | None = None
    person: Text | None = None
    source: Text | None = None
    status: Text | None = None
    level: Text | None = None
    cycle: Text | None = None
    cycle_unit: Text | None = None
    checked: Moment | None = None
    deadline: Moment | None = None

    @model_validator(mode="after")
    def _linked(self) -> DualPrevention:
        if self.parent is None and self.table not in {"risk_unit", "hidden_danger"}:
            raise ValueError(f"parent is missing: a {self.table} belongs to the row above it")
        return self

    def summary(self) -> str:
        """Table and name."""
        return f"{self.table} {self.name or self.id}"


class Lightning(Record):
    """Lightning warning 雷电预警; three colours, none when it is lifted."""

    kind: ClassVar[str] = "lightning"

    level: Literal["none", "yellow", "orange", "red"]
    station: Text | None = None
    distance_km: Number | None = None
    field_kv_m: Number | None = None
    lead_min: Number | None = None
    ends: Moment | None = None

    def summary(self) -> str:
        """Level."""
        return f"lightning warning {self.level}"


class EnterpriseGrade(Record):
    """Grade of the whole enterprise 企业分级, by the authority (鲁安发〔2023〕13号 item 24).

    red 停产停业整顿, orange a full inspection each half-year, yellow and blue random checks. It is
    no risk level; see UnitRisk.
    """

    kind: ClassVar[str] = "enterprise_grade"
    codes: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "grade": {"红": "red", "橙": "orange", "黄": "yellow", "蓝": "blue",
                  "红色": "red", "橙色": "orange", "黄色": "yellow", "蓝色": "blue"}
    }  # fmt: skip

    grade: Literal["red", "orange", "yellow", "blue"]
    authority: Text | None = None
    reason: Text | None = None

    def summary(self) -> str:
        """Grade."""
        return f"the enterprise is graded {self.grade}"


class UnitRisk(Record):
    """Risk of one unit 风险分级单元, by dual prevention; no grade, though its colours are."""

    kind: ClassVar[str] = "unit_risk"
    codes: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "level": {"1": "major", "2": "larger", "3": "general", "4": "low",
                  "重大": "major", "较大": "larger", "一般": "general", "低": "low",
                  "重大风险": "major", "较大风险": "larger", "一般风险": "general", "低风险": "low"}
    }  # fmt: skip

    unit: Text
    level: Literal["major", "larger", "general", "low"]
    place: Text | None = None

    def summary(self) -> str:
        """Unit and level."""
        return f"risk of {self.unit} is {self.level}"


class Electricity(Record):
    """Electricity monitoring 电力监测: one reading of a meter."""

    kind: ClassVar[str] = "electricity"

    meter: Text
    power_kw: Number | None = None
    energy_kwh: Number | None = None
    current_a: Number | None = None
    voltage_v: Number | None = None
    phase: Literal["A", "B", "C", "total"] | None = None
    state: Text | None = None

    def summary(self) -> str:
        """Meter and power."""
        return f"meter {self.meter}" + ("" if self.power_kw is None else f" {self.power_kw:g} kW")


class Welding(Record):
    """Electric welding 电焊作业: a machine switched on or off by whom and where."""

    kind: ClassVar[str] = "welding"

    machine: Text
    on: Flag
    welder: Text | None = None
    certificate: Text | None = None
    place: Text | None = None
    current_a: Number | None = None

    def summary(self) -> str:
        """Machine and state."""
        return f"welding machine {self.machine} {'on' if self.on else 'off'}"


class FireAlarm(Record):
    """Fire system 消防: a point of the alarm panel, a pump, a hydrant."""

    kind: ClassVar[str] = "fire_alarm"

    device: Text
    state: Literal["fire", "fault", "isolated", "supervisory", "feedback", "normal"]
    place: Text | None = None
    loop: Text | None = None
    value: Number | None = None
    unit: Text | None = None

    def summary(self) -> str:
        """Device and state."""
        return f"fire system {self.device}: {self.state}"


class Vibration(Record):
    """Vibration and bearing temperature of a machine, from a vibration server 振动监测."""

    kind: ClassVar[str] = "vibration"

    machine: Text
    value: Number
    unit: Literal["mm/s", "um", "m/s2", "g"]
    position: Text | None = None
    measure: Literal["rms", "peak", "peak_to_peak"] | None = None
    temperature_c: Number | None = None
    state: Text | None = None

    def summary(self) -> str:
        """Machine, position and value."""
        return f"vibration of {self.machine} {self.position or ''} {self.value:g} {self.unit}"


class PictureAlarm(Record):
    """What a vendor's AI box 智能分析盒 saw; the picture comes with it."""

    kind: ClassVar[str] = "picture"

    alarm: Text
    camera: Text
    place: Text | None = None
    score: Number | None = None
    people: Whole | None = None
    description: Text | None = None

    def summary(self) -> str:
        """Alarm and camera."""
        return f"{self.alarm} seen by {self.camera}"


RECORDS: Mapping[str, type[Record]] = {
    record.kind: record
    for record in (
        Permit, GasAnalysis, Position, PositionCount, PositionAlarm, DualPrevention, Lightning,
        EnterpriseGrade, UnitRisk, Electricity, Welding, FireAlarm, Vibration, PictureAlarm,
    )
}  # fmt: skip
"""Record types by the word that stands in paths, topics and `intake.<word>`."""

"""[[alarm]]: alarms beyond the four limits of a point, as the rules take them.

Every mistake names the alarm and the key; points are patterns with * and ?, and one that finds
nothing is a mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from drivers.contract import QUALITY_WORDS
from drivers.wording import shown, suggestion
from gateway.config.expressions import ExpressionError, check_expression
from gateway.config.model import Name, Section
from gateway.config.problems import Report
from gateway.config.toml_lines import TomlPath
from gateway.rules.condition_spec import AlarmSpec, Kind

Number = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=1024)]
KindWord = Literal["rate", "deviation", "discrete", "interlock_bypass", "system_out_of_service",
                   "stale", "frozen", "quality", "valve_discrepancy", "disagreement",
                   "expression"]  # fmt: skip

_NEEDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.RATE: ("points", "limit"),
    Kind.DEVIATION: ("points", "reference", "limit"),
    Kind.DISCRETE: ("points",),
    Kind.INTERLOCK_BYPASS: ("points",),
    Kind.SYSTEM: ("points", "system"),
    Kind.STALE: ("points", "after_s"),
    Kind.FROZEN: ("points", "after_s"),
    Kind.QUALITY: ("points",),
    Kind.VALVE: ("points", "reference", "on_delay_s"),
    Kind.DISAGREEMENT: ("points", "reference", "limit"),
    Kind.EXPRESSION: ("expression", "variables"),
}
_ALSO: Mapping[Kind, tuple[str, ...]] = {
    Kind.RATE: ("deadband", "direction", "over_s"),
    Kind.DEVIATION: ("deadband",),
    Kind.DISCRETE: ("values",),
    Kind.INTERLOCK_BYPASS: ("values",),
    Kind.SYSTEM: ("values",),
    Kind.QUALITY: ("qualities",),
    Kind.DISAGREEMENT: ("direction", "deadband"),
    Kind.EXPRESSION: ("points",),
}
_ALWAYS = {"name", "type", "priority", "on_delay_s", "off_delay_s", "text"}
_VALUES: Mapping[Kind, tuple[float, ...]] = {Kind.SYSTEM: (0.0,)}
_CODES = {word: int(code) for code, word in QUALITY_WORDS.items()}
SYSTEMS: Mapping[str, str] = {
    "gas_detection": "gas detection 气体检测",
    "emergency_shutoff": "emergency shut-off 紧急切断",
    "video": "video 视频监控",
    "lightning": "lightning warning 雷电预警",
}
"""四个系统 of 鲁安发〔2023〕13号 item 4."""


class AlarmConfig(Section):
    """[[alarm]]; which keys a type takes stands in gateway/rules/README.md.

    type: kind of alarm.  points: names with * and ?.  reference: the other point (position, bit).
    limit, deadband: in the point's unit, for rate a minute.  values: 1 unless given (system: 0).
    """

    name: Name
    type: KindWord
    points: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = ()
    priority: int = Field(default=0, ge=0, le=4)
    limit: Number | None = None
    deadband: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    direction: Literal["up", "down", "both"] = "both"
    over_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 60.0
    reference: str = ""
    system: Literal["", "gas_detection", "emergency_shutoff", "video", "lightning"] = ""
    values: tuple[Number, ...] = ()
    qualities: tuple[str, ...] = ()
    after_s: Seconds = 0.0
    on_delay_s: Seconds = 0.0
    off_delay_s: Seconds = 0.0
    expression: Text = ""
    variables: dict[str, str] = Field(default_factory=dict)
    text: Text = ""

    @property
    def kind(self) -> Kind:
        """The rules' word for `type`."""
        return Kind(self.type)


def alarm_specs(
    entries: Iterable[tuple[TomlPath, AlarmConfig]], names: Collection[str], report: Report
) -> tuple[AlarmSpec, ...]:
    """Translate; entries with mistakes are reported and left out. names: all points there are."""
    found: list[AlarmSpec] = []
    seen: set[str] = set()
    for path, entry in entries:
        if entry.name in seen:
            report.wrong((*path, "name"), f"a second [[alarm]] is called {shown(entry.name)}")
            continue
        seen.add(entry.name)
        spec = _spec(entry, path, names, report)
        if spec is not None:
            found.append(spec)
    return tuple(found)


def _spec(
    entry: AlarmConfig, path: TomlPath, names: Collection[str], report: Report
) -> AlarmSpec | None:
    kind, before = entry.kind, len(report.problems)
    _check_keys(entry, path, report)
    points = _points(entry, path, names, report)
    others = {"reference": entry.reference} if entry.reference else {}
    others |= {f"variables.{name}": point for name, point in entry.variables.items()}
    for key, point in others.items():
        if point not in names:
            report.wrong((*path, *key.split(".")), _unknown(point, names))
    codes = _codes(entry, path, report)
    if entry.expression:
        try:
            check_expression(entry.expression, entry.variables)
        except ExpressionError as error:
            report.wrong((*path, "expression"), f"{entry.name}: {error}")
    if len(report.problems) > before:
        return None
    return AlarmSpec(
        name=entry.name,
        kind=kind,
        points=points,
        priority=entry.priority or (2 if kind in _IMPORTANT else 0),
        limit=entry.limit or 0.0,
        deadband=entry.deadband,
        direction={"up": 1, "down": -1, "both": 0}[entry.direction],
        over_s=entry.over_s,
        reference=entry.reference,
        values=entry.values or _VALUES.get(kind, (1.0,)),
        qualities=codes,
        after_s=entry.after_s,
        on_delay_s=entry.on_delay_s,
        off_delay_s=entry.off_delay_s,
        expression=entry.expression,
        variables=entry.variables,
        text=entry.text
        or (f"{SYSTEMS[entry.system]} is out of service 停用" if entry.system else ""),
    )


_IMPORTANT = frozenset({Kind.INTERLOCK_BYPASS, Kind.VALVE, Kind.SYSTEM})


def _check_keys(entry: AlarmConfig, path: TomlPath, report: Report) -> None:
    given, kind = entry.model_fields_set, entry.kind
    taken = {*_NEEDS[kind], *_ALSO.get(kind, ())}
    for key in _NEEDS[kind]:
        if key not in given:
            report.wrong(path, f"an alarm of type {entry.type} needs {key}")
    for key in sorted(given - _ALWAYS - taken):
        takes = ", ".join(sorted(taken))
        report.wrong((*path, key), f"an alarm of type {entry.type} has no {key}: it takes {takes}")


def _points(
    entry: AlarmConfig, path: TomlPath, names: Collection[str], report: Report
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for pattern in entry.points:
        hit = [pattern] if pattern in names else [n for n in names if fnmatchcase(n, pattern)]
        if not hit:
            report.wrong((*path, "points"), _unknown(pattern, names))
        found |= dict.fromkeys(hit)
    if entry.reference and len(found) > 1:
        report.wrong((*path, "points"), f"an alarm of type {entry.type} takes one point")
    return tuple(found)


def _codes(entry: AlarmConfig, path: TomlPath, report: Report) -> tuple[int, ...]:
    for word in entry.qualities:
        if word not in _CODES:
            report.wrong((*path, "qualities"), f"unknown quality; {suggestion(word, _CODES)}")
    return tuple(_CODES[word] for word in entry.qualities if word in _CODES)


def _unknown(point: str, names: Collection[str]) -> str:
    advice = suggestion(point, names) if len(names) < 5000 else "names are device/tag"
    return f"no point is called {shown(point)}; {advice}"

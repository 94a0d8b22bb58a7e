"""Says a tell in Chinese and English, from templates that a site may change. Pure.

Guarantees: a template names only fields that exist, else TemplateError says which, before anything
runs; a test is marked as a test and a repetition as one, whatever a template says; text of a plant
(tags, reasons) is put in as it is and never read as a template.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from drivers.wording import shown, suggestion
from gateway.duty.roster import local
from gateway.duty.tell import Flood, Kind, Tell
from gateway.rules.open_alarm import describe

LANGUAGES = ("zh", "en")
FIELDS = ("enterprise", "place", "tag", "condition", "value", "limit", "clause", "time",
          "priority", "text", "mark", "name")  # fmt: skip
FLOOD_FIELDS = ("enterprise", "position", "alarms", "urgent", "first", "time", "mark")
NONE = "–"
_FIELD = re.compile(r"\{([^{}]*)\}")
_TEST = {"zh": "【测试】", "en": "[TEST] "}


class TemplateError(ValueError):
    """The templates are wrong; one sentence."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a notifier sends. id: the same for every attempt.  fields: everything, for machines."""

    id: str
    kind: str
    person: str
    contact: str
    zh: str
    en: str
    priority: int
    fields: Mapping[str, str | int | float | bool | None]

    def text(self, language: str) -> str:
        """Words in zh, en, or both, a line each."""
        return f"{self.zh}\n{self.en}" if language == "both" else getattr(self, language)


@dataclass(frozen=True, slots=True)
class Words:
    """Templates by language and kind, and by language what conditions and units are called."""

    templates: Mapping[str, Mapping[str, str]]
    conditions: Mapping[str, Mapping[str, str]]
    units: Mapping[str, Mapping[str, str]]

    def message(self, tell: Tell, enterprise: str, code: str) -> Message:
        """Say a tell. enterprise: what people call it; code: 统一社会信用代码."""
        subject = tell.subject
        said = {language: self._said(tell, enterprise or code, language) for language in LANGUAGES}
        fields: dict[str, str | int | float | bool | None] = {
            "enterprise": code, "round": tell.round, "step": tell.step, "attempt": tell.attempt,
            "repeated": tell.repeated, "call": tell.call,
        }  # fmt: skip
        if isinstance(subject, Flood):
            fields |= {"position": subject.position, "alarms": subject.alarms,
                       "urgent": subject.urgent, "since_ns": subject.since_ns}  # fmt: skip
        else:
            fields |= {
                "alarm_id": subject.alarm_id.hex(), "tag": subject.source,
                "condition": subject.condition, "priority": subject.priority,
                "value": _number(subject.value), "limit": _number(subject.limit),
                "unit": subject.unit, "rule": subject.rule, "clause": subject.clause,
                "place": subject.place, "time_ns": subject.gateway_time_ns,
                "declaration": subject.declaration, "text": subject.text,
                "description": subject.description,
            }  # fmt: skip
        priority = 1 if isinstance(subject, Flood) else subject.priority
        who = tell.recipient
        return Message(tell.id, tell.kind.value, who.person, who.contact, said["zh"], said["en"],
                       priority, fields)  # fmt: skip

    def _said(self, tell: Tell, enterprise: str, language: str) -> str:
        subject = tell.subject
        values = {"enterprise": enterprise, "mark": _mark(tell, language)}
        if isinstance(subject, Flood):
            values |= {
                "position": subject.position or NONE, "alarms": str(subject.alarms),
                "urgent": str(subject.urgent),
                "first": ", ".join(self._first(one, language) for one in subject.first) or NONE,
                "time": f"{local(subject.since_ns):%Y-%m-%d %H:%M:%S}",
            }  # fmt: skip
        else:
            unit = self.units[language].get(subject.unit, subject.unit)
            values |= {
                "place": subject.place or NONE, "tag": subject.source,
                "name": _called(subject.description, language),
                "condition": self._condition(subject.condition, language),
                "value": _measured(subject.value, unit), "limit": _measured(subject.limit, unit),
                "clause": subject.clause or subject.rule or NONE, "text": subject.text,
                "time": f"{local(subject.gateway_time_ns):%Y-%m-%d %H:%M:%S}",
                "priority": str(subject.priority),
            }  # fmt: skip
        template = self.templates[language][tell.kind.value]
        text = _FIELD.sub(lambda found: values[found[1]], template)
        if "{mark}" not in template:
            text += values["mark"]
        test = _TEST[language]
        return text if tell.kind is not Kind.TEST or test[1:3] in template else test + text

    def _condition(self, condition: str, language: str) -> str:
        return self.conditions[language].get(condition, condition.replace("_", " "))

    def _first(self, named: str, language: str) -> str:
        """Say one of Flood.first, a source and its condition."""
        source, _, condition = named.rpartition(" ")
        return f"{source} {self._condition(condition, language)}"


def parse_templates(text: str, name: str, base: Words | None = None) -> Words:
    """Read templates over those of `base`; `name` is the file's. Raises TemplateError."""
    try:
        raw: Mapping[str, Any] = tomllib.loads(text)
    except ValueError as error:
        raise TemplateError(f"{name} is no TOML: {error}") from error
    templates = {lang: dict(base.templates[lang]) if base else {} for lang in LANGUAGES}
    conditions = {lang: dict(base.conditions[lang]) if base else {} for lang in LANGUAGES}
    units = {lang: dict(base.units[lang]) if base else {} for lang in LANGUAGES}
    called = {"condition": conditions, "unit": units}
    for language, table in raw.items():
        if language not in LANGUAGES or not isinstance(table, dict):
            raise TemplateError(f"{name}: [{language}] is no language: write [zh] or [en]")
        for key, value in table.items():
            if key in called and isinstance(value, dict):
                called[key][language] |= {str(k): str(v) for k, v in value.items()}
            else:
                templates[language][key] = _checked(value, key, f"{name}: {language}.{key}")
    return Words(templates, conditions, units)


def shipped_words() -> Words:
    """Templates of this package."""
    text = resources.files("gateway.duty").joinpath("templates.toml").read_text(encoding="utf-8")
    return parse_templates(text, "templates.toml")


def _checked(value: object, key: str, where: str) -> str:
    kinds = [kind.value for kind in Kind]
    if key not in kinds:
        raise TemplateError(f"{where}: no message is of this kind; {suggestion(key, kinds)}")
    if not isinstance(value, str) or not value.strip() or len(value) > 1000:
        raise TemplateError(f"{where}: must be text of at most 1,000 characters")
    allowed = FLOOD_FIELDS if key.startswith("flood") else FIELDS
    for found in _FIELD.finditer(value):
        if found[1] not in allowed:
            raise TemplateError(f"{where}: there is no field {shown(found[0])};"
                                f" {suggestion(found[1], allowed)}")  # fmt: skip
    return value


def _mark(tell: Tell, language: str) -> str:
    """What must be said of the message itself: a repetition, the round, that it has returned."""
    zh = language == "zh"
    marks = []
    if tell.repeated:
        marks.append("可能重复" if zh else "perhaps told before")
    if tell.attempt > 1:
        marks.append(f"第{tell.attempt}次发送" if zh else f"attempt {tell.attempt}")
    if tell.round > 1 or tell.step > 1:
        marks.append(f"第{tell.round}轮第{tell.step}级" if zh
                     else f"round {tell.round}, step {tell.step}")  # fmt: skip
    if tell.returned and tell.kind is Kind.ALARM:
        marks.append("已恢复,未确认" if zh else "returned, not acknowledged")
    if not marks:
        return ""
    return f"({';'.join(marks)})" if zh else f" ({'; '.join(marks)})"


def _called(description: str, language: str) -> str:
    """What people call a point, behind its tag."""
    if not description:
        return ""
    return f"（{description}）" if language == "zh" else f" ({description})"


def _measured(value: float, unit: str) -> str:
    return describe(value, unit) if math.isfinite(value) else NONE


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None

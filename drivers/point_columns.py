"""Headings of a point table: which one means which field, and which row holds them. Pure.

Guarantees: a heading in English, in Chinese or in both at once ("位号 name", "单位/unit") is found
whatever its case, spaces, full-width letters and a unit in brackets behind it; two meanings in one
heading are none. The heading row is the first of the first HEADING_ROWS rows that names the column
`name` and one more; title rows above it are skipped. A second row of headings below it (groups
such as 报警限 over 低报 and 高报, merged cells) is folded into it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from drivers.contract import Problem
from drivers.point_records import Cell, Record
from drivers.wording import suggestion

HEADING_ROWS = 20
"""Rows searched for the headings; vendors' title blocks take up to a dozen."""

HEADINGS: Mapping[str, Sequence[str]] = {
    "name": ("位号", "点位", "点名", "名称", "tag"),
    "scale": ("比例", "系数", "倍率"),
    "offset": ("偏移", "偏置"),
    "unit": ("单位", "工程单位"),
    "low_low": ("低低报", "低低限", "ll"),
    "low": ("低报", "低限", "l"),
    "high": ("高报", "高限", "h"),
    "high_high": ("高高报", "高高限", "hh"),
    "deadband": ("死区", "回差"),
    "on_delay_s": ("报警延时", "延时"),
    "off_delay_s": ("消警延时", "恢复延时"),
    "description": ("描述", "说明", "备注"),
    "range_low": ("量程下限", "量程低"),
    "range_high": ("量程上限", "量程高"),
    "priority": ("优先级", "报警优先级"),
    "gas": ("气体", "介质"),
    "place": ("位置", "安装位置"),
    "hazard": ("重大危险源", "危险源"),
    "equipment": ("设备",),
    "indicator": ("指标", "指标编码"),
    "operator_position": ("岗位", "操作岗位"),
    "alarm_source": ("报警来源", "报警源"),
    "alarm_of": ("对应报警", "报警位对应"),
    # Usual columns of drivers; a driver adds its own by json_schema_extra["headings"].
    "area": ("区域", "寄存器类型", "寄存器区"),
    "address": ("地址", "寄存器地址"),
    "type": ("类型", "数据类型"),
    "order": ("字节序", "字序"),
    "node": ("节点", "nodeid", "node_id"),
}
"""Headings beside a field's own name."""

_BRACKETS = re.compile(r"_*[(\[].*[)\]]$")
_TWO_LANGUAGES = re.compile(
    r"_*[/|、\n]_*|(?<=[\u4e00-\u9fff])_*(?=[a-z])|(?<=[a-z0-9])_*(?=[\u4e00-\u9fff])"
)


class Columns:
    """Which heading means which field; the common columns win over the driver's.

    mapping: further headings and the fields they mean; "" is a column to leave out.
    """

    def __init__(
        self,
        settings: type[BaseModel],
        address: type[BaseModel],
        mapping: Mapping[str, str] | None = None,
    ) -> None:
        self.common = set(settings.model_fields)
        self.fields = [*settings.model_fields, *address.model_fields]
        self.required = [
            name
            for model in (settings, address)
            for name, field in model.model_fields.items()
            if field.is_required()
        ]
        self._mapping = {folded(theirs): ours for theirs, ours in (mapping or {}).items()}
        self._meaning: dict[str, str] = {}
        for model in (address, settings):
            for name in model.model_fields:
                for heading in (*headings(model, name), name):
                    self._meaning[folded(heading)] = name

    def meaning(self, heading: Cell) -> str | None:
        """Find the field a heading names, or None."""
        if not isinstance(heading, str):
            return None
        plain = folded(heading)
        if plain in self._mapping:
            return self._mapping[plain] or None
        for word in (plain, _BRACKETS.sub("", plain)):
            if word in self._meaning:
                return self._meaning[word]
            parts = {self._meaning.get(part) for part in _TWO_LANGUAGES.split(word)}
            if len(parts) == 1 and None not in parts:
                return parts.pop()
        return None

    def named(self, cells: Sequence[Cell]) -> set[str]:
        """Find the fields that a row of headings names."""
        return {name for cell in cells if (name := self.meaning(cell)) is not None}

    def is_heading(self, cells: Sequence[Cell]) -> bool:
        """Tell whether a row can be nothing but headings of a point table."""
        named = self.named(cells)
        return "name" in named and len(named) > 1

    def heading(self, first: Sequence[Record]) -> tuple[int, int, list[str]]:
        """Find the headings among the first records (at least one).

        Gives their row, how many records to skip, and one heading a column.
        """
        usual = (at for at, (_, cells) in enumerate(first) if self.is_heading(cells))
        poor = (at for at, (_, cells) in enumerate(first) if "name" in self.named(cells))
        at = next(usual, next(poor, 0))
        row, cells = first[at]
        heading = [cell if isinstance(cell, str) else "" for cell in cells]
        if at + 1 < len(first) and self._continues(heading, first[at + 1][1]):
            return row, at + 2, _trimmed(_merged(heading, first[at + 1][1]))
        return row, at + 1, _trimmed(heading)

    def match(self, row: int, heading: list[str], problems: list[Problem]) -> list[str | None]:
        """Name the field of every column; None for a column to ignore."""
        fields: list[str | None] = []
        for cell in heading:
            name = self.meaning(cell)
            if name is None and cell and folded(cell) not in self._mapping:
                advice = self._advice(folded(cell))
                problems.append(Problem(row, cell, f"unknown column; {advice}"))
            elif name is not None and name in fields:
                problems.append(Problem(row, cell, f"names the column {name} a second time"))
                name = None
            fields.append(name)
        for name in self.required:
            if name not in fields:
                problems.append(Problem(row, name, "this column is missing; it is required"))
        return fields

    def _advice(self, heading: str) -> str:
        """Name the heading that was probably meant, of all languages; else ours."""
        near = suggestion(heading, (*self._meaning, *self.fields))
        return near if near.startswith("did you mean") else suggestion(heading, self.fields)

    def _continues(self, heading: list[str], below: Sequence[Cell]) -> bool:
        """Tell whether the row below holds more headings, under merged cells."""
        named = [cell for cell in below if cell]
        at = next((i for i, cell in enumerate(heading) if self.meaning(cell) == "name"), None)
        empty = at is not None and (at >= len(below) or not below[at])
        return empty and all(self.meaning(cell) is not None for cell in named)


def headings(model: type[BaseModel], name: str) -> tuple[str, ...]:
    """Headings of a field beside its own name, the usual ones first."""
    extra = model.model_fields[name].json_schema_extra
    stated = extra.get("headings") if isinstance(extra, dict) else None
    own = [str(entry) for entry in stated] if isinstance(stated, list) else []
    return tuple(dict.fromkeys((*HEADINGS.get(name, ()), *own)))


def _merged(heading: list[str], below: Sequence[Cell]) -> list[str]:
    """Take the lower heading where there is one: the upper is then the name of a group."""
    width = max(len(heading), len(below))
    upper = [*heading, *[""] * (width - len(heading))]
    lower = [*(str(cell) for cell in below), *[""] * (width - len(below))]
    return [under or over for over, under in zip(upper, lower, strict=True)]


def _trimmed(heading: list[str]) -> list[str]:
    """Leave out empty cells at the end; what stands below them has no heading."""
    width = max((at for at, cell in enumerate(heading, start=1) if cell), default=0)
    return heading[:width]


def folded(heading: str) -> str:
    """Write a heading as it is compared: without case, full-width letters and spaces."""
    narrow = unicodedata.normalize("NFKC", heading).strip().casefold()
    lines = re.sub(r"\s*\n\s*", "/", narrow)
    return re.sub(r"[\s\-]+", "_", lines)


__all__ = ["HEADINGS", "HEADING_ROWS", "Columns", "folded", "headings"]

"""A workbook for an integrator to fill in: headings, lists to choose from, and what each means.

Guarantees: the first sheet is a point table that reads as it stands, headings in Chinese and
English; the second explains every column from the same fields that read it, so that the two cannot
disagree. Columns of text are formatted as text, so that no spreadsheet makes a date of 1-2.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from drivers.point_columns import headings
from drivers.point_table import PointSettings
from drivers.point_writer import SHEET, Value, fill_row

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

ROWS = 5000
"""Rows with lists to choose from; more rows read just as well."""

NOTES = "columns 说明"
_NOTES_HEADINGS = ("column 列", "headings 可用表头", "required 必填", "default 默认",
                   "choices 可选", "meaning 含义")  # fmt: skip
_MEANINGS: Mapping[str, str] = {
    "area": "Kind of register; may be empty with base = modicon 寄存器区",
    "address": "Register as on the wire, from 0; or 4xxxx with base = modicon 寄存器地址",
    "type": "How the value is stored; text:N for N characters 数据类型",
    "order": "Order of its bytes; ABCD is most significant first 字节序",
    "unit_id": "Id on the bus, where it is not that of the device entry 站号",
    "node": "Node id with namespace URI, nsu=urn:plant:dcs;s=Tank1.Level 节点",
}
"""Of usual columns of drivers whose fields say nothing themselves."""


@dataclass(frozen=True, slots=True)
class Template:
    """What a driver adds: its columns, values to choose from, and two points as examples."""

    address: type[BaseModel]
    examples: Sequence[Mapping[str, Value]]
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)


def template_bytes(template: Template) -> bytes:
    """Make the workbook."""
    import openpyxl
    from openpyxl.styles import Font

    book = openpyxl.Workbook()
    points = book.worksheets[0]
    points.title = SHEET
    fields = _fields(template.address)
    fill_row(points, 1, [_heading(template.address, name) for name in fields])
    for row, example in enumerate(template.examples, start=2):
        fill_row(points, row, [example.get(name, "") for name in fields])
    for at, (name, (model, info)) in enumerate(fields.items(), start=1):
        _dress(points, at, info, _choices(name, info, template), _meaning(model, name))
    points.freeze_panes = "B2"
    notes = book.create_sheet(NOTES)
    fill_row(notes, 1, _NOTES_HEADINGS)
    for row, (name, (model, info)) in enumerate(fields.items(), start=2):
        fill_row(notes, row, _note(name, model, info, _choices(name, info, template)))
    for column, width in zip("ABCDEF", (20, 34, 12, 12, 40, 70), strict=True):
        notes.column_dimensions[column].width = width
        notes[f"{column}1"].font = Font(bold=True)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _fields(address: type[BaseModel]) -> dict[str, tuple[type[BaseModel], FieldInfo]]:
    """All columns, the driver's behind the name."""
    name = {"name": (PointSettings, PointSettings.model_fields["name"])}
    own = {n: (address, info) for n, info in address.model_fields.items()}
    common = {n: (PointSettings, info) for n, info in PointSettings.model_fields.items()}
    return {**name, **own, **common}


def _heading(address: type[BaseModel], name: str) -> str:
    model = PointSettings if name in PointSettings.model_fields else address
    chinese = next((word for word in headings(model, name) if not word.isascii()), "")
    return f"{chinese} {name}".strip()


def _dress(
    sheet: Worksheet, at: int, info: FieldInfo, choices: Sequence[str], meaning: str
) -> None:
    from openpyxl.comments import Comment
    from openpyxl.styles import Font, PatternFill
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    head = sheet.cell(1, at)
    head.font = Font(bold=True)
    head.comment = Comment(meaning, "plantgate", width=320, height=90)
    if info.is_required():
        head.fill = PatternFill("solid", fgColor="FFF2CC")
    letter = get_column_letter(at)
    sheet.column_dimensions[letter].width = max(12, 2 + len(str(head.value)) * 1.3)
    if info.annotation is str or get_origin(info.annotation) is Literal:
        sheet.column_dimensions[letter].number_format = "@"
    if not choices:
        return
    offered = DataValidation(type="list", formula1=f'"{",".join(choices)}"', allow_blank=True)
    offered.errorStyle = "warning"  # other spellings are read, too
    offered.error = meaning[:255]
    offered.add(f"{letter}2:{letter}{ROWS}")
    sheet.add_data_validation(offered)


def _choices(name: str, info: FieldInfo, template: Template) -> Sequence[str]:
    if name in template.choices:
        return template.choices[name]
    if get_origin(info.annotation) is Literal:
        return [str(word) for word in get_args(info.annotation) if word]
    if name == "priority":
        return ["1", "2", "3", "4"]
    return ()


def _meaning(model: type[BaseModel], name: str) -> str:
    return model.model_fields[name].description or _MEANINGS.get(name, "")


def _note(
    name: str, model: type[BaseModel], info: FieldInfo, choices: Sequence[str]
) -> list[Value]:
    default: Any = None if info.is_required() else info.get_default()
    return [
        name,
        ", ".join(headings(model, name)),
        "yes 是" if info.is_required() else "",
        "" if default is None else str(default),
        ", ".join(choices),
        _meaning(model, name),
    ]


__all__ = ["NOTES", "ROWS", "Template", "template_bytes"]

"""Point tables 点表: one reader of CSV files for all drivers.

Guarantees:

- `parse` never raises for what is in the bytes but TableError (the file as a whole cannot be read);
  every other mistake is a Problem with row and column, all of them at once.
- A row is the line in the file, 1-based, as editors count; the heading is a row too.
- The same bytes always give the same table: the separator is decided by which one (comma, tab,
  semicolon) finds most known headings in the first line, not by statistics.

The format: UTF-8, UTF-8 with BOM, UTF-16 with BOM, else GB18030 (what Chinese Excel writes).
Blank lines, and lines that start with #, are skipped; a tag that itself starts with # is put in
double quotes. An empty cell is a value not given. Headings are English or Chinese; case, spaces,
full-width letters and a unit in brackets behind the heading do not matter.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from drivers.contract import AddressT, Problem, StrictModel
from drivers.wording import sentence, shown, suggestion

MAX_BYTES = 64 << 20
"""Largest table read: 100,000 rows of 200 bytes take 20 MB; more is a wrong file."""

SEPARATORS = (",", "\t", ";")

Number = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=512)]
ModelT = TypeVar("ModelT", bound=BaseModel)


class PointSettings(StrictModel):
    """What every point may say about itself, whatever the driver.

    value = raw * scale + offset, in `unit`. Limits, deadband and range in engineering units; an
    alarm returns `deadband` inside its limit. Delays in seconds. priority 1 (highest) to 4.
    """

    name: str = Field(max_length=128)
    scale: Number = 1.0
    offset: Number = 0.0
    unit: Text = ""
    low_low: Number | None = None
    low: Number | None = None
    high: Number | None = None
    high_high: Number | None = None
    deadband: Number = Field(default=0.0, ge=0)
    on_delay_s: Number = Field(default=0.0, ge=0, le=86_400)
    off_delay_s: Number = Field(default=0.0, ge=0, le=86_400)
    description: Text = ""
    range_low: Number | None = None
    range_high: Number | None = None
    priority: int = Field(default=3, ge=1, le=4)
    gas: Text = ""
    place: Text = ""
    hazard: Text = ""
    equipment: Text = ""
    indicator: Text = ""
    operator_position: Text = ""
    alarm_source: Literal["gateway", "panel"] = "gateway"

    @field_validator("name")
    @classmethod
    def _name_prints(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError(f"must be a tag of printable characters, not {shown(name)}")
        return name

    @field_validator("scale")
    @classmethod
    def _scale_not_zero(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("must not be 0: every value would be lost")
        return scale


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
    # Usual columns of drivers; a driver adds its own by json_schema_extra["headings"].
    "area": ("区域", "寄存器类型", "寄存器区"),
    "address": ("地址", "寄存器地址"),
    "type": ("类型", "数据类型"),
    "order": ("字节序", "字序"),
    "node": ("节点", "nodeid", "node_id"),
}
"""Headings beside a field's own name."""


class TableError(Exception):
    """The file as a whole is no point table; the text is one clear line. `row` is 0 if unknown."""

    def __init__(self, message: str, row: int = 0) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True, slots=True)
class PointRow(Generic[AddressT]):
    """One point: `row` is its line in the file, `tag` its name within the device.

    Both halves are validated. `settings` is one object for all rows that differ in the name only
    (its own name is empty), so that 100,000 points do not cost 100,000 of them.
    """

    row: int
    tag: str
    settings: PointSettings
    address: AddressT


@dataclass(frozen=True, slots=True)
class PointTable(Generic[AddressT]):
    """Rows that are right, problems of those that are not, and how the file was read."""

    rows: tuple[PointRow[AddressT], ...]
    problems: tuple[Problem, ...]
    encoding: str
    separator: str


def read(path: Path, address: type[AddressT]) -> PointTable[AddressT]:
    """Read a point table; raises TableError when the file cannot be read as one."""
    if path.suffix.lower() in {".xlsx", ".xls", ".xlsm", ".et"}:
        raise TableError(
            f"is a spreadsheet ({path.suffix}); this version reads CSV: "
            "in Excel or WPS choose 'Save as … CSV UTF-8'"
        )
    try:
        if not path.is_file():
            raise TableError("is a folder" if path.is_dir() else "there is no such file")
        if path.stat().st_size > MAX_BYTES:
            raise TableError(f"is larger than {MAX_BYTES >> 20} MB: not a point table")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise TableError(f"cannot be read: {_reason(error)}") from error
    return parse(raw, address)


def parse(raw: bytes, address: type[AddressT]) -> PointTable[AddressT]:
    """Read a point table from bytes; raises TableError when they are no table."""
    text, encoding = _decode(raw)
    columns = _Columns(PointSettings, address)
    lines = _without_comments(text)
    separator = _separator(lines, columns)
    records = _records(lines, separator)
    try:
        heading_row, heading = next(records)
    except StopIteration:
        raise TableError("is empty; the first line names the columns, name first") from None
    problems: list[Problem] = []
    fields = columns.match(heading_row, heading, problems)
    rows: list[PointRow[AddressT]] = []
    first: dict[str, int] = {}
    common = PointSettings.model_fields.keys() - {"name"}
    shared: dict[tuple[tuple[str, str], ...], PointSettings] = {}
    for row, cells in records:
        given = _given(row, cells, fields, problems)
        point = _point(row, given, fields, address, problems)
        name = given.get("name", "")
        if name and first.setdefault(name, row) != row:
            said = f"duplicate point {shown(name)}, also in row {first[name]}"
            problems.append(Problem(row, "name", said))
        if point is not None:
            same = tuple(item for item in given.items() if item[0] in common)
            settings = shared.setdefault(same, point.settings)
            rows.append(replace(point, settings=settings))
    if not rows and not problems:
        problems.append(Problem(heading_row, "", "the table has no rows below its headings"))
    problems.sort(key=lambda problem: problem.row)
    return PointTable(tuple(rows), tuple(problems), encoding, separator)


def settings_problems(settings: PointSettings) -> Iterator[tuple[str, str]]:
    """Mistakes between the columns of one row: (column, message)."""
    order = [
        (name, value)
        for name in ("low_low", "low", "high", "high_high")
        if (value := getattr(settings, name)) is not None
    ]
    for (below, lower), (above, upper) in itertools.pairwise(order):
        if not lower < upper:
            yield above, f"must be above {below} ({lower:g}), not {upper:g}"
    bottom, top = settings.range_low, settings.range_high
    if bottom is not None and top is not None and not bottom < top:
        yield "range_high", f"must be above range_low ({bottom:g}), not {top:g}"
    else:
        for name, value in order:
            if bottom is not None and value < bottom:
                yield name, f"must lie in the range, at least range_low ({bottom:g}): {value:g}"
            if top is not None and value > top:
                yield name, f"must lie in the range, at most range_high ({top:g}): {value:g}"
    yield from _deadband_problems(settings)


def _deadband_problems(settings: PointSettings) -> Iterator[tuple[str, str]]:
    lows = [value for value in (settings.low, settings.low_low) if value is not None]
    highs = [value for value in (settings.high, settings.high_high) if value is not None]
    if lows and highs:
        span, between = min(highs) - max(lows), "the span between the low and the high limit"
    elif settings.range_low is not None and settings.range_high is not None:
        span, between = settings.range_high - settings.range_low, "the range"
    else:
        return
    if 0 < span <= settings.deadband:
        yield "deadband", f"must be smaller than {between} ({span:g}), not {settings.deadband:g}"


class _Columns:
    """Which heading means which field; the common columns win over the driver's."""

    def __init__(self, settings: type[BaseModel], address: type[BaseModel]) -> None:
        self.common = set(settings.model_fields)
        self.fields = [*settings.model_fields, *address.model_fields]
        self.required = [
            name
            for model in (settings, address)
            for name, field in model.model_fields.items()
            if field.is_required()
        ]
        self._meaning: dict[str, str] = {}
        for model in (address, settings):
            for name, field in model.model_fields.items():
                extra = field.json_schema_extra
                stated = extra.get("headings") if isinstance(extra, dict) else None
                own = [str(entry) for entry in stated] if isinstance(stated, list) else []
                for heading in (*HEADINGS.get(name, ()), *own, name):
                    self._meaning[_plain(heading)] = name

    def meaning(self, heading: str) -> str | None:
        """Find the field a heading names, or None."""
        plain = _plain(heading)
        return self._meaning.get(plain) or self._meaning.get(_BRACKETS.sub("", plain))

    def match(self, row: int, heading: list[str], problems: list[Problem]) -> list[str | None]:
        """Name the field of every column; None for a column to ignore."""
        fields: list[str | None] = []
        for cell in heading:
            name = self.meaning(cell)
            if name is None and cell:
                advice = suggestion(_plain(cell), self.fields)
                problems.append(Problem(row, cell, f"unknown column; {advice}"))
            elif name is not None and name in fields:
                problems.append(Problem(row, cell, f"names the column {name} a second time"))
                name = None
            fields.append(name)
        for name in self.required:
            if name not in fields:
                problems.append(Problem(row, name, "this column is missing; it is required"))
        return fields


_BRACKETS = re.compile(r"[(\[].*[)\]]$")


def _plain(heading: str) -> str:
    folded = unicodedata.normalize("NFKC", heading).strip().casefold()
    return re.sub(r"[\s\-]+", "_", folded)


def _decode(raw: bytes) -> tuple[str, str]:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        candidates = ["utf-16"]
    elif raw[:4] == b"PK\x03\x04":
        raise TableError("is a spreadsheet or zip file by its content; this version reads CSV")
    else:
        candidates = ["utf-8-sig", "gb18030"]
    for encoding in candidates:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            raise TableError("holds binary data, not text: save it as CSV UTF-8")
        return text, encoding
    raise TableError("is neither UTF-8 nor GB18030 text: save it as CSV UTF-8")


def _without_comments(text: str) -> list[str]:
    """Give lines with their ends; a comment becomes an empty line, so that lines still count."""
    lines = io.StringIO(text, newline=None).readlines()
    return ["\n" if line.lstrip().startswith("#") else line for line in lines]


def _separator(lines: list[str], columns: _Columns) -> str:
    first = next((line for line in lines if line.strip()), "")

    def known(separator: str) -> int:
        return sum(
            columns.meaning(cell.strip('" \n')) is not None for cell in first.split(separator)
        )

    return max(SEPARATORS, key=known)  # the first of equals: comma


def _records(lines: list[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line where it starts, stripped cells) of every record that is not blank."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        row = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise TableError(f"is no CSV from here on: {error}", row) from error
        if any(cells):
            yield row, cells


def _given(
    row: int, cells: list[str], fields: list[str | None], problems: list[Problem]
) -> dict[str, str]:
    """Name the cells of a record that hold something."""
    given: dict[str, str] = {}
    for column, cell in enumerate(cells):
        if not cell:
            continue
        if column >= len(fields):
            problems.append(Problem(row, f"cell {column + 1}", f"has no heading: {shown(cell)}"))
        elif (name := fields[column]) is not None:
            given[name] = cell
    return given


def _point(
    row: int,
    given: dict[str, str],
    fields: list[str | None],
    address: type[AddressT],
    problems: list[Problem],
) -> PointRow[AddressT] | None:
    common = {name: cell for name, cell in given.items() if name in PointSettings.model_fields}
    own = {name: cell for name, cell in given.items() if name not in common}
    settings = _validated(PointSettings, common, row, fields, problems)
    where = _validated(address, own, row, fields, problems)
    if settings is not None:
        problems += [Problem(row, *found) for found in settings_problems(settings)]
    if settings is None or where is None:
        return None
    return PointRow(row, settings.name, settings.model_copy(update={"name": ""}), where)


def _validated(
    model: type[ModelT],
    cells: dict[str, str],
    row: int,
    fields: list[str | None],
    problems: list[Problem],
) -> ModelT | None:
    try:
        return model.model_validate_strings(cells)
    except ValidationError as failure:
        seen: set[str] = set()
        for error in failure.errors(include_url=False):
            column = str(error["loc"][0]) if error["loc"] else ""
            if column in seen or (error["type"] == "missing" and column not in fields):
                continue  # a union says one mistake twice; a missing column was said once
            seen.add(column)
            message = (
                "the cell is empty; a value is required"
                if error["type"] == "missing"
                else sentence(error)
            )
            problems.append(Problem(row, column, message))
    return None


def _reason(error: OSError | ValueError) -> str:
    """Give the system's words without errno and path."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


__all__ = [
    "HEADINGS",
    "PointRow",
    "PointSettings",
    "PointTable",
    "TableError",
    "parse",
    "read",
    "settings_problems",
]

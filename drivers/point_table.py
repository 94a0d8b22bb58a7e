"""Point tables 点表: one reader of CSV files and XLSX workbooks for all drivers.

Guarantees:

- `read` never raises for what is in the file but TableError (the file as a whole cannot be read);
  every other mistake is a Problem with row and column, all of them at once, and `place` names the
  cell of a workbook.
- A row is the line in the file or the row of the sheet, 1-based; the heading is a row too.
- The same content gives the same table, whether it came as CSV or as XLSX.
- The same bytes always give the same table: the separator is decided by which one (comma, tab,
  semicolon) finds most known headings in one line, not by statistics.

The format: encodings in point_records, workbooks in point_sheet, headings in point_columns. Blank
lines, and lines of CSV that start with #, are skipped; a tag that itself starts with # is put in
double quotes. An empty cell is a value not given.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from drivers.contract import AddressT, Problem, StrictModel
from drivers.point_columns import HEADING_ROWS, HEADINGS, Columns
from drivers.point_records import (
    MAX_ROWS,
    Cell,
    Record,
    Refused,
    TableError,
    csv_records,
    decoded,
)
from drivers.point_rows import PointRow, PointRows
from drivers.wording import sentence, shown

MAX_BYTES = 64 << 20
"""Largest table read: 100,000 rows of 200 bytes take 20 MB; more is a wrong file."""

SEPARATORS = (",", "\t", ";")

FORMULA = re.compile(r"'*[=+\-@＝＋－＠]")
"""Text that a spreadsheet would take for a formula is written with an apostrophe before it (the
sign by which spreadsheets mark text), one more than it has; one is taken away on reading."""

_HEAD_CHARACTERS = 1 << 16

Number = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=512)]
ModelT = TypeVar("ModelT", bound=BaseModel)


class PointSettings(StrictModel):
    """What every point may say about itself, whatever the driver.

    value = raw * scale + offset, in `unit`. Limits, deadband and range in engineering units; an
    alarm returns `deadband` inside its limit. Delays in seconds. priority 1 (highest) to 4.
    """

    name: str = Field(max_length=128, description="Tag, unique within the device 位号，设备内唯一")
    scale: Number = Field(default=1.0, description="value = raw * scale + offset 比例")
    offset: Number = Field(default=0.0, description="value = raw * scale + offset 偏移")
    unit: Text = Field(default="", description="Engineering unit, as in %LEL or MPa 工程单位")
    low_low: Number | None = Field(
        default=None, description="Alarm limit, engineering unit; empty: none 低低报"
    )
    low: Number | None = Field(
        default=None, description="Alarm limit, engineering unit; empty: none 低报"
    )
    high: Number | None = Field(
        default=None, description="Alarm limit, engineering unit; empty: none 高报"
    )
    high_high: Number | None = Field(
        default=None, description="Alarm limit, engineering unit; empty: none 高高报"
    )
    deadband: Number = Field(
        default=0.0, ge=0, description="An alarm returns so far inside its limit 回差"
    )
    on_delay_s: Number = Field(
        default=0.0,
        ge=0,
        le=86_400,
        description="Seconds beyond a limit before an alarm 报警延时（秒）",
    )
    off_delay_s: Number = Field(
        default=0.0, ge=0, le=86_400, description="Seconds inside before it returns 消警延时（秒）"
    )
    description: Text = Field(default="", description="What is measured, for people 描述")
    range_low: Number | None = Field(
        default=None, description="Lower end of the measuring range 量程下限"
    )
    range_high: Number | None = Field(
        default=None, description="Upper end of the measuring range 量程上限"
    )
    priority: int = Field(
        default=3, ge=1, le=4, description="Of its alarms, 1 (highest) to 4 报警优先级"
    )
    gas: Text = Field(default="", description="Gas that a detector measures, as in CH4 or H2S 介质")
    place: Text = Field(default="", description="Name of a [[place]] of the site file 位置")
    hazard: Text = Field(default="", description="Name of a [[hazard]] of the site file 重大危险源")
    equipment: Text = Field(
        default="", description="Name of an [[equipment]] of the site file 设备"
    )
    indicator: Text = Field(
        default="", description="Code of the indicator on the platform 指标编码"
    )
    operator_position: Text = Field(default="", description="Post that answers its alarms 操作岗位")
    alarm_source: Literal["gateway", "panel"] = Field(
        default="gateway",
        description="Whose alarm counts: the limits above, or the panel's own bit 报警来源",
    )

    alarm_of: Text = Field(
        default="",
        description="Of a panel's alarm bit: the alarm it is, as in AT-101:high 对应报警",
    )

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


@dataclass(frozen=True, slots=True)
class PointTable(Generic[AddressT]):
    """Rows that are right, problems of those that are not; two tables are equal by these.

    How the file was read does not count: encoding ("xlsx" for a workbook), separator, sheet (its
    name, of a workbook), notes (what a person should know, one line each), and columns: the number
    from 0 of the column of each field and heading.
    """

    rows: PointRows[AddressT]
    problems: tuple[Problem, ...]
    encoding: str = field(compare=False)
    separator: str = field(compare=False)
    sheet: str = field(default="", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    columns: Mapping[str, int] = field(default_factory=dict, compare=False)

    def place(self, row: int, column: str) -> str:
        """Name a cell of a workbook as its program does, "Sheet1!C12"; empty for CSV."""
        if not self.sheet:
            return ""
        extra = re.fullmatch(r"cell (\d+)", column)
        number = int(extra[1]) - 1 if extra else self.columns.get(column)
        return f"{self.sheet}!row {row}" if number is None else f"{self.sheet}!{cell(row, number)}"


def cell(row: int, column: int) -> str:
    """Name a cell as spreadsheets do: row 12, column 2 (from 0) is C12."""
    letters, rest = "", column + 1
    while rest:
        rest, letter = divmod(rest - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{row}"


def read(
    path: Path,
    address: type[AddressT],
    *,
    sheet: str = "",
    mapping: Mapping[str, str] | None = None,
) -> PointTable[AddressT]:
    """Read a point table, CSV or XLSX; raises TableError when the file cannot be read as one.

    sheet: of a workbook; without it the first visible one that has headings of a point table.
    mapping: further headings and the fields they mean, "" for a column to leave out.
    """
    kind = path.suffix.lower()
    if kind in {".xls", ".et"}:
        raise TableError(f"is an old spreadsheet ({kind}): save it as .xlsx in Excel or WPS")
    raw = content(path)
    if kind in {".xlsx", ".xlsm"}:
        return parse_workbook(raw, address, sheet=sheet, mapping=mapping)
    if sheet:
        raise TableError(f"is no workbook, so it has no sheet {shown(sheet)}: leave sheet out")
    return parse(raw, address, mapping=mapping)


def content(path: Path) -> bytes:
    """Read the bytes of a file of at most MAX_BYTES; raises TableError."""
    try:
        if not path.is_file():
            raise TableError("is a folder" if path.is_dir() else "there is no such file")
        if path.stat().st_size > MAX_BYTES:
            raise TableError(f"is larger than {MAX_BYTES >> 20} MB: not a point table")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise TableError(f"cannot be read: {reason}") from error


def parse(
    raw: bytes, address: type[AddressT], *, mapping: Mapping[str, str] | None = None
) -> PointTable[AddressT]:
    """Read a point table from the bytes of a CSV file; raises TableError when they are none."""
    text, encoding = decoded(raw)
    columns = Columns(PointSettings, address, mapping)
    separator = _separator(text, columns)
    table = _table(csv_records(text, separator), columns, address)
    return replace(table, encoding=encoding, separator=separator)


def parse_workbook(
    raw: bytes,
    address: type[AddressT],
    *,
    sheet: str = "",
    mapping: Mapping[str, str] | None = None,
) -> PointTable[AddressT]:
    """Read a point table from the bytes of an XLSX workbook; raises TableError."""
    from drivers.point_sheet import Workbook  # loads openpyxl, which tables in CSV do without

    columns = Columns(PointSettings, address, mapping)
    with Workbook(raw) as workbook:
        name, notes = workbook.choose(sheet, columns)
        table = _table(workbook.records(name), columns, address)
    return replace(table, encoding="xlsx", sheet=name, notes=tuple(notes))


def _table(
    records: Iterator[Record], columns: Columns, address: type[AddressT]
) -> PointTable[AddressT]:
    """Make the table of a file's records; how it was read is for the caller to say."""
    first = list(itertools.islice(records, HEADING_ROWS))
    if not first:
        raise TableError("is empty; the first line names the columns, name first")
    near = [record for record in first if record[0] <= HEADING_ROWS] or first[:1]
    heading_row, skipped, heading = columns.heading(near)
    problems: list[Problem] = []
    fields = columns.match(heading_row, heading, problems)
    missing = {name for name in columns.required if name not in fields}  # said once, above
    rows: PointRows[AddressT] = PointRows()
    seen: dict[str, int] = {}
    common = PointSettings.model_fields.keys() - {"name"}
    shared: dict[tuple[tuple[str, str], ...], PointSettings] = {}
    for count, (row, cells) in enumerate(itertools.chain(first[skipped:], records), start=1):
        if count > MAX_ROWS:
            raise TableError(f"has more than {MAX_ROWS} rows: not a point table", row)
        if _in_one_cell(cells, fields):
            problems.append(Problem(row, "", _FULL_WIDTH_COMMAS))
            continue
        given, refused = _given(row, cells, fields, problems)
        point = _point(row, given, refused | missing, address, problems)
        name = given.get("name", "")
        if name and seen.setdefault(name, row) != row:
            said = f"duplicate point {shown(name)}, also in row {seen[name]}"
            problems.append(Problem(row, "name", said))
        if point is not None:
            same = tuple(item for item in given.items() if item[0] in common)
            settings = shared.setdefault(same, point.settings)
            rows.append(replace(point, settings=settings))
    if not rows and not problems:
        problems.append(Problem(heading_row, "", "the table has no rows below its headings"))
    problems.sort(key=lambda problem: problem.row)
    places = {word: at for at, word in reversed(list(enumerate(heading))) if word}
    places |= {name: at for at, name in enumerate(fields) if name is not None}
    return PointTable(rows, tuple(problems), "", "", columns=places)


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


def _separator(text: str, columns: Columns) -> str:
    """Find the separator that makes most headings of one of the first lines."""
    head = [line for line in text[:_HEAD_CHARACTERS].splitlines() if line.strip()][:HEADING_ROWS]

    def known(separator: str) -> int:
        lines = ([word.strip('" ') for word in line.split(separator)] for line in head)
        return max((len(columns.named(cells)) for cells in lines), default=0)

    return max(SEPARATORS, key=known)  # the first of equals: comma


_FULL_WIDTH_COMMAS = "has full-width commas ， between its cells: type , instead"


def _in_one_cell(cells: list[Cell], fields: list[str | None]) -> bool:
    """Tell whether a whole row stands in its first cell, as full-width commas part nothing."""
    first, *rest = cells
    commas = first.count("，") if isinstance(first, str) else 0
    return commas > 0 and not any(rest) and len(fields) > 1


def _given(
    row: int, cells: list[Cell], fields: list[str | None], problems: list[Problem]
) -> tuple[dict[str, str], set[str]]:
    """Name the cells of a record that hold something, and those that hold what is refused."""
    given: dict[str, str] = {}
    refused: set[str] = set()
    for column, held in enumerate(cells):
        name = fields[column] if column < len(fields) else None
        if not held or (name is None and column < len(fields)):
            continue
        if name is None:
            said = shown(held) if isinstance(held, str) else "something"
            problems.append(Problem(row, f"cell {column + 1}", f"has no heading: {said}"))
        elif isinstance(held, Refused):
            problems.append(Problem(row, name, held.message))
            refused.add(name)
        else:
            given[name] = held[1:] if held[0] == "'" and FORMULA.match(held) else held
    return given, refused


def _point(
    row: int,
    given: dict[str, str],
    refused: set[str],
    address: type[AddressT],
    problems: list[Problem],
) -> PointRow[AddressT] | None:
    common = {name: cell for name, cell in given.items() if name in PointSettings.model_fields}
    own = {name: cell for name, cell in given.items() if name not in common}
    settings = _validated(PointSettings, common, row, refused, problems)
    where = _validated(address, own, row, refused, problems)
    if settings is not None:
        problems += [Problem(row, *found) for found in settings_problems(settings)]
    if settings is None or where is None:
        return None
    return PointRow(row, settings.name, settings.model_copy(update={"name": ""}), where)


def _validated(
    model: type[ModelT],
    cells: dict[str, str],
    row: int,
    known: set[str],
    problems: list[Problem],
) -> ModelT | None:
    """Validate one half of a row; `known` are columns that something was said about already."""
    try:
        return model.model_validate_strings(cells)
    except ValidationError as failure:
        seen = set(known)
        for error in failure.errors(include_url=False):
            column = str(error["loc"][0]) if error["loc"] else ""
            if column in seen:
                continue  # a union says one mistake twice
            seen.add(column)
            message = (
                "the cell is empty; a value is required"
                if error["type"] == "missing"
                else sentence(error)
            )
            problems.append(Problem(row, column, message))
    return None


__all__ = [
    "HEADINGS",
    "PointRow",
    "PointRows",
    "PointSettings",
    "PointTable",
    "TableError",
    "cell",
    "content",
    "parse",
    "parse_workbook",
    "read",
    "settings_problems",
]

"""Writes point tables as CSV and XLSX, so that reading them gives the same points.

Guarantees: what is written holds every value of every row, a column for each field that any row
uses, under the fields' own names. Text that a spreadsheet would take for a formula (it begins with
= + - @) is text: in CSV by an apostrophe before it, which the reader takes away again, in XLSX by
the type of the cell. CSV is UTF-8 with BOM, without which Excel shows no Chinese.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from drivers.point_records import TableError
from drivers.point_table import FORMULA, PointRow, PointSettings

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

Value = str | int | float
SHEET = "points"


def csv_bytes(rows: Sequence[PointRow[Any]], address: type[BaseModel]) -> bytes:
    """Write rows as CSV."""
    names = columns(rows, address)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        cells = [_plain(value) for value in values(row, names)]
        if cells[0].startswith("#"):  # bare, it would be a comment
            rest = io.StringIO()
            csv.writer(rest, lineterminator="\r\n").writerow(["", *cells[1:]])
            first = cells[0].replace('"', '""')
            text.write(f'"{first}"{rest.getvalue()}')
        else:
            writer.writerow(cells)
    return text.getvalue().encode("utf-8-sig")


def workbook_bytes(rows: Sequence[PointRow[Any]], address: type[BaseModel]) -> bytes:
    """Write rows as an XLSX workbook; raises TableError for a character that none can hold."""
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = SHEET
    names = columns(rows, address)
    fill_row(sheet, 1, names)
    for number, row in enumerate(rows, start=2):
        fill_row(sheet, number, values(row, names))
    sheet.freeze_panes = "B2"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def fill_row(sheet: Worksheet, row: int, cells: Sequence[Value]) -> None:
    """Fill a row of a sheet; text stays text, whatever it begins with."""
    from openpyxl.utils.exceptions import IllegalCharacterError

    for column, value in enumerate(cells, start=1):
        if value == "":
            continue
        place = sheet.cell(row, column)
        try:
            place.value = f"'{value}" if _looks_guarded(value) else value
        except IllegalCharacterError as error:
            said = f"{place.coordinate} would hold a control character, which no workbook can"
            raise TableError(f"{said}: {value!r}; write CSV, or take it out") from error
        if isinstance(value, str):
            place.data_type = "s"
            place.number_format = "@"


def columns(rows: Sequence[PointRow[Any]], address: type[BaseModel]) -> list[str]:
    """Fields to write: name, what the driver must have, and all that any row gives."""
    used = {id(row.settings): row.settings for row in rows}.values()
    return [
        "name",
        *(
            name
            for name, field in address.model_fields.items()
            if field.is_required() or any(_value(row, name) != "" for row in rows)
        ),
        *(
            name
            for name, field in PointSettings.model_fields.items()
            if name != "name"
            and any(getattr(settings, name) != field.get_default() for settings in used)
        ),
    ]


def values(row: PointRow[Any], names: Sequence[str]) -> list[Value]:
    """Values of a row for these fields, "" where none is given."""
    return [row.tag if name == "name" else _value(row, name) for name in names]


def _value(row: PointRow[Any], name: str) -> Value:
    common = name in PointSettings.model_fields
    value = getattr(row.settings if common else row.address, name)
    default = PointSettings.model_fields[name].get_default() if common else None
    if value is None or (common and value == default):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _looks_guarded(value: Value) -> bool:
    """Tell whether the reader would take an apostrophe away."""
    return isinstance(value, str) and value.startswith("'") and bool(FORMULA.match(value))


def _plain(value: Value) -> str:
    if isinstance(value, str):
        return f"'{value}" if FORMULA.match(value) else value
    return repr(value)


__all__ = ["SHEET", "Value", "columns", "csv_bytes", "fill_row", "values", "workbook_bytes"]

"""Point tables in XLSX workbooks, as Excel and WPS write them; the only reader of openpyxl.

Guarantees:

- Nothing but TableError leaves for whatever the bytes hold. What is read is bounded before it is
  read: the unpacked size, the parts, the rows and the columns.
- A cell gives the text a person would have typed: 1.0 and 40001.0 are 1 and 40001, whatever the
  number format. What would silently be another value is refused, by name of the cell: dates (Excel
  makes them of 1-2), percentages (50 % is stored as 0.5), error values, and formulas of which no
  result is stored.
- Formats and colours do not count; hidden rows and columns are read, hidden sheets are not unless
  named.

A formula's result is stored beside it by Excel and WPS; openpyxl gives either, so that a sheet with
formulas is read twice. 20,000 rows of 14 columns take 4.8 s on one core, five times CSV: a large
table is better imported to CSV once (`plantgate points import`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import itertools
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import openpyxl

from drivers.point_columns import HEADING_ROWS, Columns
from drivers.point_records import Cell, Record, Refused, TableError
from drivers.wording import shown, suggestion

MAX_UNPACKED_BYTES = 512 << 20
"""100,000 points of 20 columns take some 150 MB of XML; more is a wrong file or an attack."""
MAX_PART_BYTES = 96 << 20
"""Of parts that are held in memory whole: shared strings and styles."""
MAX_PARTS = 2000
MAX_COLUMNS = 256
_LAST_ROW = 1_048_576  # of a sheet, ECMA-376

_ROWS_AT_ONCE = 256

_LITERAL = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
"""Of a number format: text that is shown as it is, as in 0.0"%LEL"."""

_Row = tuple[int, Sequence[Any]]

_DATE = "is a date for the spreadsheet; format the cell as text and type the value anew"
_PERCENT = "is formatted as a percentage, which stores 50 % as 0.5; format it as a plain number"
_NO_RESULT = "is a formula without a stored result; open the file in Excel or WPS and save it"


class Workbook:
    """`with Workbook(raw) as workbook`: its sheets as records of text."""

    def __init__(self, raw: bytes) -> None:
        """Raises TableError where the bytes are no workbook that may be opened."""
        _check_archive(raw)
        self._raw = raw
        self._formulas = _opened(raw, results=False)
        self._results: Any = None

    def __enter__(self) -> Workbook:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the archive."""
        self._formulas.close()
        if self._results is not None:
            self._results.close()

    def sheets(self) -> list[str]:
        """Names of the visible sheets with cells, in order."""
        return [s.title for s in self._formulas.worksheets if s.sheet_state == "visible"]

    def choose(self, wanted: str, columns: Columns) -> tuple[str, list[str]]:
        """Find the sheet to read, and what a person should know about the choice.

        wanted: its name, or empty for the first visible one with headings of a point table.
        """
        names = [sheet.title for sheet in self._formulas.worksheets]
        if wanted:
            if wanted not in names:
                raise TableError(f"has no sheet {shown(wanted)}; {suggestion(wanted, names)}")
            return wanted, []
        visible = self.sheets()
        if not visible:
            raise TableError("has no visible sheet with cells")
        fit = [name for name in visible if self._has_headings(name, columns)]
        if not fit:
            return visible[0], []
        others = ", ".join(map(shown, fit[1:]))
        note = f"only sheet {shown(fit[0])} is read, though {others} looks like a point table too"
        return fit[0], [f"{note}; choose by the key sheet"] if others else []

    def records(self, sheet: str) -> Iterator[Record]:
        """Yield the rows of a sheet that are not blank; raises TableError."""
        results: Iterator[_Row] | None = None
        for row, cells in _rows(self._formulas[sheet]):
            if not cells:
                continue
            held = cells
            if any(cell.data_type == "f" for cell in cells):
                results = results or self._with_stored_results(sheet)
                found = next((there for number, there in results if number == row), ())
                held = _with_results(cells, found)
            record = [_text(cell) for cell in held]
            if any(record):
                yield row, record

    def _with_stored_results(self, sheet: str) -> Iterator[_Row]:
        """Read the sheet again, with results in place of formulas."""
        if self._results is None:
            self._results = _opened(self._raw, results=True)
        return _rows(self._results[sheet])

    def _has_headings(self, name: str, columns: Columns) -> bool:
        for row, cells in self.records(name):
            if row > HEADING_ROWS:
                return False
            if columns.is_heading(cells):
                return True
        return False


def _check_archive(raw: bytes) -> None:
    if raw[:4] == b"\xd0\xcf\x11\xe0":  # OLE compound file: BIFF, or an encrypted package
        raise TableError("is encrypted or an old .xls: save it as .xlsx without a password")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise TableError("is no XLSX workbook: if it is text, name it .csv") from error
    # zipfile reads no more of a part than the size its directory states, so this bound holds.
    if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED_BYTES:
        raise TableError(
            f"unpacks to more than {MAX_UNPACKED_BYTES >> 20} MB or {MAX_PARTS} parts:"
            " not a point table"
        )
    whole = [part for part in parts if "worksheets/" not in part.filename]
    if any(part.file_size > MAX_PART_BYTES for part in whole):
        raise TableError(f"has a part of more than {MAX_PART_BYTES >> 20} MB: not a point table")


def _opened(raw: bytes, *, results: bool) -> Any:  # noqa: ANN401  # openpyxl's read-only workbook is untyped
    with _as_table_errors():
        return openpyxl.load_workbook(
            io.BytesIO(raw), read_only=True, data_only=results, keep_links=False
        )


def _rows(sheet: Any) -> Iterator[_Row]:  # noqa: ANN401  # likewise
    """Yield all rows with their numbers; the sheet's own word on its size is not trusted."""
    with _as_table_errors():
        sheet.reset_dimensions()
    rows = iter(sheet.iter_rows())
    number = 0
    while True:
        with _as_table_errors():
            some = list(itertools.islice(rows, _ROWS_AT_ONCE))
        if not some:
            return
        for cells in some:
            number += 1
            if any(cell.value is not None for cell in cells[MAX_COLUMNS:]):
                raise TableError(f"has more than {MAX_COLUMNS} columns: not a point table", number)
            yield number, cells[:MAX_COLUMNS]
        if number > _LAST_ROW:
            raise TableError(f"has rows beyond {_LAST_ROW}, which no spreadsheet has")


def _with_results(formulas: Sequence[Any], results: Sequence[Any]) -> list[Any]:
    """Take the stored results where there are formulas; a formula without one stays."""
    taken = list(formulas)
    for at, cell in enumerate(formulas):
        if cell.data_type != "f" or at >= len(results):
            continue
        result = results[at]
        if result.value is not None or result.data_type == "str":  # "str" and None: empty text
            taken[at] = result
    return taken


def _text(cell: Any) -> Cell:  # noqa: ANN401  # likewise
    """Give what a person would have typed into a cell, or why it cannot be known."""
    value, kind = cell.value, cell.data_type
    if kind == "f":
        return Refused(_NO_RESULT)
    if value is None:
        return ""
    if kind == "e":
        return Refused(f"holds the error {value}")
    if isinstance(value, dt.date | dt.time | dt.timedelta):
        return Refused(_DATE)
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        shown_as = _LITERAL.sub("", cell.number_format or "")
        return Refused(_PERCENT) if "%" in shown_as else _number(value)
    return str(value).replace("_x000D_", "").replace("\r\n", "\n").replace("\r", "\n").strip()


def _number(value: float) -> str:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return str(int(value)) if whole else repr(value)


@contextlib.contextmanager
def _as_table_errors() -> Iterator[None]:
    """Say every failure of the library in one line; its warnings are about formats."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except TableError:
        raise
    except Exception as error:
        # openpyxl raises whatever its parser meets: KeyError, ValueError, ParseError, zlib.error.
        said = str(error).splitlines()
        reason = f": {said[0][:100]}" if said else ""
        raise TableError(f"is a damaged workbook ({type(error).__name__}{reason})") from error


__all__ = ["Workbook"]

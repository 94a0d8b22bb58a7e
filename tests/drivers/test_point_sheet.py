"""Workbooks as point tables: what Excel makes of cells, what is refused, and hostile files."""

from __future__ import annotations

import csv
import datetime as dt
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from typing import Literal

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.worksheet.worksheet import Worksheet
from pydantic import Field

from drivers.contract import StrictModel
from drivers.point_records import MAX_ROWS
from drivers.point_table import PointSettings, PointTable, TableError, parse, parse_workbook


class Address(StrictModel):
    area: Literal["input", "holding"] = "holding"
    address: str = Field(json_schema_extra={"headings": ["Modbus地址"]})
    form: str = Field(default="u16", json_schema_extra={"headings": ["类型"]})


def workbook(*sheets: Sequence[Sequence[object]]) -> bytes:
    """An XLSX with one sheet for each list of rows; text stays text, whatever it begins with."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for rows in sheets:
        fill(book.create_sheet(), rows)
    return saved(book)


def fill(sheet: Worksheet, rows: Sequence[Sequence[object]]) -> None:
    for row, cells in enumerate(rows, start=1):
        for column, value in enumerate(cells, start=1):
            if value is None or value == "":
                continue
            cell = sheet.cell(row, column)
            cell.value = value  # type: ignore[assignment]  # the stubs list what may be written
            if isinstance(value, str):
                cell.data_type = "s"


def saved(book: openpyxl.Workbook) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def read(raw: bytes, sheet: str = "") -> PointTable[Address]:
    return parse_workbook(raw, Address, sheet=sheet)


def said_of(attempt: Callable[[], object]) -> str:
    """What a TableError says; empty where there is none."""
    try:
        attempt()
    except TableError as error:
        return str(error)
    return ""


HEAD = ("name", "address", "high", "description")


def test_a_cell_gives_what_was_typed() -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    fill(sheet, [HEAD, ("A", 40001.0, 1e-3, "  two\r\nlines "), (7, "00012", 25, True)])
    sheet["B2"].number_format = "0.000"
    first, second = read(saved(book)).rows
    assert (first.row, first.tag, first.address.address) == (2, "A", "40001")
    assert (first.settings.high, first.settings.description) == (0.001, "two\nlines")
    assert (second.tag, second.address.address) == ("7", "00012")
    assert second.settings.description == "TRUE"


@pytest.mark.parametrize(
    ("value", "number_format", "said"),
    [
        (dt.datetime.fromisoformat("2026-01-02T00:00"), None, "is a date"),
        (dt.date(2026, 1, 2), None, "is a date"),
        (dt.time(1, 2), None, "is a date"),
        (46000, "d-mmm", "is a date"),
        (1e12, "d-mmm", "holds the error"),  # beyond the calendar
        (0.5, "0.0%", "percentage"),
        ("=1+1", None, "formula without a stored result"),
        ("#N/A", None, "holds the error #N/A"),
    ],
)
def test_what_would_be_another_value_is_refused(
    value: object, number_format: str | None, said: str
) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    fill(sheet, [HEAD, ("A", 1, 5), ("B", 2, None)])
    sheet["C3"] = value  # type: ignore[assignment]  # likewise
    if number_format:
        sheet["C3"].number_format = number_format
    table = read(saved(book))
    (problem,) = table.problems
    assert said in problem.message
    assert table.place(problem.row, problem.column) == "Sheet!C3"


@pytest.mark.parametrize("number_format", ['0.0"%LEL"', '0"m³/d"', "0.0\\%", "[Red]0.00", "# ##0"])
def test_a_number_format_that_only_dresses_does_not_count(number_format: str) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    fill(sheet, [HEAD, ("A", 1, 25)])
    sheet["C2"].number_format = number_format
    table = read(saved(book))
    assert table.problems == ()
    assert table.rows[0].settings.high == 25


def with_results(raw: bytes, results: dict[str, str]) -> bytes:
    """Store results beside the formulas, as Excel does and openpyxl does not."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(out, "w") as new:
        for part in old.infolist():
            content = old.read(part)
            if part.filename.endswith("sheet1.xml"):
                text = content.decode()
                for formula, result in results.items():
                    assert f"<f>{formula}</f><v />" in text or f"<f>{formula}</f><v/>" in text
                    text = text.replace(f"<f>{formula}</f><v />", f"<f>{formula}</f>{result}")
                    text = text.replace(f"<f>{formula}</f><v/>", f"<f>{formula}</f>{result}")
                content = text.encode()
            new.writestr(part, content)
    return out.getvalue()


def test_formulas_give_their_stored_results() -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    fill(sheet, [HEAD, (), ("A", 1), (), ("B", 2)])
    sheet["C3"], sheet["C5"], sheet["C7"] = "=10+15", "=20+20", "=1/3"
    raw = with_results(
        saved(book), {"10+15": "<v>25</v>", "20+20": "<v>40.0</v>", "1/3": "<v></v>"}
    )
    table = read(raw)
    assert [(r.tag, r.row, r.settings.high) for r in table.rows] == [("A", 3, 25), ("B", 5, 40)]
    assert {problem.row for problem in table.problems} == {7}


def test_an_empty_text_is_a_result() -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    fill(sheet, [HEAD, ("A", 1)])
    sheet["D2"] = "=T(Z1)"
    raw = with_results(saved(book), {"T(Z1)": "<v></v>"})
    raw = rewritten(
        raw, "sheet1.xml", lambda xml: xml.replace(b'r="D2"><f>', b'r="D2" t="str"><f>')
    )
    table = read(raw)
    assert table.problems == ()
    assert table.rows[0].settings.description == ""


def rewritten(raw: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(out, "w") as new:
        for part in old.infolist():
            content = old.read(part)
            new.writestr(part, change(content) if part.filename.endswith(name) else content)
    return out.getvalue()


def test_title_rows_groups_of_headings_and_hidden_rows() -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    fill(
        sheet,
        [
            ("GDS 点表 2026",),
            ("编制", "张三"),
            ("位号\nTag", "Modbus地址", "报警限", None, "说明/description"),
            (None, None, "高报(%LEL)", "高高报 high_high", None),
            ("AT-1", 7, 25, 50, "罐区"),
        ],
    )
    sheet.merge_cells("C3:D3")
    sheet.merge_cells("A3:A4")
    sheet.row_dimensions[5].hidden = True
    (row,) = read(saved(book)).rows
    assert (row.row, row.tag, row.address.address) == (5, "AT-1", "7")
    assert (row.settings.high, row.settings.high_high) == (25, 50)


def test_the_sheet_is_the_first_visible_one_with_headings() -> None:
    book = openpyxl.Workbook()
    book.worksheets[0]["A1"] = "name of the project"
    for title, tag in (("old", "O"), ("AI", "A"), ("DI", "D")):
        fill(book.create_sheet(title), [HEAD, (tag, 1)])
    book["old"].sheet_state = "hidden"
    raw = saved(book)
    table = read(raw)
    assert ([row.tag for row in table.rows], table.sheet) == (["A"], "AI")
    assert "'DI' looks like a point table too" in table.notes[0]
    assert [row.tag for row in read(raw, "old").rows] == ["O"]
    with pytest.raises(TableError, match="has no sheet 'AJ'; known are: AI"):
        read(raw, "AJ")


def test_a_wrong_word_on_the_size_is_not_believed() -> None:
    def shrink(xml: bytes) -> bytes:
        assert b'<dimension ref="A1:D3"' in xml
        return xml.replace(b'<dimension ref="A1:D3"', b'<dimension ref="A1:A1"')

    raw = rewritten(workbook([HEAD, ("A", 1, 2, "x"), ("B", 2, 3, "y")]), "sheet1.xml", shrink)
    assert [row.tag for row in read(raw).rows] == ["A", "B"]


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.point_table.MAX_ROWS", 3)
    assert MAX_ROWS == 200_000
    rows = [HEAD, *((f"T{i}", i) for i in range(4))]
    with pytest.raises(TableError, match="more than 3 rows"):
        read(workbook(rows))


def bomb() -> bytes:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(600):
            part.write(b" " * (1 << 20))
    return out.getvalue()


def billion_laughs(xml: bytes) -> bytes:
    entities = b'<!ENTITY l0 "ha">' + b"".join(
        b'<!ENTITY l%d "%s">' % (i, b"&l%d;" % (i - 1) * 10) for i in range(1, 10)
    )
    body = xml[xml.index(b"<worksheet") :].replace(b"<sheetData>", b"<sheetData>&l9;")
    return b"<!DOCTYPE worksheet [" + entities + b"]>" + body


GOOD = workbook([HEAD, ("A", 1)])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"PK\x03\x04",
        b"name,address\nA,1\n",
        b"\xd0\xcf\x11\xe0" + bytes(600),
        GOOD[:-30],
        rewritten(GOOD, "sheet1.xml", lambda xml: xml[:200]),
        rewritten(GOOD, "sheet1.xml", billion_laughs),
        rewritten(GOOD, "sheet1.xml", lambda xml: xml.replace(b'r="2"', b'r="999999999999"')),
        rewritten(GOOD, "sheet1.xml", lambda xml: xml.replace(b't="s"', b't="s" s="999"')),
        rewritten(GOOD, "workbook.xml", lambda _: b"<nothing/>"),
        rewritten(GOOD, "sharedStrings.xml", lambda _: b""),
        bomb(),
    ],
    ids=["empty", "stub", "text", "ole", "cut", "cut sheet", "laughs", "far row", "no style",
         "no sheets", "no strings", "bomb"],
)  # fmt: skip
def test_hostile_workbooks_are_one_line(raw: bytes) -> None:
    assert "\n" not in said_of(lambda: read(raw))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_raises_anything_else(data: st.DataObject) -> None:
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert "\n" not in said_of(lambda: read(bytes(content)))


_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t罐区°=+-@'#,;\""),
    max_size=8,
)
_CELL = (
    _TEXT
    | st.integers(-(2**40), 2**40)
    | st.integers(-(10**9), 10**9).map(lambda number: number / 1000)  # openpyxl writes 16 digits
    | st.sampled_from(["", "A", "input", "panel", "'=1", "=1", "#1"])
)
_HEADING = st.sampled_from(
    [*PointSettings.model_fields, "Modbus地址", "area", "类型", "", "位号", "x"]
)


def typed(value: object) -> str:
    """What a person types into a CSV file for a cell."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return str(int(value)) if whole and isinstance(value, float) else str(value)


# No line ends in cells: a line of CSV is then not a row of the sheet.
@settings(max_examples=150, deadline=None)
@given(
    st.lists(_HEADING, min_size=1, max_size=8),
    st.lists(st.lists(_CELL, max_size=9), max_size=5),
)
def test_equal_content_gives_equal_tables(
    heading: list[str], rows: list[list[str | float]]
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    # A blank line is a row of a sheet, too; csv writes none for an empty list.
    writer.writerow(heading)
    writer.writerows([[*map(typed, row)] or [""] for row in rows])
    content = text.getvalue().encode("utf-8-sig")
    book = workbook([heading, *rows])
    said = said_of(lambda: parse(content, Address))
    assert bool(said) == bool(said_of(lambda: read(book)))
    if not said:
        assert parse(content, Address) == read(book)


def test_openpyxl_is_loaded_for_workbooks_only() -> None:
    code = (
        "import sys; from drivers.point_table import parse; from drivers.modbus import DRIVER;"
        "parse(b'name,address,area\\nA,1,holding\\n', DRIVER.address);"
        "assert 'openpyxl' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

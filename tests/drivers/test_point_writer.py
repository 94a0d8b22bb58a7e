"""What is written reads as what it was, in both formats, and never runs in a spreadsheet."""

from __future__ import annotations

import csv
import io
from typing import Any, Literal

import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field

from drivers.contract import StrictModel
from drivers.modbus import DRIVER as MODBUS
from drivers.opcua import DRIVER as OPCUA
from drivers.point_records import TableError
from drivers.point_table import PointRow, PointSettings, PointTable, parse, parse_workbook
from drivers.point_template import NOTES, Template, template_bytes
from drivers.point_writer import Value, csv_bytes, workbook_bytes


class Address(StrictModel):
    area: Literal["input", "holding"] = "holding"
    address: str = Field(max_length=20)
    unit_id: int | None = None


_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\n=+-@'#＝"),
    max_size=10,
).map(str.strip)
_NAME = _TEXT.filter(lambda text: bool(text) and text.isprintable())
_NUMBER = st.integers(-(10**9), 10**9).map(lambda number: number / 1000) | st.sampled_from(
    [1e-9, 1.5e300, -0.0, 2.0**60]
)


@st.composite
def rows(draw: st.DrawFn) -> list[PointRow[Address]]:
    made = []
    for row, tag in enumerate(draw(st.lists(_NAME, min_size=1, max_size=5, unique=True)), 2):
        fields: dict[str, Any] = {
            "scale": draw(_NUMBER.filter(bool)),
            "offset": draw(_NUMBER),
            "unit": draw(_TEXT),
            "high": draw(st.none() | _NUMBER),
            "on_delay_s": draw(st.integers(0, 864_000)) / 10,
            "priority": draw(st.integers(1, 4)),
            "description": draw(_TEXT),
            "alarm_source": draw(st.sampled_from(["gateway", "panel"])),
        }
        settings_ = PointSettings(name="x", **fields).model_copy(update={"name": ""})
        area: Literal["input", "holding"] = draw(st.sampled_from(["input", "holding"]))
        address = Address(
            area=area,
            address=draw(_NAME),
            unit_id=draw(st.none() | st.integers(0, 255)),
        )
        made.append(PointRow(row, tag, settings_, address))
    return made


def points(table: PointTable[Address] | list[PointRow[Address]]) -> list[tuple[Any, ...]]:
    """Everything of the rows but the line where they stand."""
    found = table.rows if isinstance(table, PointTable) else table
    return [(row.tag, row.settings, row.address) for row in found]


@settings(deadline=None, max_examples=150)
@given(rows())
@example([PointRow(2, "#1", PointSettings(name="x", description="''=1\n#x"), Address(address="1"))])
def test_what_is_written_reads_as_what_it_was(made: list[PointRow[Address]]) -> None:
    wanted = [
        (tag, settings_.model_copy(update={"name": ""}), address)
        for tag, settings_, address in points(made)
    ]
    for table in (
        parse(csv_bytes(made, Address), Address),
        parse_workbook(workbook_bytes(made, Address), Address),
    ):
        assert table.problems == ()
        assert points(table) == wanted
        again = parse(csv_bytes(table.rows, Address), Address)
        assert points(again) == wanted
        assert csv_bytes(again.rows, Address) == csv_bytes(made, Address)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-A", "@x", "=HYPERLINK(1)", "＝1"])
def test_nothing_runs_in_a_spreadsheet(text: str) -> None:
    row = PointRow(2, text, PointSettings(name="x", description=text), Address(address=text))
    for cells in list(csv.reader(io.StringIO(csv_bytes([row], Address).decode("utf-8-sig"))))[1:]:
        assert not any(cell.startswith(tuple("=+-@＝")) for cell in cells)
    sheet = openpyxl.load_workbook(io.BytesIO(workbook_bytes([row], Address))).worksheets[0]
    assert [sheet["A2"].data_type, sheet["C2"].data_type] == ["s", "s"]
    assert sheet["A2"].value == text


def test_a_negative_number_stays_a_number() -> None:
    row = PointRow(2, "A", PointSettings(name="x", low=-5.0), Address(address="1"))
    assert b",-5\r\n" in csv_bytes([row], Address)


def test_a_control_character_has_no_place_in_a_workbook() -> None:
    row = PointRow(2, "A", PointSettings(name="x", description="a\x01"), Address(address="1"))
    with pytest.raises(TableError, match="D2 would hold a control character"):
        workbook_bytes([row], Address)


@pytest.mark.parametrize("driver", [MODBUS, OPCUA], ids=lambda driver: driver.name)
def test_a_template_explains_every_column_and_reads(driver: Any) -> None:
    example_point: dict[str, Value] = {
        "name": "AT-1",
        "address": "7",
        "area": "holding",
        "type": "u16",
        "high": 25,
    }
    if driver is OPCUA:
        example_point = {"name": "AT-1", "node": "nsu=urn:x;s=AT", "type": "float", "high": 25}
    raw = template_bytes(Template(driver.address, [example_point], {"type": ("u16", "f32")}))
    table = parse_workbook(raw, driver.address)
    assert table.problems == ()
    assert table.notes == ()
    assert [row.tag for row in table.rows] == ["AT-1"]
    assert set(table.columns) >= {*driver.address.model_fields, *PointSettings.model_fields}
    book = openpyxl.load_workbook(io.BytesIO(raw))
    notes = [[cell.value for cell in row] for row in book[NOTES].iter_rows(min_row=2)]
    assert {row[0] for row in notes} == {*driver.address.model_fields, *PointSettings.model_fields}
    assert all(row[5] for row in notes), "every column says what it means"
    lists = book.worksheets[0].data_validations.dataValidation
    assert {'"gateway,panel"', '"u16,f32"', '"1,2,3,4"'} <= {entry.formula1 for entry in lists}
    assert all(len(entry.formula1) <= 257 for entry in lists), "Excel takes 255 characters"

"""Point tables: what is read, what is said about mistakes, and that no bytes do more than that."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field

from drivers.contract import StrictModel
from drivers.point_columns import Columns
from drivers.point_table import HEADINGS, PointSettings, PointTable, TableError, parse, read


class Address(StrictModel):
    area: Literal["input", "holding"] = "holding"
    address: int = Field(ge=0, le=65535)
    form: str = Field(default="u16", json_schema_extra={"headings": ["类型", "form of value"]})


def _parse(text: str, encoding: str = "utf-8") -> PointTable[Address]:
    return parse(text.encode(encoding), Address)


def _said(table: PointTable[Address]) -> list[tuple[int, str]]:
    return [(problem.row, problem.column) for problem in table.problems]


CHINESE = """位号,区域,地址,类型,单位,高报,高高报,死区,量程上限（%LEL）,描述
AT-1,input,7,f32,%LEL,25,50,1,100,罐区东
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_chinese_tables_in_every_dress(encoding: str, separator: str, end: str) -> None:
    table = _parse(CHINESE.replace(",", separator).replace("\n", end), encoding)
    assert table.problems == ()
    (row,) = table.rows
    assert (row.row, row.tag, row.address) == (
        2,
        "AT-1",
        Address(area="input", address=7, form="f32"),
    )
    assert (row.settings.high, row.settings.high_high, row.settings.range_high) == (25, 50, 100)
    assert row.settings.description == "罐区东"
    assert table.separator == separator


def test_rows_count_as_editors_count() -> None:
    table = _parse(
        '# made by hand\n\nname,address,description\n\nA,1,"two\nlines"\n# B,2\n,,\nC,x,\n'
    )
    assert [(row.row, row.tag) for row in table.rows] == [(5, "A")]
    assert _said(table) == [(9, "address")]


def test_a_tag_that_starts_with_a_hash_is_quoted() -> None:
    table = _parse('name,address\n#1,1\n"#2",2\n1#罐,3\n')
    assert [row.tag for row in table.rows] == ["#2", "1#罐"]


def test_a_quoted_cell_may_hold_lines_that_begin_with_a_hash() -> None:
    (row,) = _parse('name,address,description\nA,1,"two\n# lines"\n').rows
    assert row.settings.description == "two\n# lines"


@pytest.mark.parametrize(
    ("heading", "meaning"),
    [
        ("位号 name", "name"),
        ("位号（Tag）", "name"),
        ("Tag\n位号", "name"),
        ("单位/unit", "unit"),
        ("高高报 high_high (%LEL)", "high_high"),
        ("Description 描述", "description"),
        ("高报/死区", None),
        ("设备位号", None),
        ("位号 KKS", None),
    ],
)
def test_headings_in_two_languages(heading: str, meaning: str | None) -> None:
    assert Columns(PointSettings, Address).meaning(heading) == meaning


def test_title_rows_and_a_second_row_of_headings() -> None:
    table = _parse("点表 2026,,,\n,,,\n位号,地址,报警限,\n,,高报,高高报\nAT-1,7,25,50\n")
    assert table.problems == ()
    (row,) = table.rows
    assert (row.row, row.tag, row.settings.high, row.settings.high_high) == (5, "AT-1", 25, 50)


def test_headings_below_row_20_are_not_looked_for() -> None:
    for titles, found in ((19, True), (20, False)):
        table = _parse("title,\n" * titles + "name,address\nA,1\n")
        assert (table.problems == ()) is found


def test_a_mapping_names_and_leaves_out_columns() -> None:
    raw = "序号,KKS,地址,名称\n1,AT-1,7,东罐\n".encode()
    table = parse(raw, Address, mapping={"序号": "", "kks": "name", "名称": "description"})
    assert table.problems == ()
    (row,) = table.rows
    assert (row.tag, row.settings.description) == ("AT-1", "东罐")


def test_text_kept_from_being_a_formula_is_read_as_it_was() -> None:
    table = _parse("name,address,description\n'-A,1,'=1+1\nB,2,''+x\nC,3,'x\nD,4,=1\n")
    assert [(row.tag, row.settings.description) for row in table.rows] == [
        ("-A", "=1+1"),
        ("B", "'+x"),
        ("C", "'x"),
        ("D", "=1"),
    ]


@pytest.mark.parametrize("word", ["模", "摸", "模型", "位号", "联通", "罐区东侧", "泄漏"])
def test_short_gb18030_is_not_taken_for_utf_8(word: str) -> None:
    table = _parse(f"name,address,description\nA,1,{word}\n", "gb18030")
    assert (table.rows[0].settings.description, table.encoding) == (word, "gb18030")


@given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=4, max_size=9))
def test_hanzi_are_read_in_both_encodings(word: str) -> None:
    for encoding in ("utf-8", "gb18030"):
        table = _parse(f"位号,地址,描述\nA,1,{word}\n", encoding)
        assert table.rows[0].settings.description == word


@pytest.mark.parametrize("unit", ["°C", "m³/h", "µg/m³", "Ω", "ΔP", "±"])
def test_signs_of_units_stay_utf_8(unit: str) -> None:
    table = _parse(f"name,address,unit\nA,1,{unit}\n")
    assert (table.rows[0].settings.unit, table.encoding) == (unit, "utf-8-sig")


def test_empty_cells_are_not_given() -> None:
    (row,) = _parse("name,address,scale,priority,area,gas\nA,1,,,,\n").rows
    assert row.tag == "A"
    assert row.settings == PointSettings(name="A").model_copy(update={"name": ""})
    assert row.address == Address(address=1)


def test_every_wrong_cell_is_named_at_once() -> None:
    table = _parse("name,address,high,priority,nmae\nA,-1,x,9,\n,2,,,\nA,3,,,\n")
    assert _said(table) == [
        (1, "nmae"),
        (2, "high"),
        (2, "priority"),
        (2, "address"),
        (3, "name"),
        (4, "name"),
    ]
    assert "also in row 2" in table.problems[-1].message
    assert "did you mean name?" in table.problems[0].message


@pytest.mark.parametrize(
    ("raw", "said", "row"),
    [
        (b"", "is empty", 0),
        (b"\n\n# x\n", "is empty", 0),
        (b"PK\x03\x04", "spreadsheet", 0),
        (b"name,address\nA,\x00", "binary", 0),
        (b"name\xff\xff", "neither UTF-8 nor GB18030", 0),
        (b'name,address\nA,1\nB,"2\n', "no CSV from here on", 3),
        (b"name,address\nA," + b"x" * 200_000, "no CSV from here on", 2),
    ],
)
def test_what_is_no_table_is_one_line(raw: bytes, said: str, row: int) -> None:
    with pytest.raises(TableError, match=said) as caught:
        parse(raw, Address)
    assert caught.value.row == row


@pytest.mark.parametrize("name", ["none.csv", ".", "a\0b", "x.xlsx", "/dev/zero"])
def test_what_is_no_file_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableError):
        read(tmp_path / name, Address)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(CHINESE.encode("gb18030"))
    table = read(tmp_path / "t.csv", Address)
    assert (len(table.rows), table.encoding) == (1, "gb18030")


def test_no_two_common_headings_mean_two_things() -> None:
    words = [word for name, others in HEADINGS.items() for word in (name, *others)]
    assert len(words) == len(set(words))


@given(st.binary(max_size=300))
@example(b"\xff\xfe\x00")
@example(b"\xef\xbb\xbf")
@example(b"name,address\r\nA,1\rB,2\n\x85C,3")
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    said = ""
    try:
        parse(raw, Address)
    except TableError as error:
        said = str(error)
    assert "\n" not in said


_CELL = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=8
) | st.sampled_from(["1", "-3.5", "1e400", "nan", "inf", "-", "A", "65536", "panel", "1_0", "１"])
_HEADING = st.sampled_from(
    [*PointSettings.model_fields, "address", "area", "form", "", "位号", "x"]
)


@given(st.lists(_HEADING, max_size=8), st.lists(st.lists(_CELL, max_size=9), max_size=5))
def test_any_cells_give_rows_or_problems_with_a_place(
    heading: list[str], rows: list[list[str]]
) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([heading, *rows])
    try:
        table = parse(text.getvalue().encode(), Address)
    except TableError:
        return
    assert all(problem.row >= 1 and "\n" not in problem.message for problem in table.problems)
    for row in table.rows:
        assert row.tag
        assert row.settings.scale != 0


_LIMIT = st.none() | st.integers(-3, 3).map(float)


@given(_LIMIT, _LIMIT, _LIMIT, _LIMIT)
def test_limits_pass_exactly_when_they_rise(
    low_low: float | None, low: float | None, high: float | None, high_high: float | None
) -> None:
    limits = (low_low, low, high, high_high)
    cells = ",".join("" if limit is None else str(limit) for limit in limits)
    table = _parse(f"name,address,low_low,low,high,high_high\nA,1,{cells}\n")
    given_limits = [limit for limit in limits if limit is not None]
    rise = all(below < above for below, above in itertools.pairwise(given_limits))
    assert (table.problems == ()) is rise

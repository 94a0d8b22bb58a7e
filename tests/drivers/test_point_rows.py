"""Rows kept as columns are the rows that were put in: values, types, and what was given."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import StrictModel
from drivers.modbus import ModbusAddress
from drivers.point_rows import PointRow, PointRows
from drivers.point_table import PointSettings


class Loose(StrictModel):
    value: int | float | bool | str | None = None
    parts: tuple[str, ...] | list[int] = ()


VALUES = st.one_of(
    st.integers(-2, 2), st.booleans(), st.sampled_from([0.0, -0.0, 1.0]), st.text("a1", max_size=2)
)
PARTS = st.one_of(st.lists(st.integers(0, 2), max_size=2), st.just(()), st.just(("a",)))
LOOSE = st.fixed_dictionaries({}, optional={"value": VALUES, "parts": PARTS}).map(
    lambda keys: Loose(**keys)  # type: ignore[arg-type]  # drawn to fit
)
MODBUS = st.fixed_dictionaries(
    {"address": st.integers(0, 9).map(str)},
    optional={"area": st.sampled_from(["coil", "input"]), "unit_id": st.integers(0, 2)},
).map(lambda keys: ModbusAddress(**keys))  # type: ignore[arg-type]  # drawn to fit
SETTINGS = [PointSettings(name=""), PointSettings(name="", high=3.0)]
ROWS = st.lists(
    st.builds(PointRow, st.integers(0, 99), st.text("ab", max_size=3), st.sampled_from(SETTINGS),
              st.one_of(LOOSE, MODBUS)),
    max_size=12,
)  # fmt: skip


def seen(row: PointRow[Any]) -> tuple[object, ...]:
    values = [(name, type(value), repr(value)) for name, value in row.address]
    return (row.row, row.tag, id(row.settings), type(row.address), values,
            row.address.model_fields_set, row.address.model_dump_json())  # fmt: skip


@given(ROWS)
def test_rows_come_out_as_they_went_in(rows: list[PointRow[Any]]) -> None:
    kept = PointRows(rows)
    assert len(kept) == len(rows)
    assert [seen(row) for row in kept] == [seen(row) for row in rows]
    assert [seen(kept[at]) for at in range(-len(rows), len(rows))] == [seen(r) for r in rows * 2]
    assert kept == rows
    assert kept == PointRows(rows)
    assert kept[1:3] == tuple(rows[1:3])
    assert kept.tags == [row.tag for row in rows]


def test_what_differs_is_not_equal() -> None:
    one = PointRow(1, "a", SETTINGS[0], Loose(value=1))
    other = PointRow(1, "a", SETTINGS[0], Loose(value=2))
    assert PointRows([one]) != PointRows([other])
    assert PointRows([one]) != PointRows([one, other])
    zero = PointRows([PointRow(1, "a", SETTINGS[0], Loose(value=v)) for v in (0.0, -0.0)])
    assert math.copysign(1, zero[1].address.value) == -1  # type: ignore[arg-type]  # a float here

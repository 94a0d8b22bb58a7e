"""What values that were read once are said to contradict."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.modbus.config import ModbusAddress
from drivers.point_table import PointRow, PointSettings
from gateway.doctor.finding import About
from gateway.doctor.plausible import Reading, judged, other_orders

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
PLACES = {"ABCD": (0, 1, 2, 3), "CDAB": (2, 3, 0, 1), "BADC": (1, 0, 3, 2), "DCBA": (3, 2, 1, 0)}


def _row(tag: str = "t", *, kind: str = "f32", order: str = "ABCD", **settings: Any) -> Any:
    address = ModbusAddress(area="holding", address="0", type=kind, order=order)
    return PointRow(1, tag, PointSettings(name="", **settings), address)


def _abouts(readings: list[Reading]) -> list[About]:
    return [found.about for found in judged("gds", readings)]


@given(st.floats(width=32, allow_nan=False), st.sampled_from(ORDERS), st.sampled_from(ORDERS))
@example(23.5, "CDAB", "ABCD")
def test_another_order_is_what_the_wire_would_have_given(
    value: float, order: str, other: str
) -> None:
    true = struct.pack(">f", value)
    wire = bytes(true[place] for place in PLACES[order])
    read_as = bytes(wire[place] for place in PLACES[other])
    as_other = struct.unpack(">f", read_as)[0]
    if order == other or math.isnan(as_other):
        return
    back = other_orders(as_other, "f32", other)
    assert back[order] == value
    assert set(back) == set(ORDERS) - {other}


def test_swapped_words_of_a_float_are_told_with_the_evidence() -> None:
    swapped = struct.unpack(">f", struct.pack(">f", 23.5)[2:] + struct.pack(">f", 23.5)[:2])[0]
    (found,) = judged("gds", [Reading(_row("ft-1"), swapped)])
    assert found.about is About.ORDER
    assert "23.5 as CDAB" in found.text
    assert "order = CDAB for ft-1" in found.advice


def test_swapped_words_of_an_integer_are_told_by_its_range() -> None:
    row = _row("count", kind="u32", range_low=0.0, range_high=1000.0)
    (found,) = judged("gds", [Reading(row, 100 << 16)])
    assert found.about is About.ORDER
    assert "100 as CDAB" in found.text


@pytest.mark.parametrize("value", [0.0, 23.5, -4.2, 1e5])
def test_a_sensible_value_is_left_alone(value: float) -> None:
    assert judged("gds", [Reading(_row(), value)]) == []


def test_a_value_outside_its_range_that_no_order_explains_is_a_range() -> None:
    row = _row(kind="u16", range_low=0.0, range_high=100.0, unit="%LEL")
    (found,) = judged("gds", [Reading(row, 240.0)])
    assert (found.about, "240 %LEL, range 0…100" in found.text) == (About.RANGE, True)


def test_a_live_zero_a_little_below_its_range_is_well() -> None:
    assert _abouts([Reading(_row(range_low=0.0, range_high=100.0), -1.5)]) == []


def test_a_value_beyond_its_limit_would_alarm_at_once() -> None:
    row = _row("at-1", scale=0.1, high=20.0, high_high=50.0)
    (found,) = judged("gds", [Reading(row, 600.0)])
    assert (found.about, "at-1 is 60, high_high 50" in found.text) == (About.ALARMS, True)
    low = _row("lt-1", low=10.0)
    assert _abouts([Reading(low, 3.0)]) == [About.ALARMS]


def test_many_analogs_that_are_all_alike_are_told() -> None:
    rows = [Reading(_row(f"t{at}", kind="u16"), 0.0) for at in range(4)]
    assert _abouts(rows) == [About.RANGE]
    assert _abouts([*rows, Reading(_row("t9", kind="u16"), 7.0)]) == []
    bits = [Reading(_row(f"b{at}", kind="bit3"), 0.0) for at in range(9)]
    assert _abouts(bits) == []

"""Normaliser against scalar arithmetic in decimal, and what it must not touch."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Batch, Quality, ValueKind, Values, quality_word
from gateway.model.point import Point
from gateway.normalise.scale import Normaliser

CODES = [int(code) for code in Quality] + [0x0096, 0xC000]


def batch(ids: list[int], values: Values, quality: list[int] | None = None) -> Batch:
    codes = np.array(quality if quality is not None else [0] * len(ids), np.uint16)
    return Batch(np.array(ids, np.int32), values, codes, 5, 7, 9)


def floats(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, np.float64)


@pytest.mark.parametrize(
    ("raw", "scale", "offset", "text"),
    [
        (123, 0.1, 0.0, "12.3"),
        (3, 0.1, 0.0, "0.3"),
        (1234, 0.001, 0.0, "1.234"),
        (123, 0.1, -40.0, "-27.7"),
        (7, 0.05, 0.3, "0.65"),
        (65535, 0.25, 0.0, "16383.75"),
        (4294967295, 0.01, 0.0, "42949672.95"),
        (12, 10.0, 0.0, "120"),
        (-273, 0.1, 273.15, "245.85"),
    ],
)
def test_decimal_scale_is_decimal_exact(raw: int, scale: float, offset: float, text: str) -> None:
    """One correctly rounded division gives the double that the decimal text reads as."""
    normaliser = Normaliser([Point(1, "d/t", scale=scale, offset=offset)])
    out = normaliser.apply(batch([1], floats(raw)))
    assert float(out.values[0]) == float(text)


@given(
    st.integers(-(2**31), 2**32 - 1),
    st.integers(1, 2**20),
    st.integers(0, 6),
    st.integers(-(10**6), 10**6),
)
def test_decimal_scale_agrees_with_decimal_arithmetic(
    raw: int, factor: int, digits: int, term: int
) -> None:
    scale, offset = factor / 10**digits, term / 10**digits
    normaliser = Normaliser([Point(1, "d/t", scale=scale, offset=offset)])
    out = normaliser.apply(batch([1], floats(raw)))
    exact = (raw * Decimal(factor) + term) / Decimal(10) ** digits
    assert float(out.values[0]) == float(exact)


@given(st.data())
def test_agrees_with_a_scalar_model(data: st.DataObject) -> None:
    numbers = st.floats(-1e6, 1e6, allow_nan=False)
    scales = st.sampled_from([1.0, 0.1, -0.5, 1 / 3, 2.0, 0.001])
    bounds = st.one_of(st.none(), st.tuples(numbers, numbers).map(sorted))
    points = []
    for i in range(1, data.draw(st.integers(1, 6)) + 1):
        bound: list[float] | list[None] = data.draw(bounds) or [None, None]
        points.append(
            Point(i, f"d/{i}", scale=data.draw(scales), offset=data.draw(numbers),
                  range_low=bound[0], range_high=bound[1])
        )  # fmt: skip
    ids = data.draw(st.lists(st.integers(1, len(points)), max_size=12))
    raw = [data.draw(st.one_of(numbers, st.just(math.nan))) for _ in ids]
    quality = [data.draw(st.sampled_from(CODES)) for _ in ids]
    before = batch(ids, np.array(raw), quality)
    out = Normaliser(points).apply(before)
    for place, i in enumerate(ids):
        point = points[i - 1]
        value = float(out.values[place])
        expected = raw[place] * point.scale + point.offset
        assert value == pytest.approx(expected, rel=1e-12, abs=1e-9, nan_ok=True)
        assert int(out.quality[place]) == _expected_quality(point, value, quality[place])
    assert out.points is before.points
    assert (out.source_time_ns, out.gateway_time_ns, out.sequence) == (5, 7, 9)
    assert before.quality.tolist() == quality
    assert np.array_equal(np.asarray(before.values), np.array(raw), equal_nan=True)


def _expected_quality(point: Point, value: float, code: int) -> int:
    if math.isnan(value) and not quality_word(code).startswith("bad"):
        return int(Quality.BAD_SENSOR_FAULT)
    low = -math.inf if point.range_low is None else point.range_low
    high = math.inf if point.range_high is None else point.range_high
    outside = value < low or value > high
    if outside and quality_word(code).startswith("good") and code != Quality.GOOD_SIMULATED:
        return int(Quality.UNCERTAIN_OUT_OF_RANGE)
    return code


def test_nothing_to_do_returns_the_same_object() -> None:
    normaliser = Normaliser([Point(1, "d/a"), Point(2, "d/b", range_low=0.0, range_high=10.0)])
    for values in (floats(1.0, 0.0), floats(math.inf, 5.0), floats(5.0, 10.0)):
        before = batch([1, 2], values)
        assert normaliser.apply(before) is before
    lost = batch([1, 2], floats(math.nan, 5.0), [Quality.BAD_NOT_CONNECTED, 0])
    assert normaliser.apply(lost) is lost
    text = batch([1], ("open",))
    assert normaliser.apply(text) is text
    empty = batch([], floats())
    assert normaliser.apply(empty) is empty


def test_no_number_is_no_value_whatever_its_source_calls_it() -> None:
    """@example: NaN of a control system, called good, was no alarm, and nobody was told."""
    codes = [Quality.GOOD, Quality.UNCERTAIN, Quality.GOOD_SIMULATED, Quality.BAD_COMM_FAILURE]
    nothing = batch([1, 1, 1, 1, 1], floats(*[math.nan] * 4, 5.0), [*codes, Quality.GOOD])
    out = Normaliser([Point(1, "d/a")]).apply(nothing)
    assert out.quality.tolist() == [
        *[Quality.BAD_SENSOR_FAULT] * 3, Quality.BAD_COMM_FAILURE, Quality.GOOD,
    ]  # fmt: skip
    assert out.values is nothing.values


def test_unchanged_columns_are_the_same_objects() -> None:
    normaliser = Normaliser([Point(1, "d/a", range_high=10.0), Point(2, "d/b", scale=0.1)])
    before = batch([1], floats(11.0))
    assert normaliser.apply(before).values is before.values
    before = batch([2], floats(11.0))
    assert normaliser.apply(before).quality is before.quality


def test_64_bit_integers_keep_every_bit() -> None:
    big = 2**63 + 1
    points = [
        Point(1, "d/u", kind=ValueKind.UINT, range_high=float(2**63)),
        Point(2, "d/i", kind=ValueKind.INT, range_high=float(2**53)),
    ]
    normaliser = Normaliser(points)
    out = normaliser.apply(batch([1, 1], np.array([big, 2**63], np.uint64)))
    assert np.asarray(out.values).tolist() == [big, 2**63]
    assert out.quality.tolist() == [int(Quality.UNCERTAIN_OUT_OF_RANGE), 0]
    out = normaliser.apply(batch([2, 2], np.array([2**53 + 1, 2**53], np.int64)))
    assert np.asarray(out.values).dtype == np.int64
    assert out.quality.tolist() == [int(Quality.UNCERTAIN_OUT_OF_RANGE), 0]


@pytest.mark.parametrize(
    ("point", "word"),
    [
        (Point(1, "d/u", kind=ValueKind.UINT, scale=0.1), "every bit"),
        (Point(1, "d/u", kind=ValueKind.TEXT, offset=1.0), "every bit"),
        (Point(1, "d/u", scale=0.0), "not 0"),
        (Point(1, "d/u", scale=math.nan), "finite"),
        (Point(1, "d/u", offset=math.inf), "finite"),
        (Point(1, "d/u", range_low=2.0, range_high=1.0), "empty"),
        (Point(1, "d/u", range_low=math.nan), "empty"),
    ],
)
def test_a_wrong_point_is_refused_by_name(point: Point, word: str) -> None:
    with pytest.raises(ValueError, match=rf"d/u.*{word}"):
        Normaliser([Point(2, "d/right"), point])


def test_a_point_outside_the_catalogue_is_refused() -> None:
    normaliser = Normaliser([Point(2, "d/a", scale=0.1)])
    for stranger in (1, 3, -1):
        with pytest.raises(ValueError, match="outside the catalogue"):
            normaliser.apply(batch([2, stranger], floats(1.0, 1.0)))


def test_overflow_is_infinite_and_out_of_range() -> None:
    normaliser = Normaliser([Point(1, "d/a", scale=1e300, range_high=1.0)])
    out = normaliser.apply(batch([1], floats(1e300)))
    assert float(out.values[0]) == math.inf
    assert out.quality.tolist() == [int(Quality.UNCERTAIN_OUT_OF_RANGE)]


@pytest.mark.parametrize(("low", "high", "outside"), [(0.0, None, [-1.0]), (None, 9.0, [10.0])])
def test_a_range_may_be_open_at_one_end(
    low: float | None, high: float | None, outside: list[float]
) -> None:
    normaliser = Normaliser([Point(1, "d/a", range_low=low, range_high=high)])
    values = [-1.0, 0.0, 9.0, 10.0]
    out = normaliser.apply(batch([1] * 4, floats(*values)))
    said = [v for v, q in zip(values, out.quality.tolist(), strict=True) if q]
    assert said == outside

"""Signals of any site: repeatable, quiet, and what the device can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.sim.site_signals import Form, SimPoint, SiteSignals, band, held

_LIMIT = st.none() | st.floats(-1000, 1000)


@st.composite
def points(draw: st.DrawFn) -> SimPoint:
    low, high = sorted(draw(st.tuples(st.floats(-1000, 990), st.floats(-990, 1000))))
    range_low, range_high = low - draw(st.floats(0.1, 100)), high + draw(st.floats(0.1, 100))

    def maybe(value: float) -> float | None:
        return value if draw(st.booleans()) else None

    raw_low, raw_high = draw(st.sampled_from([(0, 65_535), (-32_768, 32_767), (-1e30, 1e30)]))
    return SimPoint(
        tag=draw(st.text(max_size=5)),
        scale=draw(st.sampled_from([1.0, 0.1, 0.001, -1.0, 10.0])),
        offset=draw(st.sampled_from([0.0, -50.0, 4.0])),
        whole=draw(st.booleans()),
        raw_low=raw_low,
        raw_high=raw_high,
        low=maybe(low),
        high=maybe(max(high, low + 1)),
        range_low=maybe(range_low),
        range_high=maybe(max(range_high, low + 2)),
    )


@given(points(), st.integers(0, 10**6), st.integers(0, 2**40))
def test_a_value_keeps_within_its_limits_its_range_and_its_registers(
    point: SimPoint, second: int, seed: int
) -> None:
    signals = SiteSignals("d", [point], seed)
    (value,) = signals.values(second).tolist()
    low, high = band(point)
    assert low - 1e-9 <= value <= high + 1e-9
    (raw,) = signals.raw(signals.values(second)).tolist()
    assert point.raw_low <= raw <= point.raw_high
    assert not point.whole or raw == round(raw)
    least, most = held(point)
    for bound, above in ((point.low, True), (point.high, False)):
        if bound is not None and least < bound < most and low != high:
            assert (low > bound) if above else (high < bound)


@given(st.lists(st.text(max_size=4), unique=True, min_size=1, max_size=6), st.integers(0, 9999))
def test_the_same_seed_gives_the_same_whatever_else_is_in_the_table(
    tags: list[str], second: int
) -> None:
    def value(names: list[str], seed: int) -> float:
        made: Any = SiteSignals("d", [SimPoint(name) for name in names], seed).values(second)
        return float(made[names.index(tags[0])])

    assert value(tags, 3) == value(tags[::-1], 3) == value(tags[:1], 3)
    assert value(tags, 3) != value(tags, 4)


@given(st.sampled_from([1.0, -1.0]), _LIMIT, _LIMIT, st.integers(0, 10**5))
@example(1.0, None, 0.5, 77)
def test_contacts_are_on_or_off_and_not_in_alarm(
    scale: float, low: float | None, high: float | None, second: int
) -> None:
    offset = 0.0 if scale > 0 else 1.0
    point = SimPoint("x", Form.TWO_STATES, scale, offset, True, 0, 1, low, high)
    signals = SiteSignals("d", [point], 1)
    (value,) = signals.values(second).tolist()
    assert value in (0.0, 1.0)
    quiet = [s for s in (0.0, 1.0) if (low is None or s > low) and (high is None or s < high)]
    assert not quiet or value in quiet


def test_signals_move_and_contacts_switch() -> None:
    points = [SimPoint("a", low=20, high=80), SimPoint("b", Form.TWO_STATES, raw_high=1)]
    signals = SiteSignals("d", points, 1)
    seen = np.array([signals.values(second) for second in range(2000)])
    assert len(np.unique(seen[:, 0])) > 1900
    assert seen[:, 0].max() - seen[:, 0].min() > 15
    assert set(seen[:, 1]) == {0.0, 1.0}


def test_no_points_are_no_values() -> None:
    assert len(SiteSignals("d", [], 1).values(5)) == 0

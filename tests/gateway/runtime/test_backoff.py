"""FullJitter: bounds of each delay, the cap, and reset."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime.backoff import FullJitter


@given(st.integers(), st.floats(1, 1e4), st.floats(1, 100), st.integers(1, 30))
def test_each_delay_is_within_its_ceiling(seed: int, base: float, ratio: float, n: int) -> None:
    cap = base * ratio
    backoff = FullJitter(base, cap, random.Random(seed))
    for k in range(n):
        assert 0.0 <= backoff.next_delay_ms() <= min(cap, base * 2**k)
    backoff.reset()
    assert backoff.next_delay_ms() <= base


def test_delays_are_spread_and_repeatable() -> None:
    def delays(seed: int) -> list[float]:
        backoff = FullJitter(100, 10_000, random.Random(seed))
        return [backoff.next_delay_ms() for _ in range(50)]

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)
    assert max(delays(1)) > 5000.0
    assert len(set(delays(1))) == 50


@pytest.mark.parametrize(("base", "cap"), [(0, 1), (-1, 1), (2, 1), (float("nan"), 1)])
def test_bounds_that_make_no_sense_are_refused(base: float, cap: float) -> None:
    with pytest.raises(ValueError, match="0 < base <= cap"):
        FullJitter(base, cap, random.Random(0))

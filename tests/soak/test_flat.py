"""Flat memory: leaks are found in noise, and noise is not taken for a leak."""

from __future__ import annotations

import numpy as np
import pytest

from tests.soak.flat import LIMIT_BYTES, trend

KINDS, ROUNDS = 33, 44
START = 95 * 2**20


def readings(leak: float, noise: float, seed: int) -> list[int]:
    """A sawtooth over the kinds of a round, noise that stays for a while, and a leak."""
    rng = np.random.default_rng(seed)
    count = KINDS * ROUNDS
    steps = np.repeat(rng.normal(0, noise, ROUNDS), KINDS)
    level = START + np.arange(count) % KINDS * 1000 + steps + leak * np.arange(count)
    level[: count // 4] += np.linspace(-6e6, 0, count // 4)  # it warms up
    return [round(each) for each in level]


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_of_one_kilobyte_a_fault_is_found(seed: int) -> None:
    found = trend(readings(1024, 60_000, seed), KINDS)
    assert found.flat is False
    assert abs(found.slope - 1024) < 4 * found.error


def test_noise_without_a_leak_is_flat_nearly_always() -> None:
    flat = [trend(readings(0, 40_000, seed), KINDS).flat for seed in range(40)]
    assert sum(1 for each in flat if each) >= 34  # two standard errors: one in 40 is above


def test_what_was_not_measured_well_is_not_flat() -> None:
    found = trend(readings(0, 3_000_000, 1), KINDS)
    assert found.slope + 2 * found.error > LIMIT_BYTES
    assert found.flat is False


def test_a_level_line_is_flat_and_a_steady_one_is_not() -> None:
    assert trend([START] * KINDS * ROUNDS, KINDS).flat is True
    steady = [START + 100 * at for at in range(KINDS * ROUNDS)]
    found = trend(steady, KINDS)
    assert found.flat is False
    assert found.slope == pytest.approx(100)


@pytest.mark.parametrize("count", [0, 1, KINDS, KINDS * 5])
def test_a_short_run_says_nothing(count: int) -> None:
    assert trend([START] * count, KINDS).flat is None

"""20,000 hostile answers for each parser; `make fuzz` runs a million."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.drivers.fuzzing import feed
from tests.drivers.modbus.fuzz import PARSERS


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_hostile_answers(name: str) -> None:
    feed(name, PARSERS[name], 20_000, seed=1)


@pytest.mark.parametrize("name", sorted(PARSERS))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_hostile_answers_that_hypothesis_looks_for(name: str, rng: random.Random) -> None:
    PARSERS[name](rng)

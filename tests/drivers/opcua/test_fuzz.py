"""20,000 hostile messages for each parser; `make fuzz` runs a million."""

from __future__ import annotations

import pytest

from tests.drivers.opcua.fuzz import PARSERS, run


@pytest.mark.parametrize("name", list(PARSERS))
def test_no_exception_but_the_named_ones_and_no_wrong_value(name: str) -> None:
    run(name, 20_000, seed=1)

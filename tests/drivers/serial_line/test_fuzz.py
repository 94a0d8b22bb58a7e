"""20,000 hostile lines; `make fuzz` runs a million."""

from __future__ import annotations

from tests.drivers.fuzzing import feed
from tests.drivers.serial_line.fuzz import gas


def test_hostile_lines() -> None:
    feed("serial_line", gas, 20_000, seed=1)

"""20,000 hostile lines; `make fuzz` runs a million."""

from __future__ import annotations

from tests.drivers.serial_line.fuzz import run


def test_hostile_lines() -> None:
    run(20_000, seed=1)

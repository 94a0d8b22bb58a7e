"""20,000 hostile documents; `make fuzz` runs a million."""

from __future__ import annotations

from tests.drivers.intake.fuzz import run


def test_hostile_documents() -> None:
    run(20_000, seed=1)

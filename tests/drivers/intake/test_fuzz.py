"""20,000 hostile documents; `make fuzz` runs a million."""

from __future__ import annotations

from tests.drivers.fuzzing import feed
from tests.drivers.intake.fuzz import rows


def test_hostile_documents() -> None:
    feed("intake", rows, 20_000, seed=1)

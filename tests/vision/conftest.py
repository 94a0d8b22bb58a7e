"""The clip that the vision tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clips import clip_or_fail


@pytest.fixture(scope="session")
def vtest() -> Path:
    """The clip with people walking; its absence fails in CI and skips elsewhere."""
    return clip_or_fail()

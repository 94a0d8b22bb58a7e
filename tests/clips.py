"""Where the clip of walking people is: PLANTGATE_SHARED, ../shared, or what the demo fetched.

`make peers` (and so `make test`) fetches it once, without root, from Debian's opencv-doc package.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.cli.demo_clip import cached_clip

ROOT = Path(__file__).resolve().parents[1]
MISSING = "vtest.avi is missing: run `plantgate demo --fetch`, or set PLANTGATE_SHARED"


def find_clip() -> Path | None:
    """Path of vtest.avi, or None if it is nowhere."""
    shared = Path(os.environ.get("PLANTGATE_SHARED", ROOT.parent / "shared"))
    places = [shared / "vision" / "clips" / "vtest.avi", cached_clip()]
    return next((place for place in places if place is not None and place.is_file()), None)


def clip_or_fail() -> Path:
    """Path of vtest.avi; where it is missing the test fails in CI and is left out elsewhere."""
    found = find_clip()
    if found is not None:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    pytest.skip(MISSING)

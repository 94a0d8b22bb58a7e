"""Where the clip of walking people is: PLANTGATE_SHARED, ../shared, or the demo's cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.cli.demo_clip import cached_clip

ROOT = Path(__file__).resolve().parents[2]


def clip_or_fail() -> Path:
    """Path of vtest.avi; where it is missing the test fails in CI and is left out elsewhere."""
    shared = Path(os.environ.get("PLANTGATE_SHARED", ROOT.parent / "shared"))
    places = [
        shared / "vision" / "clips" / "vtest.avi",
        ROOT / ".cache" / "opencv-doc" / "vtest.avi",
        cached_clip(),
    ]
    for place in places:
        if place is not None and place.is_file():
            return place
    text = "vtest.avi is missing: run `plantgate demo --fetch`, or set PLANTGATE_SHARED"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)

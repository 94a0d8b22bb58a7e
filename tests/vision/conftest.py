"""Where the clips are: PLANTGATE_SHARED, ../shared beside the repository, or the Debian package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def find_clip(name: str) -> Path | None:
    """Path of a clip, or None if no folder holds it."""
    shared = Path(os.environ.get("PLANTGATE_SHARED", ROOT.parent / "shared"))
    places = [shared / "vision" / "clips" / name, ROOT / ".cache" / "opencv-doc" / name]
    return next((place for place in places if place.is_file()), None)


@pytest.fixture(scope="session")
def vtest() -> Path:
    """The clip with people walking; its absence fails in CI and skips elsewhere."""
    clip = find_clip("vtest.avi")
    if clip is None:
        text = (
            "vtest.avi is missing: set PLANTGATE_SHARED, or unpack Debian's opencv-doc into"
            " .cache/opencv-doc/"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    return clip

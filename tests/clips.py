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


def drawn_clip(target: Path, frames: int = 40, fps: float = 10.0) -> Path:
    """Write a film of a square that walks over a grey yard; nobody is in it."""
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"MJPG"), fps, (320, 240))
    ground = np.random.default_rng(7).integers(80, 176, (240, 320, 3), np.uint8)
    for number in range(frames):
        picture = ground.copy()
        picture[100:140, 6 * number : 6 * number + 40] = (0, 200, 255)
        writer.write(picture)
    writer.release()
    return target


def find_clip() -> Path | None:
    """Path of vtest.avi, or None if it is nowhere."""
    shared = Path(os.environ.get("PLANTGATE_SHARED", ROOT.parent / "shared"))
    places = [shared / "vision" / "clips" / "vtest.avi", cached_clip()]
    return next((place for place in places if place is not None and place.is_file()), None)


def clip_or_exit() -> Path:
    """Path of vtest.avi, for a command; where it is missing the command ends."""
    found = find_clip()
    if found is None:
        raise SystemExit(MISSING)
    return found


def clip_or_fail() -> Path:
    """Path of vtest.avi; where it is missing the test fails in CI and is left out elsewhere."""
    found = find_clip()
    if found is not None:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    pytest.skip(MISSING)

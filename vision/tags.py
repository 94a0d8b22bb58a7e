"""Names of the points that a camera gives, in the order in which it gives them. Pure.

Imports nothing, so that a gateway without cameras can ask without loading any of vision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vision.config import CameraConfig

ANALYSED_FPS = "analysed_fps"
"""The achieved rate of analysis, frames per second."""

RECORDING = "recording"
"""1 while the camera is recorded, 0 while it is not; of cameras with `record`."""

LONGEST_STAY = ".longest_stay"
"""End of the tag of how long people have stayed in a zone, seconds."""

SAMPLES_PER_S = 1.0
"""Values per second of each point, whatever the rate of analysis (SAMPLE_NS in vision/zones.py)."""


def all_tags(camera: CameraConfig) -> list[str]:
    """Tags of everything that speaks for a camera: analysis, and recording where it has one."""
    return [*camera_tags(camera), *([RECORDING] if camera.record != "never" else [])]


def camera_tags(camera: CameraConfig) -> list[str]:
    """Tags of the points that a camera's analysis gives.

    `<zone>.headcount` 人数 for each zone, then for each item that a zone requires
    `<zone>.no_<item>` (people seen to lack it) and `<zone>.<item>_undecided` (people of whom it
    cannot be told), then for each zone with `passages` `<zone>.came`, `<zone>.left` (people since
    the camera's process began) and `<zone>.longest_stay` (s, of who is in it), then `analysed_fps`.
    """
    lacking = [
        tag
        for zone in camera.zones
        for item in zone.items
        for tag in (f"{zone.name}.no_{item}", f"{zone.name}.{item}_undecided")
    ]
    passing = [
        f"{zone.name}{what}"
        for zone in camera.zones
        if zone.passages
        for what in (".came", ".left", LONGEST_STAY)
    ]
    counted = (f"{zone.name}.headcount" for zone in camera.zones)
    return [*counted, *lacking, *passing, ANALYSED_FPS]

"""Looks at a camera's picture whole and in tiles, and at no tile in vain.

Guarantees:

- A tile in which nothing moved since it was looked at is not looked at again for `motion_floor_s`,
  once two looks in a row have found the same people in it: what one bad look shows is never
  repeated.
- Tiles in which nobody of a zone can stand are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vision.config import CameraConfig, TilesConfig
from vision.frames import Image
from vision.motion import MotionGate
from vision.postprocess import Detections, overlaps
from vision.tiles import ENOUGH_PX, Part, Tile, merge, plan, touching

AGREE = 0.5
"""Intersection over union from which two looks at an unmoved tile have found the same person."""

_NOBODY = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

Find = Callable[[Image, float], Detections]
Detect = Callable[[Image, float], tuple[Detections, npt.NDArray[np.uint8]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is looked at: of a picture of width × height so many tiles, each of tile pixels.

    least_person_px: height of the smallest person who is large enough for the network there.
    """

    width: int
    height: int
    tiles: int
    tile: tuple[int, int]
    least_person_px: int


@dataclass(slots=True)
class _Watched:
    """A tile and what the last look at it found, in pixels of the picture."""

    tile: Tile
    gate: MotionGate
    found: Detections = field(default_factory=lambda: _NOBODY)
    sure: bool = False


class TiledDetect:
    """Detects in the whole picture with `whole`, and in parts of it with `part`.

    side: of the network's input.  now_ns: monotonic clock, for the floor of the motion gates.
    """

    def __init__(
        self,
        config: CameraConfig,
        whole: Detect,
        part: Find,
        side: int,
        now_ns: Callable[[], int],
    ) -> None:
        if config.tiles is None:
            raise ValueError(f"camera {config.name} has no tiles")
        self._wanted: TilesConfig = config.tiles
        self._floor_ns = round(config.motion_floor_s * 1e9)
        self._polygons = [zone.polygon for zone in config.zones]
        self._whole, self._part, self._side, self._now_ns = whole, part, side, now_ns
        self._size = (0, 0)
        self.plan: Plan | None = None
        self._watched: list[_Watched] = []
        self._looked = 0
        self._spared = 0

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles of the newest picture."""
        return tuple(one.tile for one in self._watched)

    def statistics(self) -> dict[str, float]:
        """Tiles of the newest picture, looks at one, and looks that were spared, since start."""
        return {
            "tiles": float(len(self._watched)),
            "tiles_looked": float(self._looked),
            "tiles_spared": float(self._spared),
        }

    def detect(self, image: Image, threshold: float) -> tuple[Detections, npt.NDArray[np.uint8]]:
        """People of at least `threshold`, and what `whole` gives to judge the view by."""
        height, width = image.shape[:2]
        if (width, height) != self._size:
            self._plan(width, height)
        found, pixels = self._whole(image, threshold)
        if not self._watched:
            return found, pixels
        now_ns = self._now_ns()
        parts = [Part(Tile(0, 0, width, height), found, whole=True)]
        parts += [
            Part(one.tile, self._look(one, image, threshold, now_ns)) for one in self._watched
        ]
        return merge(parts), pixels

    def _plan(self, width: int, height: int) -> None:
        tiles = plan(width, height, self._wanted, self._side)
        tiles = touching(tiles, self._polygons, width, height)
        self._watched = [_Watched(tile, MotionGate(self._floor_ns)) for tile in tiles]
        self._size = (width, height)
        sides = (tiles[0].width, tiles[0].height) if tiles else self._size
        least = math.ceil(ENOUGH_PX * max(sides) / self._side)
        self.plan = Plan(width, height, len(tiles), sides, least)

    def _look(self, one: _Watched, image: Image, threshold: float, now_ns: int) -> Detections:
        x1, y1, x2, y2 = one.tile.box
        shown = image[y1:y2, x1:x2]
        if not one.gate.feed(shown, now_ns, must=not one.sure):
            self._spared += 1
            return one.found
        self._looked += 1
        seen = self._part(shown, threshold)
        corner = np.array([x1, y1, x1, y1], np.float32)
        found = Detections(seen.boxes + corner, seen.scores)
        one.sure = _agree(one.found, found)
        one.found = found
        return found


def _agree(one: Detections, other: Detections) -> bool:
    """Tell whether two looks found the same people."""
    if len(one) != len(other):
        return False
    close = overlaps(one.boxes, other.boxes) >= AGREE
    return bool(close.any(axis=0).all() and close.any(axis=1).all())


__all__ = ["Plan", "TiledDetect"]

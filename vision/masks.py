"""Exclusion masks 屏蔽区: things that are taken for people. Pure.

Guarantees: a detection is left out only where at least COVERED of its box lies in one mask, so
somebody who walks past the thing, larger than the mask or beside it, is counted. How many were
left out in the newest frame is said. What is left out is blurred in pictures all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vision.config import MaskConfig
from vision.geometry import inside
from vision.postprocess import Detections

COVERED = 0.8
"""Share of a box that must lie in a mask: the box of one thing shakes by a tenth of its size."""
_GRID = 10
_STEPS = (np.arange(_GRID) + 0.5) / _GRID


class Masks:
    """All masks of one camera."""

    def __init__(self, masks: Sequence[MaskConfig]) -> None:
        self._polygons = [np.array(mask.polygon, np.float64) for mask in masks]
        self.left_out = 0

    def feed(self, found: Detections, width: int, height: int) -> Detections:
        """Leave out what is in a mask, of a frame of the given size."""
        if not self._polygons or not len(found):
            self.left_out = 0
            return found
        size = np.array((width, height, width, height), np.float64)
        kept = ~self._covered(found.boxes / size)
        self.left_out = int(np.count_nonzero(~kept))
        return Detections(found.boxes[kept], found.scores[kept])

    def _covered(self, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which boxes[n, 4], in fractions of the frame, lie in a mask; bool[n]."""
        size = boxes[:, 2:] - boxes[:, :2]
        across = boxes[:, 0, None] + size[:, 0, None] * _STEPS
        down = boxes[:, 1, None] + size[:, 1, None] * _STEPS
        points = np.stack(
            (np.repeat(across[:, None, :], _GRID, 1), np.repeat(down[:, :, None], _GRID, 2)), -1
        ).reshape(-1, 2)
        shares = [
            inside(points, polygon).reshape(len(boxes), -1).mean(axis=1)
            for polygon in self._polygons
        ]
        return np.asarray(np.max(shares, axis=0) >= COVERED)

"""Cuts what a classifier looks at: a square around a box, the same way in training and at run time.

Guarantees: the square may reach over the picture's edge and is filled with the edge's own pixels;
it is made smaller by area, larger by cubic interpolation.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from vision.frames import Image

CROP = 64
"""Pixels of a side of a torso that is shown to the person network."""

SIDE: Mapping[str, int] = {"helmet": 160, "workwear": CROP}
"""Pixels of a side of what a classifier is trained on."""

CONTEXT: Mapping[str, float] = {"helmet": 10 / 3, "workwear": 1.15}
"""Side of the square over the longer side of the box, of whatever side in pixels."""

CONTEXT_BEFORE = 2.0
"""As CONTEXT, of helmet classifiers of earlier versions, which sites may have trained: they are
shown crops of another side, 96 or 64 pixels."""

HEAD = 48
"""Pixels of a head's longer side in such a square: SIDE over CONTEXT."""

NEAR = 96
"""Pixels of a side of the middle of a head's square that the helmet classifier reads as it is; of
the whole it reads every other pixel, for the body, the neighbours and the wall around the head."""


def square(
    image: Image, box: tuple[float, float, float, float], context: float, side: int
) -> Image:
    """uint8[side, side, 3] around the box's centre."""
    x1, y1, x2, y2 = box
    reach = max(1.0, max(x2 - x1, y2 - y1) * context / 2)
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    height, width = image.shape[:2]
    left, top = round(cx - reach), round(cy - reach)
    right, bottom = max(left + 1, round(cx + reach)), max(top + 1, round(cy + reach))
    inner = image[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
    if not inner.size:
        return np.zeros((side, side, 3), np.uint8)
    edges = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    if any(edges):
        inner = np.asarray(cv2.copyMakeBorder(inner, *edges, cv2.BORDER_REPLICATE), np.uint8)
    method = cv2.INTER_AREA if inner.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(inner, (side, side), interpolation=method), np.uint8)

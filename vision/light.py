"""Shows networks a dark picture as bright as those they learned from. Pure.

Guarantees: a picture that is bright somewhere stays as it is; nothing gets darker, nothing more
than MOST times its light. Only what a network sees is changed, never a picture that is kept.

Why here and not in training: with darker pictures in training the helmet classifier lost heads in
the dark that it finds in the same picture made brighter (models/ppe.md, "Light").
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from vision.frames import Image

BRIGHT = 225
"""Level of the brightest parts of a picture, out of 255, up to which light is added. Of the heads
learned from, with what is around them, three quarters have brighter parts."""
PARTS = 0.98
"""Share of a picture that is darker than its brightest parts: a lamp alone is none."""
MOST = 3.0
"""Light added at most: beyond it a sensor's noise is what is seen."""
_SAMPLE = 80
"""Points of the shorter side that are looked at, about."""


def gain(image: Image) -> float:
    """By how much to multiply the levels of uint8[h, w, 3]; 1 where it is bright enough."""
    step = max(1, min(image.shape[:2]) // _SAMPLE)
    levels = image[::step, ::step].max(axis=2)
    below = np.cumsum(np.bincount(levels.ravel(), minlength=256))
    brightest = int(np.searchsorted(below, PARTS * below[-1]))
    return min(MOST, max(1.0, BRIGHT / max(brightest, 1)))


def brightened(much: float, gamma: float = 1.0) -> npt.NDArray[np.uint8]:
    """uint8[256]: the level of each with `much` times the light, shadows lifted by gamma < 1."""
    levels = np.minimum(np.arange(256) * much / 255, 1.0) ** gamma
    return np.rint(levels * 255).astype(np.uint8)


def lit(image: Image) -> Image:
    """The picture with as much light as `gain` says; the same array where that is none."""
    much = gain(image)
    return image if much == 1.0 else np.asarray(cv2.LUT(image, brightened(much)), np.uint8)


__all__ = ["BRIGHT", "MOST", "brightened", "gain", "lit"]

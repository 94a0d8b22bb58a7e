"""Tells a view that can be judged from one that cannot: black, covered, frozen. Pure.

| state  | when                                                         |
|--------|--------------------------------------------------------------|
| BLACK  | hardly any contrast: spread < 6 of 255 grey levels           |
| FROZEN | every sampled pixel equal without a break for `frozen_s`     |
| CLEAR  | otherwise                                                    |

A frame that is not CLEAR is not judged at once, so a lens being covered never gives a count of 0;
an event follows only when it lasts (vision/analyser.py).

Real sensors have noise, so a picture that is equal to the last bit for half a minute does not come
from a live camera; a lens that is covered or looks into the dark has no contrast. That a camera
was moved is not recognised yet.
"""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt

BLACK_SPREAD = 6.0
"""Standard deviation in grey levels. A capped lens gives 1 to 3, fog over a plant 15 and more."""


class View(enum.Enum):
    """What the camera shows; the value is a word for events."""

    CLEAR = "clear"
    BLACK = "black"
    FROZEN = "frozen"


class ViewWatch:
    """feed() takes a sparse sample of each analysed frame's pixels."""

    def __init__(self, frozen_s: float) -> None:
        self._frozen_ns = round(frozen_s * 1e9)
        self._last: npt.NDArray[np.uint8] | None = None
        self._same_since_ns = 0

    def reset(self) -> None:
        """Forget the last picture: the camera was opened again."""
        self._last = None

    def feed(self, pixels: npt.NDArray[np.uint8], now_ns: int) -> View:
        """Judge one frame by a sample of its pixels, any shape but always the same one."""
        if self._last is None or not np.array_equal(pixels, self._last):
            self._last = pixels.copy()
            self._same_since_ns = now_ns
        if float(pixels.std()) < BLACK_SPREAD:
            return View.BLACK
        if self._frozen_ns and now_ns - self._same_since_ns >= self._frozen_ns:
            return View.FROZEN
        return View.CLEAR

"""Tells whether a picture shows anything new, so that an unmoving one costs no inference. Pure.

Guarantees:

- No longer than `floor_ns` passes between two looks, whatever the picture: a person who does not
  move is found, and a view that fails is seen.
- The picture is compared with the one that was looked at last, not with the one before, so slow
  movement adds up until it counts.
- Brightness that changes everywhere by the same amount is no movement; a change of most of the
  picture (a lamp, infrared at dusk, another scene) is looked at once and then is the picture.
- Once something moved, everything is looked at for LINGER_NS, so that a new person is confirmed.

A frame is thinned to about 160 samples across without averaging (10 µs of a 640 × 360 frame), these
to cells of 4 × 4 samples by their mean, which takes a sensor's noise down to a quarter. A person of
12 × 30 pixels in 640 × 360 covers three quarters of a cell.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vision.frames import Image

SAMPLES_ACROSS = 160
CELL = 4
LEAST_CHANGE = 5.0
"""Grey levels by which the mean of a cell must change; noise of a sensor gives about 1."""
TIMES_NOISE = 6.5
"""Where the median cell changes too (noise at night, coding), as many times that change: 4.4
standard deviations of normal noise, which one in a hundred frames of 880 cells exceeds."""
LINGER_NS = 1_000_000_000

Cells = npt.NDArray[np.float32]


def cells_of(image: Image) -> Cells:
    """Mean grey level of each cell, float32[h, w], of a BGR frame; none of one under 4 × 4.

    Green stands for luma: it makes up 59 % of it (BT.601).
    """
    step = max(1, image.shape[1] // SAMPLES_ACROSS)
    thin = image[::step, ::step, 1]
    height, width = (size - size % CELL for size in thin.shape)
    thin = thin[:height, :width].astype(np.uint16)
    # by slices, because mean() over axes of four spends its time on them: to the same number
    rows = np.add.reduce([thin[at::CELL] for at in range(CELL)], dtype=np.uint16)
    sums = np.add.reduce([rows[:, at::CELL] for at in range(CELL)], dtype=np.uint16)
    return np.asarray(sums / np.float32(CELL * CELL), np.float32)


class MotionGate:
    """feed() takes each frame; True means that it must be looked at. floor_ns 0: every one."""

    def __init__(self, floor_ns: int) -> None:
        self._floor_ns = floor_ns
        self._seen: Cells | None = None
        self._looked_ns = 0
        self._moved_ns: int | None = None

    def reset(self) -> None:
        """Forget the picture: the next frame shows another scene, and is looked at."""
        self._seen = None
        self._moved_ns = None

    def feed(self, image: Image, now_ns: int, *, must: bool = False) -> bool:
        """Judge one frame. must: the caller looks at it anyway, whatever it shows."""
        if not self._floor_ns:
            return True
        cells = cells_of(image)
        seen = self._seen
        if seen is None or seen.shape != cells.shape or not cells.size or moved(seen, cells):
            self._moved_ns = now_ns
        lingers = self._moved_ns is not None and now_ns - self._moved_ns < LINGER_NS
        if not (must or lingers or now_ns - self._looked_ns >= self._floor_ns):
            return False
        self._seen, self._looked_ns = cells, now_ns
        return True


def middle(cells: Cells) -> np.float32:
    """Median of at least one cell, as np.median's, in a quarter of its time beside a network."""
    low, high = (cells.size - 1) // 2, cells.size // 2
    ordered = np.partition(cells.ravel(), (low, high))
    return np.float32((ordered[low] + ordered[high]) / 2)


def moved(before: Cells, after: Cells) -> bool:
    """Tell whether anything in the picture changed its place, or the whole picture did."""
    change = after - before
    size = np.abs(change - middle(change))
    common = middle(size)
    if common > LEAST_CHANGE:
        return True  # half of the cells changed, and not alike: another picture
    return bool(size.max() > max(LEAST_CHANGE, TIMES_NOISE * common))

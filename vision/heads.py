"""From the head finder's maps to heads in the frame. Pure.

    maps[6, h, w] at stride 4: heat of heads in helmets, heat of bare heads (probabilities),
    log(width / 16 px), log(height / 16 px), offset of the centre in cells from the cell's middle

Guarantees: a head is a local maximum of the stronger heat among its eight neighbours; non-finite
numbers never become a head; at most MOST_HEADS come out, best first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.postprocess import suppress

Float32Array = npt.NDArray[np.float32]

STRIDE = 4
SIZE_UNIT = 16.0
MOST_HEADS = 200
OVERLAP = 0.45


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """boxes float32[n, 4] in frame pixels; heat float32[n, 2]: in a helmet, bare; best first."""

    boxes: Float32Array
    heat: Float32Array

    @property
    def scores(self) -> Float32Array:
        """The stronger heat of each."""
        return np.asarray(self.heat.max(axis=1) if len(self.heat) else np.zeros(0, np.float32))

    def moved(self, left: int, top: int) -> Heads:
        """The same heads of a part of a picture, in the whole one."""
        return Heads(self.boxes + np.array([left, top, left, top], np.float32), self.heat)

    def together(self, others: Heads) -> Heads:
        """These and the others, of two that overlap by OVERLAP the hotter; best first."""
        boxes = np.concatenate((self.boxes, others.boxes))
        heat = np.concatenate((self.heat, others.heat))
        best = np.argsort(-heat.max(axis=1, initial=0), kind="stable")
        kept = best[suppress(boxes[best], OVERLAP)]
        return Heads(boxes[kept], heat[kept])

    def beside(self, window: tuple[int, int, int, int], others: Heads) -> Heads:
        """These, and those of the others whose centre lies outside the window; best first."""
        centre = (others.boxes[:, :2] + others.boxes[:, 2:]) / 2
        left, top, right, bottom = window
        inside = (
            (centre[:, 0] >= left) & (centre[:, 0] < right)
            & (centre[:, 1] >= top) & (centre[:, 1] < bottom)
        )  # fmt: skip
        boxes = np.concatenate((self.boxes, others.boxes[~inside]))
        heat = np.concatenate((self.heat, others.heat[~inside]))
        best = np.argsort(-heat.max(axis=1, initial=0), kind="stable")
        return Heads(boxes[best], heat[best])


def decode(maps: Float32Array, threshold: float, scale: float, width: int, height: int) -> Heads:
    """Heads of at least `threshold` in pixels of the width × height frame.

    scale: network pixels per frame pixel, as the letterbox used it.
    """
    best = np.where(np.isfinite(maps[:2]), maps[:2], 0).max(axis=0)
    rows, columns = best.shape
    ring = np.pad(best, 1, constant_values=-1)
    peak = np.ones_like(best, np.bool_)
    for dy in range(3):
        for dx in range(3):
            if (dy, dx) != (1, 1):
                peak &= best >= ring[dy : dy + rows, dx : dx + columns]
    y, x = np.nonzero(peak & (best >= threshold))
    order = np.argsort(-best[y, x], kind="stable")[:MOST_HEADS]
    y, x = y[order], x[order]
    some = maps[:, y, x]
    with np.errstate(over="ignore", invalid="ignore"):
        sides = np.exp(np.clip(some[2:4], -4, 4)) * SIZE_UNIT
        cx = (x + 0.5 + np.clip(some[4], -2, 2)) * STRIDE
        cy = (y + 0.5 + np.clip(some[5], -2, 2)) * STRIDE
    corners = (cx - sides[0] / 2, cy - sides[1] / 2, cx + sides[0] / 2, cy + sides[1] / 2)
    boxes = (np.stack(corners, axis=1) / scale).astype(np.float32)
    sound = np.isfinite(boxes).all(axis=1)
    np.clip(boxes, 0, np.array([width, height, width, height], np.float32), out=boxes)
    sound &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, heat = boxes[sound], some[:2].T[sound].astype(np.float32)
    keep = suppress(boxes, OVERLAP)
    return Heads(boxes[keep], heat[keep])


__all__ = ["Heads", "decode"]

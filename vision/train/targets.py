"""What the head finder should give for one view of a labelled picture. Pure.

Guarantees: where the labels do not say, the heat has no weight: the upper part of a person without
a labelled head, a helmet that nobody wears, what is told to be unknown; what is told to be no head
has it there too, and so has every labelled head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vision.heads import SIZE_UNIT, Heads
from vision.postprocess import overlaps
from vision.train.gather import OTHER

UPPER = 0.45
WORN, BARE = 0, 1
Boxes = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What one view should give. boxes: float32[n, 4] pixels of heads, worn: 0 helmet, 1 bare.

    unknown: float32[m, 4], regions in which the labels do not say.  none: float32[k, 4], what is
    no head for certain, there too.
    """

    boxes: npt.NDArray[np.float32]
    worn: npt.NDArray[np.intp]
    unknown: npt.NDArray[np.float32]
    none: npt.NDArray[np.float32]

    def scaled(self, scale: float) -> Target:
        """The same of a view this many times as large."""
        times = np.float32(scale)
        return Target(self.boxes * times, self.worn, self.unknown * times, self.none * times)


def draw(target: Target, side: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Maps[6 + 1, h, w] (heat 2, size 2, offset 2, centre mask) and weight[h, w] of the heat."""
    cells = side // 4
    maps = np.zeros((7, cells, cells), np.float32)
    weight = np.ones((cells, cells), np.float32)
    for regions, known in ((target.unknown, 0), (target.none, 1)):
        for x1, y1, x2, y2 in (regions / 4).tolist():
            right, bottom = max(0, math.ceil(x2) + 1), max(0, math.ceil(y2) + 1)
            weight[max(0, int(y1)) : bottom, max(0, int(x1)) : right] = known
    yy, xx = np.mgrid[:cells, :cells].astype(np.float32)
    for (x1, y1, x2, y2), kind in zip(target.boxes.tolist(), target.worn.tolist(), strict=True):
        cx, cy = (x1 + x2) / 8, (y1 + y2) / 8
        col, row = min(cells - 1, int(cx)), min(cells - 1, int(cy))
        size = max(x2 - x1, y2 - y1)
        spread = max(0.6, size / 4 / 7)
        reach = np.exp(-((xx - col) ** 2 + (yy - row) ** 2) / (2 * spread**2))
        maps[kind] = np.maximum(maps[kind], reach)
        near = reach > 0.6
        weight[near] = 1
        maps[2][near] = math.log(max(1.0, x2 - x1) / SIZE_UNIT)
        maps[3][near] = math.log(max(1.0, y2 - y1) / SIZE_UNIT)
        maps[4][near], maps[5][near] = (cx - xx - 0.5)[near], (cy - yy - 0.5)[near]
        maps[6][near] = 1
        maps[kind][row, col] = 1
    return maps, weight


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Labelled boxes of one view, float32[n, 4] pixels.  worn: 0 helmet, 1 bare.

    unknown: heads or helmets of which nothing can be said.  none: what is no head.
    """

    heads: Boxes
    worn: npt.NDArray[np.intp]
    torsos: Boxes
    unknown: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    none: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))


def target_of(truth: Truth, persons: Boxes) -> Target:
    """What the view should give, and where the labels do not say."""
    unknown: list[list[float]] = truth.unknown.tolist()
    kept: list[int] = []
    for index, (box, kind) in enumerate(
        zip(truth.heads.tolist(), truth.worn.tolist(), strict=True)
    ):
        if kind == WORN and _in_a_hand(box, truth.torsos, persons):
            unknown.append(box)
        else:
            kept.append(index)
    heads = truth.heads[kept]
    for person in persons.tolist():
        x1, y1, x2, y2 = person
        across = (heads[:, 0] + heads[:, 2]) / 2
        down = (heads[:, 1] + heads[:, 3]) / 2
        if not ((x1 < across) & (across < x2) & (down < y1 + 0.5 * (y2 - y1))).any():
            unknown.append([x1, y1 - 0.1 * (y2 - y1), x2, y1 + 0.4 * (y2 - y1)])
    regions = np.array(unknown, np.float32).reshape(-1, 4)
    return Target(heads, truth.worn[kept], regions, truth.none)


def unlabelled(found: Heads, target: Target) -> Boxes:
    """What a finder took for heads and nobody labelled or called none."""
    known = np.concatenate((target.boxes, target.none))
    if not len(found.boxes) or not len(known):
        return found.boxes
    return np.asarray(found.boxes[overlaps(found.boxes, known).max(axis=1) < OTHER], np.float32)


def _in_a_hand(box: Sequence[float], torsos: Boxes, persons: Boxes) -> bool:
    """Tell whether a helmet lies in the lower part of a person and over no torso."""
    x1, y1, x2, y2 = box
    across, down = (x1 + x2) / 2, (y1 + y2) / 2
    beside = persons[(persons[:, 0] < across) & (across < persons[:, 2])]
    from_top = (down - beside[:, 1]) / np.maximum(beside[:, 3] - beside[:, 1], 1e-6)
    if (from_top < UPPER).any() or not ((from_top >= UPPER) & (from_top < 1)).any():
        return False
    reach = 0.3 * (x2 - x1)
    under = (torsos[:, 0] - reach < across) & (across < torsos[:, 2] + reach)
    near = (torsos[:, 1] > y1) & (torsos[:, 1] < 2 * y2 - y1)
    return not (under & near).any()


__all__ = ["BARE", "WORN", "Target", "Truth", "draw", "target_of", "unlabelled"]

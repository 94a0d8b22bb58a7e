"""Cuts what classifiers learn from out of labelled images, as the running system cuts it.

Guarantees:

- Regions come from what the detectors found, matched one to one with the labels; regions of the
  labels themselves, shifted and scaled at random, are added for those that were not found.
- Where the labels do not say (a person without a label) nothing is learned.
- "Cannot tell" is learned from places that are no head (no torso): background, machines, hands, and
  helmets that nobody wears.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.crops import CONTEXT, CROP, square
from vision.frames import Image
from vision.measure import Truth
from vision.postprocess import overlaps
from vision.ppe import torso_of
from vision.train.items import WIDE

Float32Array = npt.NDArray[np.float32]
WORN, MISSING, CANNOT_TELL = 0, 1, 2
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """pixels: uint8[WIDE, WIDE, 3].  kind: worn, missing, cannot tell.  size: px of the box."""

    pixels: Image
    kind: int
    size: float
    found: bool


def worn_helmets(truth: Truth, people: Float32Array) -> npt.NDArray[np.bool_]:
    """Which helmet labels are on a head: not in a hand, on a table or a hook.

    A helmet counts as not worn if it lies in the lower part of a person, in the upper part of none,
    and no labelled torso begins under it.
    """
    torsos = np.concatenate((truth.of("workwear"), truth.of("no_workwear")))
    helmets = truth.of("helmet")
    worn = np.ones(len(helmets), np.bool_)
    for row, (x1, y1, x2, y2) in enumerate(helmets.tolist()):
        cx, cy, size = (x1 + x2) / 2, (y1 + y2) / 2, y2 - y1
        across = (people[:, 0] < cx) & (cx < people[:, 2])
        down = (cy - people[:, 1]) / np.maximum(people[:, 3] - people[:, 1], 1e-6)
        top, low = (across & (down < 0.45)).any(), (across & (down >= 0.45) & (down < 1)).any()
        reach = 0.3 * (x2 - x1)
        below = (
            (torsos[:, 0] - reach < cx) & (cx < torsos[:, 2] + reach)
            & (y1 < torsos[:, 1]) & (torsos[:, 1] < y2 + size)
        ).any()  # fmt: skip
        worn[row] = top or not low or below
    return worn


def head_crops(
    image: Image, truth: Truth, people: Float32Array, heads: Float32Array, rng: np.random.Generator
) -> list[Crop]:
    """Crops of one image for the helmet classifier. people, heads: as found, low floor."""
    worn = worn_helmets(truth, people)
    helmets, bare = truth.of("helmet"), truth.of("no_helmet")
    boxes = np.concatenate((helmets, bare))
    kinds = [WORN if one else CANNOT_TELL for one in worn] + [MISSING] * len(bare)
    return _crops(image, "helmet", boxes, kinds, heads, _tops(people), rng)


def torso_crops(
    image: Image, truth: Truth, people: Float32Array, heads: Float32Array, rng: np.random.Generator
) -> list[Crop]:
    """Crops of one image for the work wear classifier."""
    dressed, plain = truth.of("workwear"), truth.of("no_workwear")
    boxes = np.concatenate((dressed, plain))
    kinds = [WORN] * len(dressed) + [MISSING] * len(plain)
    found = []
    for person in people.tolist():
        inside = [
            head
            for head in heads.tolist()
            if person[0] < (head[0] + head[2]) / 2 < person[2]
            and (head[1] + head[3]) / 2 < person[1] + 0.45 * (person[3] - person[1])
        ]
        head: Box | None = tuple(inside[0]) if inside else None
        found.append(torso_of(tuple(person), head))
    regions = np.array(found, np.float32).reshape(-1, 4)
    return _crops(image, "workwear", boxes, kinds, regions, people, rng)


def _tops(people: Float32Array) -> Float32Array:
    tops = people.copy()
    height = people[:, 3] - people[:, 1]
    tops[:, 1] -= 0.1 * height
    tops[:, 3] = people[:, 1] + 0.4 * height
    return tops


def _crops(
    image: Image,
    item: str,
    boxes: Float32Array,
    kinds: list[int],
    found: Float32Array,
    unknown: Float32Array,
    rng: np.random.Generator,
) -> list[Crop]:
    height, width = image.shape[:2]
    context = CONTEXT[item] * WIDE / CROP

    def cut(box: Box, kind: int, *, seen: bool) -> Crop:
        size = max(box[2] - box[0], box[3] - box[1])
        return Crop(square(image, box, context, WIDE), kind, size, seen)

    crops = []
    shared = overlaps(found, boxes) if len(found) and len(boxes) else np.zeros((len(found), 0))
    for row, region in enumerate(found.tolist()):
        best = int(shared[row].argmax()) if shared.shape[1] else -1
        if best >= 0 and shared[row, best] >= 0.3:
            crops.append(cut(tuple(region), kinds[best], seen=True))
            continue
        clear = item == "helmet" and (best < 0 or shared[row, best] < 0.05)
        if clear and not _in_any(region, unknown):
            crops.append(cut(tuple(region), CANNOT_TELL, seen=True))
    for box, kind in zip(boxes.tolist(), kinds, strict=True):
        for _ in range(3 if kind == MISSING else 1):
            size = max(box[2] - box[0], box[3] - box[1])
            dx, dy = float(rng.normal(0, 0.12)), float(rng.normal(0, 0.12))
            grow = rng.uniform(0.85, 1.3)
            cx, cy = (box[0] + box[2]) / 2 + dx * size, (box[1] + box[3]) / 2 + dy * size
            half_w, half_h = (box[2] - box[0]) * grow / 2, (box[3] - box[1]) * grow / 2
            moved = (cx - half_w, cy - half_h, cx + half_w, cy + half_h)
            crops.append(cut(moved, kind, seen=False))
    for _ in range(3):
        size = float(np.exp(rng.uniform(np.log(14), np.log(0.3 * min(height, width) + 15))))
        x, y = rng.uniform(0, max(1, width - size)), rng.uniform(0, max(1, height - size))
        place = (x, y, x + size, y + size)
        near = np.concatenate((boxes, unknown)) if item == "helmet" else boxes
        if not _in_any(place, near) and not _touches(place, boxes):
            crops.append(cut(place, CANNOT_TELL, seen=False))
    return crops


def _in_any(box: tuple[float, ...] | list[float], regions: Float32Array) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return bool(
        (
            (regions[:, 0] < x) & (x < regions[:, 2]) & (regions[:, 1] < y) & (y < regions[:, 3])
        ).any()
    )


def _touches(box: Box, regions: Float32Array) -> bool:
    if not len(regions):
        return False
    return bool((overlaps(np.array([box], np.float32), regions) > 0.1).any())

"""Cuts what classifiers learn from out of labelled images, as the running system cuts it.

Guarantees:

- Regions come from what the detectors found, matched one to one with the labels; regions of the
  labels themselves, shifted and scaled at random, are added for those that were not found.
- Where the labels do not say nothing is learned: a person without a label, and in a crowd whatever
  the head finder is fairly sure of, because there it mostly is somebody whom nobody labelled.
- "Cannot tell" is learned from what the head finder takes for a head and is none: hands, shoulders,
  machines, and helmets that nobody wears; and from what corrections (corrections.py) call so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.crops import CONTEXT, square
from vision.frames import Image
from vision.heads import Heads
from vision.measure import Truth
from vision.postprocess import overlaps
from vision.ppe import HEAD_SHARE, box_of
from vision.train.views import STORED, wide

Float32Array = npt.NDArray[np.float32]
WORN, MISSING, CANNOT_TELL = 0, 1, 2
NO_HEADS = 14
SAME, OTHER = 0.35, 0.12
"""Overlap from which a found head is the labelled one, and below which it is another."""
INSIDE, PART = 0.75, 0.2
"""So is a part of one, this much of it inside, of this overlap: hair that was found as a helmet."""
DRAWN = {WORN: 2, MISSING: 8, CANNOT_TELL: 1}
"""Regions drawn from a label; every other one frames what the labels of the other kind frame."""
CROWD, CROWD_HEAT = 5, 0.3
"""Labelled heads that make a crowd, and heat from which an unlabelled one there is unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """pixels: uint8[wide(item), wide(item), 3].  kind: worn, missing, cannot tell.

    found: as the detectors found it, not drawn from a label.  heat: float32[2], of a found head.
    """

    pixels: Image
    kind: int
    found: bool = False
    heat: Float32Array | None = None


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
    image: Image, truth: Truth, people: Float32Array, heads: Heads, rng: np.random.Generator
) -> list[Crop]:
    """Crops of one image for the helmet classifier. people, heads: as found, low floor.

    What the head finder took for a head and no label confirms is no head, unless somebody without
    a labelled head stands there; the hottest NO_HEADS of those are kept, being the likeliest
    mistakes.
    """
    boxes, kinds = _labelled_heads(truth, people)
    tops = tops_of(people)
    known = np.array([_in_any_of(boxes, top) for top in tops], np.bool_)
    shared, none = overlaps(heads.boxes, boxes), overlaps(heads.boxes, truth.of("no_head"))
    fits = (shared >= SAME) | ((shared >= PART) & (_inside(heads.boxes, boxes) >= INSIDE))
    crops: list[Crop] = []
    left = NO_HEADS
    for row in np.argsort(-heads.scores, kind="stable").tolist():
        region = heads.boxes[row]
        kind = CANNOT_TELL
        if fits[row].any():
            kind = kinds[int(np.where(fits[row], shared[row], 0).argmax())]
        elif shared[row].max(initial=0) >= OTHER:
            continue
        elif none[row].max(initial=0) < SAME:
            doubtful = len(boxes) >= CROWD and heads.scores[row] >= CROWD_HEAT
            left -= 1
            if left < 0 or doubtful or not known[_holding(tops, region)].all():
                continue
        pixels = _cut(image, "helmet", region)
        crops.append(Crop(pixels, kind, found=True, heat=heads.heat[row]))
    for box, kind in zip(boxes, kinds, strict=True):
        for number in range(DRAWN[kind]):
            drawn = _framed_otherwise(box, kind, rng) if number % 2 else box
            crops.append(Crop(_cut(image, "helmet", _moved(drawn, rng)), kind))
    return crops


def _labelled_heads(truth: Truth, people: Float32Array) -> tuple[Float32Array, list[int]]:
    """Boxes of the labelled heads and the kind of each."""
    worn = worn_helmets(truth, people)
    bare, untold = truth.of("no_helmet"), truth.of("cannot_tell")
    kinds = [WORN if one else CANNOT_TELL for one in worn]
    kinds += [MISSING] * len(bare) + [CANNOT_TELL] * len(untold)
    return np.concatenate((truth.of("helmet"), bare, untold)), kinds


def torso_crops(
    image: Image, truth: Truth, torsos: Float32Array, rng: np.random.Generator
) -> list[Crop]:
    """Crops of one image for the work wear classifier. torsos: as the running system cuts them."""
    dressed, plain = truth.of("workwear"), truth.of("no_workwear")
    boxes = np.concatenate((dressed, plain))
    kinds = [WORN] * len(dressed) + [MISSING] * len(plain)
    crops: list[Crop] = []
    shared = overlaps(torsos, boxes) if len(torsos) and len(boxes) else np.zeros((0, 1))
    for region, row in zip(torsos, shared, strict=False):
        if row.max() >= 0.3:
            crops.append(
                Crop(_cut(image, "workwear", region), kinds[int(row.argmax())], found=True)
            )
    for box, kind in zip(boxes, kinds, strict=True):
        crops.append(Crop(_cut(image, "workwear", _moved(box, rng)), kind))
    height, width = image.shape[:2]
    size = float(np.exp(rng.uniform(np.log(24), np.log(0.4 * min(height, width) + 25))))
    x, y = rng.uniform(0, max(1, width - size)), rng.uniform(0, max(1, height - size))
    place = np.array([x, y, x + size, y + size], np.float32)
    taken = np.concatenate((boxes, torsos))
    if not len(taken) or overlaps(place[None], taken).max() < 0.05:
        crops.append(Crop(_cut(image, "workwear", place), CANNOT_TELL, found=True))
    return crops


def tops_of(people: Float32Array) -> Float32Array:
    """Where each person's head may be."""
    tops = people.copy()
    height = people[:, 3] - people[:, 1]
    tops[:, 1] -= 0.1 * height
    tops[:, 3] = people[:, 1] + HEAD_SHARE * height
    return tops


def _cut(image: Image, item: str, box: Float32Array) -> Image:
    return square(image, box_of(box), CONTEXT[item] * STORED, wide(item))


def _moved(box: Float32Array, rng: np.random.Generator) -> Float32Array:
    """A labelled box as a detector might have drawn it."""
    x1, y1, x2, y2 = box.tolist()
    dx, dy = (rng.normal(0, 0.1, 2) * max(x2 - x1, y2 - y1)).tolist()
    grow = rng.uniform(0.85, 1.25)
    cx, cy = (x1 + x2) / 2 + dx, (y1 + y2) / 2 + dy
    across, down = (x2 - x1) * grow / 2, (y2 - y1) * grow / 2
    return np.array([cx - across, cy - down, cx + across, cy + down], np.float32)


def _framed_otherwise(box: Float32Array, kind: int, rng: np.random.Generator) -> Float32Array:
    """The hair of a bare head, the whole head under a helmet.

    Labels frame a helmet but a whole bare head; the finder does either on both, and the frame must
    not decide the verdict.
    """
    x1, y1, x2, y2 = box.tolist()
    low, high = (0.45, 0.75) if kind == MISSING else (1.3, 1.8)
    return np.array([x1, y1, x2, y1 + rng.uniform(low, high) * (y2 - y1)], np.float32)


def _inside(one: Float32Array, other: Float32Array) -> Float32Array:
    """Share of each box of one[n, 4] that lies in each of other[m, 4]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    sizes = np.maximum((one[:, 2:] - one[:, :2]).prod(axis=1), 1e-9)
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2) / sizes[:, None], np.float32)


def _in_any_of(boxes: Float32Array, region: Float32Array) -> bool:
    """Is the centre of any box in the region."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    x1, y1, x2, y2 = region.tolist()
    return bool(((x1 < x) & (x < x2) & (y1 < y) & (y < y2)).any())


def _holding(regions: Float32Array, box: Float32Array) -> npt.NDArray[np.bool_]:
    """Which regions hold the centre of the box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return np.asarray(
        (regions[:, 0] < x) & (x < regions[:, 2]) & (regions[:, 1] < y) & (y < regions[:, 3])
    )

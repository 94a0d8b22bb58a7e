"""From the network's raw outputs to boxes in the frame. Pure.

Decodes the NanoDet head: per stride one class map [1, n, classes], already sigmoid, and one
distance map [1, n, 4 × bins]. A distance is the softmax expectation over its bins times the
stride, from the cell's centre to the left, top, right and lower side; the centre of cell i is
i × stride + (stride - 1) / 2 (shared description of the converted model, models/*.md).

Guarantees: scores are compared first, so the expensive part runs on the few cells that passed;
non-finite numbers from a broken model never become a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]

MOST_CANDIDATES = 300
"""Best cells kept before suppression: bounds its cost at k² overlaps (a crowd of 50 gives ~250)."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """boxes float32[n, 4]: x1, y1, x2, y2 in frame pixels, clipped to the frame; scores float32[n].

    Ordered by falling score.
    """

    boxes: Float32Array
    scores: Float32Array

    def __len__(self) -> int:
        """Count of boxes."""
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Head:
    """Shape of a NanoDet head. wanted: the class counted (0 is person in COCO).

    side, height: of its input in pixels; height 0: a square.
    """

    side: int
    strides: tuple[int, ...]
    bins: int
    classes: int
    wanted: int
    height: int = 0


class Decoder:
    """Decodes one head; plans the cells' centres once."""

    def __init__(self, head: Head, overlap: float = 0.5) -> None:
        self._head = head
        self._overlap = overlap
        self._steps = np.arange(head.bins, dtype=np.float32)
        centres, strides = [], []
        for stride in head.strides:
            sides = (head.side // stride, (head.height or head.side) // stride)
            across, down = (
                np.arange(cells, dtype=np.float32) * stride + (stride - 1) / 2 for cells in sides
            )
            x, y = np.meshgrid(across, down)
            centres.append(np.stack((x.ravel(), y.ravel()), axis=1))
            strides.append(np.full(x.size, stride, np.float32))
        self._counts = [len(part) for part in centres]
        self._starts = np.concatenate(([0], np.cumsum(self._counts)))
        self._centres = np.concatenate(centres)
        self._strides = np.concatenate(strides)

    def check(self, shapes: Sequence[Sequence[int | str]]) -> str:
        """Compare output shapes with the head; returns one sentence, empty if they fit."""
        head = self._head
        want = [[1, n, head.classes] for n in self._counts]
        want += [[1, n, 4 * head.bins] for n in self._counts]
        have = [list(shape) for shape in shapes]
        fits = len(have) == len(want) and all(
            len(one) == len(other)
            and all(a == b or not isinstance(a, int) for a, b in zip(one, other, strict=True))
            for one, other in zip(have, want, strict=True)
        )  # a name instead of a number: any length
        return "" if fits else f"the model's outputs are {have}, its manifest says {want}"

    def feed(
        self,
        outputs: Sequence[Float32Array],
        threshold: float,
        scale: float,
        width: int,
        height: int,
    ) -> Detections:
        """Boxes of at least `threshold`, in pixels of the width × height frame.

        scale: network pixels per frame pixel, as the letterbox used it.
        """
        levels = len(self._counts)
        scores = np.concatenate([out[0, :, self._head.wanted] for out in outputs[:levels]])
        cells = np.flatnonzero(scores >= threshold)
        if len(cells) > MOST_CANDIDATES:
            best = np.argpartition(scores[cells], -MOST_CANDIDATES)[-MOST_CANDIDATES:]
            cells = np.sort(cells[best])
        boxes = self._boxes(outputs[levels:], cells) / np.float32(scale)
        np.clip(boxes, 0, np.array([width, height, width, height], np.float32), out=boxes)
        sound = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, found = boxes[sound], scores[cells[sound]]
        order = np.argsort(-found, kind="stable")
        boxes, found = boxes[order], found[order]
        keep = suppress(boxes, self._overlap)
        return Detections(boxes[keep], found[keep])

    def _boxes(self, maps: Sequence[Float32Array], cells: npt.NDArray[np.intp]) -> Float32Array:
        """Boxes of the given cells (ascending) in network pixels, [k, 4]."""
        edges = np.searchsorted(cells, self._starts)
        rows = [
            maps[level][0, cells[first:last] - self._starts[level]]
            for level, (first, last) in enumerate(pairwise(edges))
        ]
        raw = np.concatenate(rows).reshape(len(cells), 4, self._head.bins)
        with np.errstate(invalid="ignore"):  # a NaN is dropped with its box
            weights = np.exp(raw - raw.max(axis=2, keepdims=True))
            reach = (weights @ self._steps) / weights.sum(axis=2)
        sides = reach * self._strides[cells, None]
        centres = self._centres[cells]
        return np.concatenate((centres - sides[:, :2], centres + sides[:, 2:]), axis=1)


def overlaps(one: Float32Array, other: Float32Array) -> Float32Array:
    """Intersection over union of every box of one[n, 4] with every box of other[m, 4]."""
    shared = _common(one[:, 0::2], other[:, 0::2])  # a side at a time: three times as fast
    shared *= _common(one[:, 1::2], other[:, 1::2])
    sizes = (one[:, 2:] - one[:, :2]).prod(axis=1)[:, None]
    sizes = sizes + (other[:, 2:] - other[:, :2]).prod(axis=1)[None, :] - shared
    return np.asarray(np.divide(shared, sizes, out=np.zeros_like(shared), where=sizes > 0))


def _common(one: Float32Array, other: Float32Array) -> Float32Array:
    """Length[n, m] that spans one[n, 2] and other[m, 2] have in common."""
    length = np.minimum(one[:, None, 1], other[None, :, 1])
    length -= np.maximum(one[:, None, 0], other[None, :, 0])
    return np.maximum(length, 0, out=length)


def suppress(boxes: Float32Array, overlap: float) -> npt.NDArray[np.intp]:
    """Indices of boxes kept: each overlaps every better one kept by at most `overlap`.

    boxes come ordered by falling score.
    """
    too_close = overlaps(boxes, boxes) > overlap
    kept = np.ones(len(boxes), np.bool_)
    crowded = np.triu(too_close, 1)
    for index in np.flatnonzero(crowded.any(axis=1)).tolist():
        if kept[index]:
            kept &= ~crowded[index]
    return np.flatnonzero(kept)


__all__ = ["MOST_CANDIDATES", "Decoder", "Detections", "Head", "overlaps", "suppress"]

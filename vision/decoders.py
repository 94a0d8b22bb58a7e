"""Reads the outputs of other people's detectors. Pure.

All kinds give boxes of one class (`wanted`) in pixels of the frame. What each expects, for a square
input of S pixels, N = the sum of (S / stride)² and C classes:

| kind      | outputs                          | of each row                                   |
|-----------|----------------------------------|-----------------------------------------------|
| `nanodet` | per stride [1,n,C], [1,n,4·bins] | vision/postprocess.py                         |
| `yolox`   | [1,N,5+C]                        | x, y offsets and log w, log h in cells, o, c  |
| `yolov5`  | [1,3N,5+C]                       | cx, cy, w, h in input pixels, o, c            |
| `yolov8`  | [1,4+C,N] (v8, v9, 11, 12)       | cx, cy, w, h in input pixels, c               |
| `yolov10` | [1,M,6]                          | x1, y1, x2, y2 in input pixels, score, class  |
| `detr`    | [1,M,C or C+1], [1,M,4]          | logits; cx, cy, w, h as fractions             |

o is the objectness, c the scores of the classes. DETR's C logits mean sigmoid, C+1 softmax whose
last is nothing. YOLOv10 and DETR need no suppression: their boxes are final.

Scores are objectness times class where both exist. YOLOX's raw head is taken (exported without
decode_in_inference); the others decode inside the network, as their exporters do by default.

Guarantees: rows are chosen by score first; non-finite numbers never become a box; outputs of
another shape are named in one sentence (`check`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vision.manifest import DecoderPlan
from vision.postprocess import MOST_CANDIDATES, Decoder, Detections, Head, suppress

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Placing:
    """Where the frame lies in the network's input: pixels per frame pixel, and its corner there.

    width, height: of the input in pixels; 0: the square that the manifest names.
    """

    scale: float
    left: float = 0.0
    top: float = 0.0
    width: int = 0
    height: int = 0


class Decode(Protocol):
    """Reads one kind of output."""

    def check(self, shapes: Sequence[Sequence[int | str]]) -> str:
        """Compare output shapes with the manifest; one sentence, empty if they fit."""
        ...

    def feed(
        self,
        outputs: Sequence[Float32Array],
        threshold: float,
        placing: Placing,
        width: int,
        height: int,
    ) -> Detections:
        """Boxes of at least `threshold` in pixels of the width × height frame."""
        ...


def decoder_of(plan: DecoderPlan, side: int) -> Decode:
    """The decoder that a manifest asks for."""
    if plan.kind == "nanodet":
        head = Head(side, tuple(plan.strides), plan.bins, plan.classes, plan.wanted)
        return _NanoDet(head, plan.overlap)
    kinds: dict[str, Callable[[DecoderPlan, int], Decode]] = {
        "yolox": _YoloX,
        "yolov5": _YoloV5,
        "yolov8": _YoloV8,
        "yolov10": _YoloV10,
        "detr": _Detr,
    }
    return kinds[plan.kind](plan, side)


class _NanoDet:
    """Of vision/postprocess.py, whose letterbox is at the top left."""

    def __init__(self, head: Head, overlap: float) -> None:
        self._head = head
        self._overlap = overlap
        self._planned: dict[tuple[int, int], Decoder] = {}

    def check(self, shapes: Sequence[Sequence[int | str]]) -> str:
        return self._of(0, 0).check(shapes)

    def _of(self, width: int, height: int) -> Decoder:
        """The decoder of one size of input; one longer side means few sizes."""
        size = (width or self._head.side, height or self._head.side)
        if size not in self._planned:
            head = replace(self._head, side=size[0], height=size[1])
            self._planned[size] = Decoder(head, self._overlap)
        return self._planned[size]

    def feed(
        self,
        outputs: Sequence[Float32Array],
        threshold: float,
        placing: Placing,
        width: int,
        height: int,
    ) -> Detections:
        decoder = self._of(placing.width, placing.height)
        return decoder.feed(outputs, threshold, placing.scale, width, height)


class _Rows:
    """Base of those that give one row per box."""

    def __init__(self, plan: DecoderPlan, side: int) -> None:
        self._plan = plan
        self._side = side
        self._cells = sum((side // stride) ** 2 for stride in plan.strides)

    def _want(self) -> list[list[int | None]]:
        raise NotImplementedError

    def check(self, shapes: Sequence[Sequence[int | str]]) -> str:
        have, want = [list(shape) for shape in shapes], self._want()
        fits = len(have) == len(want) and all(
            len(one) == len(other)
            and all(b is None or a == b or not isinstance(a, int)
                    for a, b in zip(one, other, strict=True))
            for one, other in zip(have, want, strict=True)
        )  # fmt: skip
        return "" if fits else f"the model's outputs are {have}, its manifest says {want}"

    def _finish(
        self,
        boxes: Float32Array,
        scores: Float32Array,
        placing: Placing,
        size: tuple[int, int],
        *,
        overlap: float | None,
    ) -> Detections:
        """Input pixels → frame, clipped, ordered, suppressed."""
        width, height = size
        with np.errstate(invalid="ignore", over="ignore"):
            corner = np.array([placing.left, placing.top] * 2, np.float32)
            moved = (boxes - corner) / np.float32(placing.scale)
        sound = np.isfinite(moved).all(axis=1) & np.isfinite(scores)
        moved, scores = moved[sound], scores[sound]
        np.clip(moved, 0, np.array([width, height, width, height], np.float32), out=moved)
        whole = (moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])
        moved, scores = moved[whole], scores[whole]
        order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
        moved, scores = moved[order], scores[order]
        if overlap is not None:
            keep = suppress(moved, overlap)
            moved, scores = moved[keep], scores[keep]
        return Detections(moved, scores)


def _corners(centred: Float32Array) -> Float32Array:
    """cx, cy, w, h → x1, y1, x2, y2."""
    with np.errstate(invalid="ignore", over="ignore"):
        half = centred[:, 2:4] / 2
        return np.concatenate((centred[:, :2] - half, centred[:, :2] + half), axis=1)


def _product(rows: Float32Array, wanted: int) -> Float32Array:
    """Objectness times class; a product that is no number stays one and is dropped later."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(rows[:, 4] * rows[:, 5 + wanted])


class _YoloX(_Rows):
    def _want(self) -> list[list[int | None]]:
        return [[1, self._cells, 5 + self._plan.classes]]

    def feed(
        self,
        outputs: Sequence[Float32Array],
        threshold: float,
        placing: Placing,
        width: int,
        height: int,
    ) -> Detections:
        rows = outputs[0][0]
        scores = _product(rows, self._plan.wanted)
        picked = np.flatnonzero(scores >= threshold)
        some = rows[picked, :4]
        cells, strides = [], []
        for stride in self._plan.strides:
            count = self._side // stride
            y, x = np.divmod(np.arange(count * count), count)
            cells.append(np.stack((x, y), axis=1))
            strides.append(np.full(count * count, stride))
        grid = np.concatenate(cells)[picked].astype(np.float32)
        step = np.concatenate(strides)[picked].astype(np.float32)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            centred = np.concatenate(
                ((some[:, :2] + grid) * step, np.exp(some[:, 2:4]) * step), axis=1
            )
        return self._finish(
            _corners(centred), scores[picked], placing, (width, height), overlap=self._plan.overlap
        )


class _YoloV5(_Rows):
    def _want(self) -> list[list[int | None]]:
        return [[1, 3 * self._cells, 5 + self._plan.classes]]

    def feed(
        self,
        outputs: Sequence[Float32Array],
        threshold: float,
        placing: Placing,
        width: int,
        height: int,
    ) -> Detections:
        rows = outputs[0][0]
        scores = _product(rows, self._plan.wanted)
        picked = np.flatnonzero(scores >= threshold)
        boxes = _corners(rows[picked, :4])
        return self._finish(
            boxes, scores[picked], placing, (width, height), overlap=self._plan.overlap
        )


class _YoloV8(_Rows):
    def _want(self) -> list[list[int | None]]:
        return [[1, 4 + self._plan.classes, self._cells]]

    def feed(
        self,
        outputs: Sequence[Float32Array],
        threshold: float,
        placing: Placing,
        width: int,
        height: int,
    ) -> Detections:
        columns = outputs[0][0]
        scores = columns[4 + self._plan.wanted]
        picked = np.flatnonzero(scores >= threshold)
        boxes = _corners(np.ascontiguousarray(columns[:4, picked].T))
        return self._finish(
            boxes, scores[picked], placing, (width, height), overlap=self._plan.overlap
        )


class _YoloV10(_Rows):
    def _want(self) -> list[list[int | None]]:
        return [[1, None, 6]]

    def feed(
        self,
        outputs: Sequence[Float32Array],
        threshold: float,
        placing: Placing,
        width: int,
        height: int,
    ) -> Detections:
        rows = outputs[0][0]
        picked = (rows[:, 4] >= threshold) & (rows[:, 5].round() == self._plan.wanted)
        return self._finish(
            rows[picked, :4], rows[picked, 4], placing, (width, height), overlap=None
        )


class _Detr(_Rows):
    def _want(self) -> list[list[int | None]]:
        return [[1, None, None], [1, None, 4]]

    def check(self, shapes: Sequence[Sequence[int | str]]) -> str:
        mismatch = super().check(shapes)
        classes = self._plan.classes
        if not mismatch and shapes[0][2] not in {classes, classes + 1}:
            return f"the model has {shapes[0][2]} classes, its manifest says {classes}"
        return mismatch

    def feed(
        self,
        outputs: Sequence[Float32Array],
        threshold: float,
        placing: Placing,
        width: int,
        height: int,
    ) -> Detections:
        logits, fractions = outputs[0][0], outputs[1][0]
        with np.errstate(over="ignore", invalid="ignore"):
            if logits.shape[1] == self._plan.classes:
                chance = 1 / (1 + np.exp(-logits[:, self._plan.wanted]))
            else:
                raised = np.exp(logits - logits.max(axis=1, keepdims=True))
                chance = raised[:, self._plan.wanted] / raised.sum(axis=1)
        picked = chance >= threshold
        boxes = _corners(fractions[picked] * np.float32(self._side))
        return self._finish(boxes, chance[picked], placing, (width, height), overlap=None)


__all__ = ["Decode", "Placing", "decoder_of"]

"""Windows of labelled pictures as a closer look would show them, and what the finder should give.

Guarantees: every draw comes from the generator that is passed in; a head cut off by the window's
edge to under half of itself is unknown there, not none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vision.frames import Image
from vision.train.targets import BARE, Boxes, Target
from vision.train.views import degrade

SIDE = 256
"""Pixels of a side of a window: a quarter of a closer look."""
SCALES = (0.55, 1.6)
"""A window's scale over that of a closer look."""
SIZES = (8.0, 200.0)
"""Longer side in pixels of the head a window is drawn around, at least and at most."""
AROUND_BARE, AROUND_ANY, AROUND_NONE = 0.5, 0.32, 0.06
"""Shares of windows around a bare head, any head, what was taken for a head; the rest: anywhere."""
WHOLE, SEEN = 0.5, 0.05
"""Share of a head in the window from which it is one, and from which it is something."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """picture: uint8[h, w, 3], at the scale of a closer look.  target: in its pixels."""

    picture: Image
    target: Target


class Windows:
    """Draws windows of scenes."""

    def __init__(self, scenes: Sequence[Scene], rng: np.random.Generator) -> None:
        self._scenes, self._rng = scenes, rng
        self._bare = [
            (n, box) for n, one in enumerate(scenes)
            for box in one.target.boxes[one.target.worn == BARE]
        ]  # fmt: skip
        self._none = [(n, box) for n, one in enumerate(scenes) for box in one.target.none]
        self._with = [n for n, one in enumerate(scenes) if len(one.target.boxes)]
        often = np.array([len(scenes[n].target.boxes) for n in self._with], np.float64) ** 0.5
        self._often = often / often.sum()

    def draw(self) -> tuple[Image, Target]:
        """A degraded window of SIDE pixels, and its target."""
        row, box = self._place()
        scene, rng = self._scenes[row], self._rng
        scale = float(np.exp(rng.uniform(*np.log(SCALES))))
        height, width = scene.picture.shape[:2]
        if box is not None:
            size = float((box[2:] - box[:2]).max())
            scale = float(np.clip(scale, SIZES[0] / size, max(SIZES[0], SIZES[1]) / size))
            corner = (box[:2] + box[2:]) / 2 * scale - rng.uniform(0.15, 0.85, 2) * SIDE
        else:
            corner = rng.uniform(0, 1, 2) * np.maximum(np.array([width, height]) * scale - SIDE, 0)
        if rng.random() < 0.8:  # mostly inside
            room = np.maximum(np.array([width, height]) * scale - SIDE, 0)
            corner = np.clip(corner, 0, room)
        return self._cut(scene, scale, np.round(corner))

    def _place(self) -> tuple[int, npt.NDArray[np.float32] | None]:
        rng, kind = self._rng, self._rng.random()
        if kind < AROUND_BARE and self._bare:
            return self._bare[rng.integers(len(self._bare))]
        kind -= AROUND_BARE
        if kind < AROUND_ANY and self._with:
            row = self._with[int(rng.choice(len(self._with), p=self._often))]
            boxes = self._scenes[row].target.boxes
            return row, boxes[rng.integers(len(boxes))]
        if kind < AROUND_ANY + AROUND_NONE and self._none:
            return self._none[rng.integers(len(self._none))]
        return int(rng.integers(len(self._scenes))), None

    def _cut(
        self, scene: Scene, scale: float, corner: npt.NDArray[np.float64]
    ) -> tuple[Image, Target]:
        rng, picture = self._rng, scene.picture
        left, top = corner.tolist()
        height, width = picture.shape[:2]
        x1, y1 = max(0, int(left / scale) - 4), max(0, int(top / scale) - 4)
        x2 = min(width, int((left + SIDE) / scale) + 5)
        y2 = min(height, int((top + SIDE) / scale) + 5)
        part = picture[y1:y2, x1:x2]
        window = np.zeros((SIDE, SIDE, 3), np.uint8)
        if part.size:
            sides = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
            method = cv2.INTER_AREA if scale < 0.8 else cv2.INTER_LINEAR
            drawn = np.asarray(cv2.resize(part, sides, interpolation=method), np.uint8)
            across, down = round(x1 * scale - left), round(y1 * scale - top)
            cut = drawn[max(0, -down) : SIDE - down, max(0, -across) : SIDE - across]
            down, across = max(0, down), max(0, across)
            window[down : down + cut.shape[0], across : across + cut.shape[1]] = cut
        target = _seen(scene.target, scale, corner)
        if rng.random() < 0.5:
            window, target = np.ascontiguousarray(window[:, ::-1]), _mirrored(target)
        if rng.random() < 0.2:
            window = _tinted(window, rng)
        return degrade(window, rng), target


def _seen(target: Target, scale: float, corner: npt.NDArray[np.float64]) -> Target:
    """What of a scene's target is to be seen in a window."""
    move = np.array([*corner, *corner], np.float32)
    boxes, unknown, none = (
        one * np.float32(scale) - move for one in (target.boxes, target.unknown, target.none)
    )
    inside = np.clip(boxes, 0, SIDE)
    share = (inside[:, 2:] - inside[:, :2]).prod(axis=1) / np.maximum(
        (boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-6
    )
    heads = share > WHOLE
    rest = (share > SEEN) & ~heads
    return Target(inside[heads], target.worn[heads], np.concatenate((unknown, inside[rest])), none)


def _mirrored(target: Target) -> Target:
    def turned(boxes: Boxes) -> Boxes:
        return np.stack((SIDE - boxes[:, 2], boxes[:, 1], SIDE - boxes[:, 0], boxes[:, 3]), axis=1)

    return Target(turned(target.boxes), target.worn, turned(target.unknown), turned(target.none))


def _tinted(window: Image, rng: np.random.Generator) -> Image:
    """Helmets, hair and walls of other colours."""
    tones = cv2.cvtColor(window, cv2.COLOR_BGR2HSV).astype(np.int16)
    tones[..., 0] = (tones[..., 0] + int(rng.integers(0, 180))) % 180
    tones[..., 1] = np.clip(tones[..., 1] * rng.uniform(0.3, 1.3), 0, 255)
    return np.asarray(cv2.cvtColor(tones.astype(np.uint8), cv2.COLOR_HSV2BGR), np.uint8)

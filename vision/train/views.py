"""Makes of one labelled picture what a plant camera would have shown: smaller, blurred, dark, grey.

Guarantees: every draw comes from the generator that is passed in; a box follows its picture, and a
box cut off by the edge to under half of itself is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """image: uint8[side, side, 3].  boxes: float32[n, 4] in its pixels.  kept: rows that stayed."""

    image: Image
    boxes: Boxes
    kept: npt.NDArray[np.intp]


def cut(image: Image, boxes: Boxes, side: int, rng: np.random.Generator) -> View:
    """A square view: the whole picture made smaller, or a part made larger; maybe mirrored."""
    height, width = image.shape[:2]
    fit = side / max(height, width)
    scale = fit * float(np.exp(rng.uniform(np.log(0.4), np.log(2.0))))
    shown_w, shown_h = side / scale, side / scale
    left = rng.uniform(min(0.0, width - shown_w), max(0.0, width - shown_w))
    top = rng.uniform(min(0.0, height - shown_h), max(0.0, height - shown_h))
    move = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float64)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    if scale < 1:
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=method)
        ratio = np.array([small.shape[1] / width, small.shape[0] / height])
        move = np.array([[1, 0, -left * ratio[0]], [0, 1, -top * ratio[1]]], np.float64)
        view = cv2.warpAffine(small, move, (side, side))
    else:
        view = cv2.warpAffine(image, move, (side, side))
    moved = boxes * np.float32(scale) - np.array([left, top, left, top], np.float32) * scale
    if rng.random() < 0.5:
        view = view[:, ::-1]
        moved = np.stack((side - moved[:, 2], moved[:, 1], side - moved[:, 0], moved[:, 3]), axis=1)
    clipped = np.clip(moved, 0, side)
    size = (moved[:, 2:] - moved[:, :2]).prod(axis=1)
    left_over = np.clip(clipped[:, 2:] - clipped[:, :2], 0, None).prod(axis=1)
    kept = np.flatnonzero(left_over > 0.5 * size)
    return View(np.ascontiguousarray(view, np.uint8), clipped[kept].astype(np.float32), kept)


def degrade(image: Image, rng: np.random.Generator) -> Image:
    """What lens, sensor, light and encoder do to a picture; each now and then."""
    out: npt.NDArray[Any] = image.astype(np.float32)
    if rng.random() < 0.6:  # light and contrast
        out = (out - 128) * rng.uniform(0.6, 1.3) + 128 + rng.uniform(-35, 35)
    if rng.random() < 0.3:  # gamma: dusk, back light
        out = 255 * (np.clip(out, 0, 255) / 255) ** rng.uniform(0.5, 2.4)
    if rng.random() < 0.3:  # white balance
        out = out * rng.uniform(0.8, 1.2, 3)
    if rng.random() < 0.15:  # infrared or a grey camera
        out = np.repeat(out.mean(axis=2, keepdims=True), 3, axis=2)
    out = np.clip(out, 0, 255)
    if rng.random() < 0.35:  # defocus and motion
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.8))
    if rng.random() < 0.3:  # a coarse sensor or sub-stream
        factor = rng.uniform(0.4, 0.9)
        small = cv2.resize(out, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        out = cv2.resize(small, (out.shape[1], out.shape[0]), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.4:
        out = out + rng.normal(0, rng.uniform(1, 12), out.shape)
    drawn = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))]
        done, encoded = cv2.imencode(".jpg", drawn, quality)
        if done:
            drawn = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return drawn

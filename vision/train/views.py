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

from vision.crops import HEAD, SIDE

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

STORED = 1.75
"""Side of a stored crop over that of what a classifier is shown, which is cut out of it in training
at a random place and scale."""

TURNED, AT_THE_EDGE, POLE = 0.06, 0.06, 0.4
"""Shares of views of heads that are turned by up to 90 degrees (people bend and lie) or cut off by
the picture's edge; of what covers one (`cover`), those that are a pole or a rail."""


def wide(item: str) -> int:
    """Pixels of a side of a stored crop of one item."""
    return round(SIDE[item] * STORED)


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


def recolour(crop: Image, side: float, rng: np.random.Generator) -> Image:
    """A bare head with its dark hair made white, grey, fair, red, shaved or any colour.

    crop: around the head, whose longer side is `side` pixels of it. What is much darker than the
    middle of the face and lies over it is taken for hair; where nothing is, nothing changes.
    """
    whole = crop.astype(np.float32)
    grey = whole.mean(axis=2)
    height, width = grey.shape
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    cy, cx, reach = (height - 1) / 2, (width - 1) / 2, side / 2
    face = whole[
        int(cy - 0.1 * reach) : int(cy + 0.5 * reach) + 1,
        int(cx - 0.35 * reach) : int(cx + 0.35 * reach) + 1,
    ].reshape(-1, 3)
    skin = np.median(face, axis=0)
    light = max(float(skin.mean()), 115.0)  # from behind the middle is hair too
    away = ((xx - cx) / (0.95 * reach)) ** 2 + ((yy - cy + 0.15 * reach) / reach) ** 2
    over = np.clip((1.15 - away) * 4, 0, 1) * np.clip((cy - yy) / (0.25 * reach) + 1.5, 0, 1)
    hair = np.clip((0.72 * light - grey) / (0.18 * light + 1), 0, 1) * over
    mask = cv2.GaussianBlur(hair.astype(np.float32), (0, 0), 1.0)[..., None]
    texture = np.clip(grey[..., None] / (0.45 * light), 0.35, 1.15) ** 0.6
    drawn = np.clip(_hair(skin, rng) * texture, 0, 255)
    return np.clip(whole * (1 - mask) + drawn * mask, 0, 255).astype(np.uint8)


def _hair(skin: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Blue, green, red of some hair."""
    kind = rng.random()
    if kind < 0.3:  # white and grey
        return np.full(3, rng.uniform(150, 235))
    if kind < 0.55:  # fair
        return np.array([rng.uniform(60, 130), rng.uniform(130, 190), rng.uniform(170, 225)])
    if kind < 0.75:  # red
        return np.array([rng.uniform(20, 70), rng.uniform(30, 90), rng.uniform(110, 220)])
    if kind < 0.9:  # shaved
        return np.asarray(skin * rng.uniform(0.75, 1.05))
    return rng.uniform(20, 230, 3)


def crowd(crop: Image, other: Image, side: float, rng: np.random.Generator) -> Image:
    """The crop with the head of another, of the same size, that touches it from below or beside.

    side: longer side in pixels of the head in the middle of each. Mostly with shoulders.
    """
    height, width = crop.shape[:2]
    scale = float(np.exp(rng.uniform(np.log(0.7), np.log(1.3))))
    away = side * (0.5 + 0.5 * scale) * rng.uniform(0.75, 1.15)
    angle = rng.uniform(-0.35, np.pi + 0.35)
    dx, dy = away * np.cos(angle), away * np.sin(angle)
    middle_of = ((width - 1) / 2, (height - 1) / 2)
    turn = np.asarray(cv2.getRotationMatrix2D(middle_of, rng.uniform(-10, 10), scale), np.float64)
    turn = turn + np.array([[0, 0, dx], [0, 0, dy]])
    moved = cv2.warpAffine(other, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    x, y, reach = middle_of[0] + dx, middle_of[1] + dy, 0.56 * side * scale
    from_head = ((xx - x) / reach) ** 2 + ((yy - y) / (1.05 * reach)) ** 2
    mask = np.clip((1.1 - from_head) * 4, 0, 1)
    if rng.random() < 0.6:
        mask[(np.abs(xx - x) < 1.6 * reach) & (yy > y + 0.5 * reach)] = 1
    mask = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)[..., None]
    return (crop * (1 - mask) + moved * mask).astype(np.uint8)


def cover(crop: Image, other: Image, rng: np.random.Generator) -> Image:
    """The crop of a head with something before it: a pole or a rail, or a part of another crop."""
    out, side = crop.copy(), len(crop)
    middle_of = side // 2
    if rng.random() < POLE:
        start, wide_px = middle_of + int(rng.integers(-HEAD // 2, HEAD // 2)), rng.integers(4, 14)
        colour = rng.integers(0, 255, 3)
        if rng.random() < 0.6:
            out[:, start : start + wide_px] = colour
        else:
            out[start : start + wide_px] = colour
        return out
    down, across = rng.integers(HEAD // 3, HEAD * 5 // 4, 2)
    top, left = middle_of + rng.integers(-HEAD * 5 // 6, HEAD // 2, 2)
    if rng.random() < 0.5:  # from below: a shoulder, a wall, the back of a seat
        top = middle_of + rng.integers(2, HEAD // 2)
    y, x = rng.integers(0, len(other) - HEAD * 5 // 4, 2)
    out[top : top + down, left : left + across] = other[y : y + down, x : x + across]
    return out


def vary(crop: Image, rng: np.random.Generator) -> Image:
    """One stored crop as the running system might have cut and seen it."""
    stored, side = len(crop), _shown(crop)
    is_head = side == SIDE["helmet"]
    unit = HEAD / 32 if is_head else side / 64
    scale = rng.uniform(0.82, 1.22)
    most = 90 if is_head and rng.random() < TURNED else 14
    turn = np.asarray(
        cv2.getRotationMatrix2D((stored / 2, stored / 2), rng.uniform(-most, most), scale),
        np.float64,
    )
    shift = rng.uniform(-5, 5, 2) * unit - (stored - side) / 2
    turn = turn + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    out = cv2.warpAffine(crop, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.5:
        out = out[:, ::-1]
    if rng.random() < 0.35:  # as small as far people are
        small = int(rng.integers(14, 44) * side / 64)
        tiny = cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA)
        out = cv2.resize(tiny, (side, side), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.35:  # helmets, hair and walls of any colour
        tones = cv2.cvtColor(np.ascontiguousarray(out), cv2.COLOR_BGR2HSV).astype(np.int16)
        tones[..., 0] = (tones[..., 0] + int(rng.integers(0, 180))) % 180
        tones[..., 1] = np.clip(tones[..., 1] * rng.uniform(0.3, 1.4), 0, 255)
        out = cv2.cvtColor(tones.astype(np.uint8), cv2.COLOR_HSV2BGR)
    drawn: Image = np.ascontiguousarray(out, np.uint8)
    if is_head:
        return degrade(_at_the_edge(drawn, rng) if rng.random() < AT_THE_EDGE else drawn, rng)
    seen = degrade(drawn, rng)
    if rng.random() < 0.2:  # something in front
        x, y = rng.integers(0, side, 2)
        down, across = (rng.integers(6, 24, 2) * unit).astype(int)
        seen[y : y + down, x : x + across] = rng.integers(0, 255, 3)
    return seen


def _at_the_edge(crop: Image, rng: np.random.Generator) -> Image:
    """As if the picture ended a little beside or below the middle: its last row goes on."""
    way, side = int(rng.integers(4)), len(crop)
    end = side // 2 + int(rng.integers(HEAD // 8, HEAD * 5 // 8))
    turned = np.ascontiguousarray(np.rot90(crop, way))
    turned[:, end:] = turned[:, end : end + 1]
    return np.ascontiguousarray(np.rot90(turned, -way))


def middle(crop: Image) -> Image:
    """One stored crop as it is at run time."""
    side = _shown(crop)
    edge = (len(crop) - side) // 2
    return np.ascontiguousarray(crop[edge : edge + side, edge : edge + side])


def _shown(crop: Image) -> int:
    """Pixels of a side of what is cut out of a stored crop."""
    return round(len(crop) / STORED)


def halve(feature: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean of 2 × 2 cells: stride 4 made stride 8."""
    n, channels, height, width = feature.shape
    cells = feature.reshape(n, channels, height // 2, 2, width // 2, 2)
    return np.asarray(cells.mean(axis=(3, 5)), np.float32)

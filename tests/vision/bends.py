"""Ways in which the picture of a camera is bent: weather, light, coding, tampering.

Each takes a picture uint8[height, width, 3] (blue, green, red) and a random generator, and gives a
new picture of the same shape. HARMLESS ones leave people visible and must raise nothing themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Bend = Callable[[Image, np.random.Generator], Image]


def clipped(image: npt.NDArray[np.floating[Any]]) -> Image:
    """As bytes, cut off at 0 and 255."""
    whole: Image = np.clip(image, 0, 255).astype(np.uint8)
    return whole


def _rain(image: Image, rng: np.random.Generator) -> Image:
    wet = image.copy()
    for x, y in rng.integers(0, (image.shape[1], image.shape[0]), (150, 2)).tolist():
        cv2.line(wet, (x, y), (x + 2, y + 12), (200, 200, 200), 1)
    return wet


def _infrared(image: Image, _: np.random.Generator) -> Image:
    grey = cv2.createCLAHE(2.0).apply(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    return np.asarray(cv2.merge([grey, grey, grey]), np.uint8)


def _arc(image: Image, _: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    down, across = np.mgrid[:height, :width]
    far = (across - width * 0.6) ** 2 + (down - height * 0.5) ** 2
    return clipped(image + 400.0 * np.exp(-far / 1800.0)[..., None])


def _coarse_jpeg(image: Image, _: np.random.Generator) -> Image:
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def _shaken(image: Image, rng: np.random.Generator) -> Image:
    return np.roll(image, tuple(rng.integers(-6, 7, 2).tolist()), (0, 1))


HARMLESS: dict[str, Bend] = {
    "nothing": lambda image, _: image,
    "shaken": _shaken,
    "darker": lambda image, _: clipped(image * 0.35),
    "brighter": lambda image, _: clipped(image * 1.5 + 20),
    "infrared": _infrared,
    "noise": lambda image, rng: clipped(image + rng.normal(0, 8, image.shape)),
    "rain": _rain,
    "coarse jpeg": _coarse_jpeg,
    "arc flash": _arc,
}


def _hand(image: Image, _: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
    smeared = cv2.resize(cv2.GaussianBlur(small, (0, 0), 5), (width, height))
    return clipped(smeared * 0.2 + np.array([60.0, 80.0, 110.0]) * 0.8)


def _taped(image: Image, rng: np.random.Generator) -> Image:
    taped = image.astype(np.float64)
    taped[:, : int(image.shape[1] * 0.85)] = (70, 90, 100)
    return clipped(taped + rng.normal(0, 2, image.shape))


def _turned(image: Image, _: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 12, 1)
    mirrored = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(mirrored, np.uint8)


TAMPERED: dict[str, Bend] = {
    "defocused": lambda image, _: np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8),
    "a hand before it": _hand,
    "taped over": _taped,
    "panned": lambda image, _: np.roll(image, image.shape[1] // 8, 1),
    "blinded": lambda image, _: clipped(image + 180.0),
    "capped": lambda image, rng: clipped(4 + rng.normal(0, 1.5, image.shape)),
    "tilted": lambda image, _: np.roll(image, image.shape[0] // 7, 0),
    "turned": _turned,
}

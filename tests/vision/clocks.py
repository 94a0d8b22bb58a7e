"""Draws clocks on pictures as cameras do, with faces that the reader was not taught with."""

from __future__ import annotations

import datetime as dt

import cv2
import numpy as np

from tests.vision.bends import Image
from vision.lettering import HEIGHT, strip

FACES = ("hershey", "noto")
FORMAT = "%Y-%m-%d %H:%M:%S"


def written(at_s: float, form: str = FORMAT) -> str:
    """A moment, seconds since 1970 UTC, as a clock of China's time writes it."""
    china = dt.timezone(dt.timedelta(hours=8))
    return dt.datetime.fromtimestamp(at_s, china).strftime(form)


def cover(text: str, face: str, high: float) -> Image:
    """Coverage uint8[h, w] of a line with digits about `high` pixels high, and room around it."""
    if face == "noto":
        line = np.pad(strip(text), 6)
        scale = high / 13.0  # of the shipped glyphs' 22 rows a digit fills 13
        size = (round(line.shape[1] * scale), round((HEIGHT + 12) * scale))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(line, size, interpolation=way), np.uint8)
    scale = high / 21.0
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    canvas = np.zeros((height + 14, width + 14), np.uint8)
    at = (6, height + 6)
    thick = 2 if high >= 20 else 1
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    return canvas


def with_clock(
    image: Image, text: str, *, face: str = "hershey", high: float = 14.0, ink: int = 255,
    rim: bool = True, quality: int = 60,
) -> Image:  # fmt: skip
    """The picture with a clock at its upper left, coded as JPEG."""
    line = cover(text, face, high).astype(np.float32)[..., None] / 255
    bent = image.copy()
    where = bent[8 : 8 + line.shape[0], 8 : 8 + line.shape[1]]
    part = where.astype(np.float32)
    line = line[: part.shape[0], : part.shape[1]]
    if rim:
        grown = cv2.dilate(line, np.ones((3, 3), np.uint8))[..., None]
        part *= 1 - grown
    part *= 1 - line
    where[:] = (part + ink * line).astype(np.uint8)
    packed = cv2.imencode(".jpg", bent, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def region(text: str, face: str, high: float, shape: tuple[int, ...]) -> list[list[float]]:
    """A box around the clock of `with_clock`, as an integrator draws it: a little too large."""
    line = cover(text, face, high).shape
    height, width = shape[:2]
    return [[2 / width, 2 / height], [min(1.0, (line[1] + 16) / width), (line[0] + 16) / height]]

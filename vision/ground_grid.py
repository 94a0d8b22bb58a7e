"""Draws a calibration over a picture, for people to see whether it is right: a grid of metres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from vision.frames import Image
from vision.ground import Float64Array, Ground, Places
from vision.ground_config import GroundPoints
from vision.lettering import write
from vision.speeds import ACROSS, UP, cut, foot_jitter

SPACINGS_M = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
MOST_LINES = 60
BOLD = 5
PERSON_M = 1.7
_YELLOW, _RED, _GREEN = (0, 220, 255), (0, 0, 255), (0, 220, 0)
_DOTS = 400


@dataclass(frozen=True, slots=True)
class Standing:
    """Somebody found in the picture.  metres: None where there is no position."""

    box: tuple[float, float, float, float]
    metres: tuple[float, float] | None
    error_m: float
    stature_m: float


def standing(ground: Ground, boxes: Float64Array, width: int, height: int) -> list[Standing]:
    """Where people stand, and how tall they look: 1.4 to 1.9 m unless the camera looks down."""
    feet = np.stack(((boxes[:, 0] + boxes[:, 2]) / (2 * width), boxes[:, 3] / height), axis=1)
    places = ground.where(feet, foot_jitter(boxes, width, height))
    places.metres[cut(boxes, width, height)] = np.nan
    tall = (boxes[:, 3] - boxes[:, 1]) / width * places.across_m
    found = []
    for row, box in enumerate(boxes.tolist()):
        x, y = places.metres[row].tolist()
        known = None if math.isnan(x) else (x, y)
        error, stature = float(places.error_m[row]), float(tall[row])
        found.append(Standing((box[0], box[1], box[2], box[3]), known, error, stature))
    return found


def draw(image: Image, points: GroundPoints, ground: Ground, people: list[Standing]) -> Image:
    """Copy of a picture with the grid where positions are known, the points, and people."""
    drawn = np.asarray(image.copy(), np.uint8)
    height, width = drawn.shape[:2]
    spacing = _grid(drawn, ground, points.reach_m)
    for number, point in enumerate(points.points, start=1):
        at = _pixel(np.array(point.picture), width, height)
        there = ground.picture_of(np.array([point.metres], np.float64))[0]
        if np.isfinite(there).all():
            cv2.line(drawn, at, _pixel(there, width, height), _RED, 2, cv2.LINE_AA)
        cv2.drawMarker(drawn, at, _RED, cv2.MARKER_CROSS, 14, 2)
        write(drawn, f"{number}", (at[0] + 6, at[1] - 4))
    for one in people:
        x1, y1, x2, y2 = (round(side) for side in one.box)
        cv2.rectangle(drawn, (x1, y1), (x2, y2), _GREEN, 2)
        if one.metres is not None:
            write(drawn, f"{one.metres[0]:.1f}, {one.metres[1]:.1f} m", (x1, y1 - 2))
    write(drawn, f"网格 {spacing:g} m", (6, height - 4))
    return drawn


def _grid(drawn: Image, ground: Ground, reach_m: float) -> float:
    """Draw the lines; returns their spacing in metres."""
    low_x, low_y, high_x, high_y = ground.extent
    long_m = max(high_x - low_x, high_y - low_y) + 2 * reach_m
    spacing = next((one for one in SPACINGS_M if long_m / one <= MOST_LINES), SPACINGS_M[-1])
    low = np.floor((np.array((low_x, low_y)) - reach_m) / spacing)
    high = np.ceil((np.array((high_x, high_y)) + reach_m) / spacing)
    for axis in (0, 1):
        for number in range(int(low[axis]), int(high[axis]) + 1):
            line = np.empty((_DOTS, 2))
            line[:, axis] = number * spacing
            line[:, 1 - axis] = np.linspace(low[1 - axis], high[1 - axis], _DOTS) * spacing
            _dotted(drawn, ground, line, 2 if number % BOLD == 0 else 1)
    return spacing


def _dotted(drawn: Image, ground: Ground, line: Float64Array, thick: int) -> None:
    height, width = drawn.shape[:2]
    picture = ground.picture_of(line)
    inside = np.isfinite(picture).all(axis=1) & (np.abs(picture - 0.5) <= 0.55).all(axis=1)
    known = np.zeros(len(line), np.bool_)
    known[inside] = np.isfinite(_of_people(ground, picture[inside], width, height).metres[:, 0])
    for first in np.flatnonzero(known[:-1] & known[1:]).tolist():
        ends = [_pixel(picture[row], width, height) for row in (first, first + 1)]
        cv2.line(drawn, ends[0], ends[1], _YELLOW, thick, cv2.LINE_AA)


def _of_people(ground: Ground, feet: Float64Array, width: int, height: int) -> Places:
    """Places of people of PERSON_M who stand there."""
    across_m = ground.where(feet, np.zeros_like(feet)).across_m
    tall = PERSON_M / across_m  # fractions of the frame's width
    return ground.where(feet, np.stack((0.4 * tall * ACROSS, tall * UP * width / height), axis=1))


def _pixel(point: Float64Array, width: int, height: int) -> tuple[int, int]:
    return round(float(point[0]) * width), round(float(point[1]) * height)

"""Plane geometry of zones: point in polygon, crossing edges, foot points. Pure.

Guarantees:

- `inside` takes no division, so with coordinates that float64 holds exactly its answer is exact.
- A point on an edge belongs to exactly one of two polygons that share the edge (half-open rule),
  so nobody is counted twice where zones adjoin.

Coordinates are fractions of the frame: x from the left, y from the top, each 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Corner = tuple[float, float]

EDGE = 1.0 - 1e-9
"""Largest coordinate of a foot point: a person cut off by the frame's edge still stands in it."""


def inside(points: Float64Array, polygon: Float64Array) -> BoolArray:
    """Tell which points[n, 2] lie in polygon[m, 2] by the even-odd rule; returns bool[n]."""
    x, y = points[:, 0, None], points[:, 1, None]
    x1, y1 = polygon[:, 0], polygon[:, 1]
    x2, y2 = np.concatenate((polygon[1:], polygon[:1])).T
    spans = (y1 > y) != (y2 > y)
    side = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)
    crosses = spans & ((side > 0) == (y2 > y1)) & (side != 0)
    return np.asarray(crosses.sum(axis=1) % 2 == 1)


def feet(boxes: Float64Array, width: int, height: int) -> Float64Array:
    """Foot points[n, 2] of boxes[n, 4] (x1, y1, x2, y2 in pixels of a width × height frame).

    The middle of a box's lower edge, kept just inside the frame.
    """
    centre = (boxes[:, 0] + boxes[:, 2]) / (2.0 * width)
    bottom = boxes[:, 3] / height
    return np.clip(np.stack((centre, bottom), axis=1), 0.0, EDGE)


def area(polygon: Sequence[Corner]) -> float:
    """Area of a simple polygon as a fraction of the frame (shoelace formula)."""
    turned = [*polygon[1:], polygon[0]]
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(polygon, turned, strict=True))) / 2.0


def crossing_edges(polygon: Sequence[Corner]) -> tuple[int, int] | None:
    """Find two edges that cross, touch or overlap; edge i runs from corner i to i + 1.

    Neighbouring edges may share their corner and nothing else. None for a simple polygon.
    """
    count = len(polygon)
    edges = [(polygon[i], polygon[(i + 1) % count]) for i in range(count)]
    for i in range(count):
        for j in range(i + 1, count):
            if j == i + 1:
                bad = _folds_back(edges[i][0], edges[i][1], edges[j][1])
            elif (j + 1) % count == i:
                bad = _folds_back(edges[j][0], edges[j][1], edges[i][1])
            else:
                bad = _meet(*edges[i], *edges[j])
            if bad:
                return i, j
    return None


def _side(a: Corner, b: Corner, c: Corner) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _within(a: Corner, b: Corner, c: Corner) -> bool:
    """Tell whether c, known to be on the line ab, lies between a and b."""
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def _folds_back(a: Corner, b: Corner, c: Corner) -> bool:
    """Tell whether the path a, b, c doubles back on itself or stands still."""
    if b in (a, c):
        return True
    return _side(a, b, c) == 0 and (_within(a, b, c) or _within(b, c, a))


def _meet(a: Corner, b: Corner, c: Corner, d: Corner) -> bool:
    """Tell whether the closed segments ab and cd have a point in common."""
    s1, s2, s3, s4 = _side(c, d, a), _side(c, d, b), _side(a, b, c), _side(a, b, d)
    if ((s1 > 0) != (s2 > 0)) and ((s3 > 0) != (s4 > 0)) and 0 not in {s1, s2, s3, s4}:
        return True
    return (
        (s1 == 0 and _within(c, d, a))
        or (s2 == 0 and _within(c, d, b))
        or (s3 == 0 and _within(a, b, c))
        or (s4 == 0 and _within(a, b, d))
    )

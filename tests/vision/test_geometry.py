"""Geometry against slow, exact oracles in rational numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from vision.geometry import EDGE, area, crossing_edges, feet, inside

grid = st.integers(0, 16).map(lambda number: number / 16)
corner = st.tuples(grid, grid)
polygons = st.lists(corner, min_size=3, max_size=8)


def slow_inside(point: tuple[float, float], polygon: list[tuple[float, float]]) -> bool:
    """Even-odd rule with exact division: crossings of the ray to the right of the point."""
    x, y = map(Fraction, point)
    crossings = 0
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        a, b, c, d = map(Fraction, (x1, y1, x2, y2))
        if (b > y) != (d > y) and a + (y - b) * (c - a) / (d - b) > x:
            crossings += 1
    return crossings % 2 == 1


def slow_meet(one: tuple[Fraction, ...], other: tuple[Fraction, ...]) -> bool:
    """Whether two segments share a point, by solving for it."""
    ax, ay, bx, by = one
    cx, cy, dx, dy = other
    turn = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
    if turn != 0:
        s = ((cx - ax) * (dy - cy) - (cy - ay) * (dx - cx)) / turn
        t = ((cx - ax) * (by - ay) - (cy - ay) * (bx - ax)) / turn
        return 0 <= s <= 1 and 0 <= t <= 1
    ends = [((cx, cy), one), ((dx, dy), one), ((ax, ay), other), ((bx, by), other)]
    return any(slow_on(point, segment) for point, segment in ends)


def slow_on(point: tuple[Fraction, Fraction], segment: tuple[Fraction, ...]) -> bool:
    ax, ay, bx, by = segment
    x, y = point
    on_line = (bx - ax) * (y - ay) == (by - ay) * (x - ax)
    return on_line and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by)


@given(polygons, st.lists(st.tuples(grid, grid), min_size=1, max_size=20))
def test_inside_agrees_with_exact_oracle(
    polygon: list[tuple[float, float]], points: list[tuple[float, float]]
) -> None:
    found = inside(np.array(points), np.array(polygon))
    assert found.tolist() == [slow_inside(point, polygon) for point in points]


@given(st.integers(1, 15), st.lists(st.tuples(grid, grid), min_size=1, max_size=20))
def test_adjoining_zones_count_each_point_once(cut: int, points: list[tuple[float, float]]) -> None:
    x = cut / 16
    left = inside(np.array(points), np.array([(0, 0), (x, 0), (x, 1), (0, 1)], float))
    right = inside(np.array(points), np.array([(x, 0), (1, 0), (1, 1), (x, 1)], float))
    whole = inside(np.array(points), np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float))
    assert ((left.astype(int) + right.astype(int)) == whole.astype(int)).all()


def test_no_points() -> None:
    assert inside(np.empty((0, 2)), np.array([(0, 0), (1, 0), (1, 1)], float)).tolist() == []


@given(polygons)
@example([(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])  # hourglass
@example([(0.0, 0.0), (1.0, 0.0), (0.5, 0.0), (0.5, 1.0)])  # folds back
@example([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.0), (0.0, 1.0)])  # touches an edge
def test_crossing_edges_agrees_with_oracle(polygon: list[tuple[float, float]]) -> None:
    count = len(polygon)
    assume(count <= 6)
    found = crossing_edges(polygon)
    expected = False
    for i in range(count):
        for j in range(i + 1, count):
            a, b = polygon[i], polygon[(i + 1) % count]
            c, d = polygon[j], polygon[(j + 1) % count]
            segment = tuple(map(Fraction, (*a, *b)))
            other = tuple(map(Fraction, (*c, *d)))
            if (j + 1) % count == i or j == i + 1:
                shared = b if j == i + 1 else a
                far_one, far_other = (a, d) if j == i + 1 else (b, c)
                expected |= a == b or c == d
                expected |= slow_on((Fraction(far_one[0]), Fraction(far_one[1])), other)
                expected |= slow_on((Fraction(far_other[0]), Fraction(far_other[1])), segment)
                assert shared in {c, d}
            else:
                expected |= slow_meet(segment, other)
    assert (found is not None) == expected


def test_foot_is_the_middle_of_the_lower_edge_and_stays_in_the_frame() -> None:
    boxes = np.array([[10, 20, 30, 60], [90, 0, 110, 100], [-30, 50, 10, 120]], float)
    assert feet(boxes, 100, 100) == pytest.approx(np.array([[0.2, 0.6], [EDGE, EDGE], [0.0, EDGE]]))
    whole = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    assert inside(feet(boxes, 100, 100), whole).all()


def test_area_of_a_triangle_is_half() -> None:
    assert area([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]) == 0.5

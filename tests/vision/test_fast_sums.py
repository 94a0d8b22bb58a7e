"""What is summed by hand for speed is to the number what numpy says: levels, cells, overlaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vision.health import Levels
from vision.motion import CELL, SAMPLES_ACROSS, cells_of, middle
from vision.postprocess import overlaps

SIDES = st.integers(1, 40)
GREYS = arrays.arrays(np.uint8, st.tuples(SIDES, SIDES))
PICTURES = arrays.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3)))
CORNERS = st.integers(-50, 600).map(float)
BOXES = arrays.arrays(np.float32, st.tuples(st.integers(0, 12), st.just(4)), elements=CORNERS)


@given(grey=GREYS, level=st.integers(1, 255))
def test_levels_are_what_numpy_says(grey: np.ndarray, level: int) -> None:
    levels = Levels(grey)
    assert levels.mean == pytest.approx(grey.mean())
    assert levels.spread == pytest.approx(grey.std(), abs=1e-9)
    assert levels.share_from(level) == pytest.approx((grey >= level).mean(), abs=1e-12)
    for share in (0.05, 0.5, 0.95):
        assert levels.quantile(share) == pytest.approx(np.percentile(grey, 100 * share))


@given(picture=PICTURES)
def test_cells_are_means(picture: np.ndarray) -> None:
    height, width = (side // CELL for side in picture.shape[:2])
    cells = cells_of(picture)
    assert cells.shape == (height, width)
    assert cells.dtype == np.float32
    for row in range(height):
        for column in range(width):
            part = picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL, 1]
            assert cells[row, column] == part.mean()


@given(
    cells=arrays.arrays(
        np.float32, st.tuples(SIDES, SIDES), elements=st.floats(-255, 255, width=32)
    )
)
def test_the_middle_is_the_median(cells: np.ndarray) -> None:
    assert middle(cells) == np.median(cells)


def test_cells_of_a_large_picture_are_of_every_so_manieth_sample() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (360, 640, 3), np.uint8)
    step = 640 // SAMPLES_ACROSS
    assert np.array_equal(
        cells_of(picture),
        cells_of(np.ascontiguousarray(picture[::step, ::step])),
    )
    assert cells_of(np.full((360, 640, 3), 255, np.uint8)).max() == 255


@given(one=BOXES, other=BOXES)
def test_overlaps_are_shared_over_joint_area(one: np.ndarray, other: np.ndarray) -> None:
    def sound(boxes: np.ndarray) -> np.ndarray:
        corners = (boxes[:, :2], boxes[:, 2:])
        return np.concatenate((np.minimum(*corners), np.maximum(*corners)), axis=1)

    one, other = sound(one), sound(other)
    found = overlaps(one, other)
    assert found.shape == (len(one), len(other))
    for row, (ax1, ay1, ax2, ay2) in enumerate(one.tolist()):
        for column, (bx1, by1, bx2, by2) in enumerate(other.tolist()):
            shared = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
            joint = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
            assert found[row, column] == pytest.approx(shared / joint if joint else 0, abs=1e-6)

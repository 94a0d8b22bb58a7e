"""How a frame becomes a network's input: where it lies, how large it is, what is around it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.preprocess import Letterbox, Preprocessor

sides = st.integers(2, 1500)
boxes = st.builds(
    Letterbox,
    step=st.sampled_from([0, 32]),
    most=st.sampled_from([0, 640 * 448]),
    at_most=st.sampled_from([0.65, 1.0, math.inf]),
    pad=st.sampled_from([0, 114]),
)


@given(sides, sides, boxes)
def test_a_frame_of_any_size_fits_and_keeps_its_shape(
    width: int, height: int, box: Letterbox
) -> None:
    made = Preprocessor(640, [0.0] * 3, [1.0] * 3, box)
    tensor = made.feed(np.full((height, width, 3), 200, np.uint8))
    rows, columns = made.sides
    assert tensor.shape == (1, 3, rows, columns)
    down, across = made.small.shape[:2]
    assert (tensor[0, :, :down, :across] == 200).all()
    assert (tensor[0, :, down:] == box.pad).all()
    assert (tensor[0, :, :, across:] == box.pad).all()
    assert abs(down - height * made.scale) <= 1
    assert abs(across - width * made.scale) <= 1
    assert max(rows, columns) <= 640
    if box.step:
        assert rows % box.step == columns % box.step == 0
        assert rows - down < box.step > columns - across
    else:
        assert rows == columns == 640
    if box.most:
        assert down * across <= box.most + down + across
    assert made.scale <= box.at_most


def test_one_object_serves_frames_of_changing_size() -> None:
    made = Preprocessor(64, [0.0] * 3, [1.0] * 3, Letterbox(step=32))
    for width, height in ((64, 30), (30, 64), (64, 30)):
        tensor = made.feed(np.full((height, width, 3), 9, np.uint8))
        assert tensor.shape[2:] == (-(-height // 32) * 32, -(-width // 32) * 32)
        assert tensor.sum() == pytest.approx(9 * 3 * width * height)

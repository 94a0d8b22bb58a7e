"""What the head finder learns of a view: heads, and where nothing is learned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vision.heads import Heads, decode
from vision.train.targets import BARE, WORN, Target, Truth, draw, target_of, unlabelled

SIDE = 64
Box = tuple[float, float, float, float]


def rows(*boxes: Box) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def target(heads: np.ndarray, unknown: np.ndarray, none: np.ndarray) -> Target:
    return Target(heads, np.zeros(len(heads), np.intp), unknown, none)


places = st.tuples(*[st.floats(-200, 200)] * 2, *[st.floats(1, 90)] * 2).map(
    lambda one: (one[0], one[1], one[0] + one[2], one[1] + one[3])
)


@given(places)
@example((-90.0, -90.0, -30.0, -20.0))  # above and left of the view: took nearly all of it away
@example((-90.0, 10.0, -30.0, 40.0))
def test_an_unknown_region_takes_away_what_it_covers_and_nothing_else(box: Box) -> None:
    _, weight = draw(target(rows(), rows(box), rows()), SIDE)
    x1, y1, x2, y2 = box
    for row, column in np.ndindex(weight.shape):
        left, top = column * 4, row * 4
        if x1 <= left and left + 4 <= x2 and y1 <= top and top + 4 <= y2:
            assert weight[row, column] == 0
        if left + 4 <= x1 - 4 or left >= x2 + 8 or top + 4 <= y1 - 4 or top >= y2 + 8:
            assert weight[row, column] == 1


def test_what_is_no_head_and_what_is_one_are_learned_in_unknown_regions_too() -> None:
    everything = rows((0, 0, 64, 64))
    maps, weight = draw(target(rows((8, 8, 24, 24)), everything, rows((40, 40, 56, 56))), SIDE)
    assert weight[4, 4] == maps[WORN, 4, 4] == 1
    assert (weight[11:13, 11:13] == 1).all()
    assert maps[:2, 11:13, 11:13].max() < 0.01
    assert weight[0, 15] == 0


def test_a_drawn_head_decodes_to_its_box() -> None:
    box = (10.0, 13.0, 34.0, 41.0)
    maps, _ = draw(target(rows(box), rows(), rows()), SIDE)
    found = decode(maps[:6], 0.99, 1.0, SIDE, SIDE)
    assert found.boxes[0] == pytest.approx(box, abs=0.01)


def test_who_has_no_labelled_head_is_unknown_and_a_helmet_in_a_hand_too() -> None:
    people = rows((0, 0, 40, 100), (100, 0, 140, 100))
    heads = rows((10, 2, 30, 22), (28, 60, 40, 72))
    made = target_of(
        Truth(heads, np.array([BARE, WORN]), rows(), none=rows((5, 50, 9, 54))), people
    )
    assert made.boxes.tolist() == [[10, 2, 30, 22]]
    assert made.worn.tolist() == [BARE]
    assert made.unknown.tolist() == [[28, 60, 40, 72], [100, -10, 140, 40]]
    found = Heads(
        rows((12, 2, 32, 22), (5, 50, 9, 54), (60, 60, 70, 70)), np.ones((3, 2), np.float32)
    )
    assert unlabelled(found, made).tolist() == [[60, 60, 70, 70]]

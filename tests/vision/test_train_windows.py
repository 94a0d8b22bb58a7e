"""Windows that the head finder learns from: the target follows the picture, whatever is drawn."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vision.train.head_windows import SEEN, SIDE, SIZES, Scene, Windows
from vision.train.targets import BARE, WORN, Target

HEAD = (300.0, 120.0, 360.0, 180.0)


def rows(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def scene(*heads: tuple[float, float, float, float], none: np.ndarray | None = None) -> Scene:
    """A dark picture in which heads are bright."""
    picture = np.full((400, 640, 3), 20, np.uint8)
    for x1, y1, x2, y2 in heads:
        picture[int(y1) : int(y2), int(x1) : int(x2)] = 230
    worn = np.array([BARE] * len(heads), np.intp)
    return Scene(picture, Target(rows(*heads), worn, rows(), rows() if none is None else none))


@settings(max_examples=25)
@given(st.integers(0, 10_000))
@example(559)  # one column of a head
def test_a_head_is_where_the_target_says(seed: int) -> None:
    window, target = Windows([scene(HEAD)], np.random.default_rng(seed)).draw()
    assert window.shape == (SIDE, SIDE, 3)
    assert len(target.boxes) == len(target.worn) <= 1
    grey = window.mean(axis=2)
    for x1, y1, x2, y2 in target.boxes:
        assert 0 <= x1 < x2 <= SIDE
        assert 0 <= y1 < y2 <= SIDE
        inside = np.zeros((SIDE, SIDE), np.bool_)
        inside[round(y1) : max(round(y2), round(y1) + 1), round(x1) : round(x2) + 1] = True
        assert grey[inside].mean() > grey[~inside].mean() + 20
    if not len(target.boxes) and not len(target.unknown):
        bright = grey > grey.min() + 150  # noise, but no head beyond a sliver at the edge
        inner = bright.copy()
        inner[[0, -1]] = inner[:, [0, -1]] = False
        assert bright.sum() <= 1.2 * SEEN * SIZES[1] ** 2
        assert not inner.any() or inner.sum() < bright.sum()


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_a_head_that_is_mostly_cut_off_is_unknown(seed: int) -> None:
    windows = Windows([scene(HEAD, none=rows((10, 10, 40, 40)))], np.random.default_rng(seed))
    _, target = windows.draw()
    assert len(target.boxes) + len(target.unknown) <= 1
    if len(target.unknown):
        x1, y1, x2, y2 = target.unknown[0]
        assert 0 in (x1, y1) or SIDE in (x2, y2)


def test_half_of_the_windows_are_around_the_few_bare_heads() -> None:
    helmets = Scene(
        np.zeros((400, 640, 3), np.uint8),
        Target(rows((50, 50, 80, 80)), np.array([WORN]), rows(), rows()),
    )
    windows = Windows([helmets] * 40 + [scene(HEAD)], np.random.default_rng(2))
    bare = sum((windows.draw()[1].worn == BARE).any() for _ in range(100))
    assert 35 <= bare <= 65


def test_the_same_seed_draws_the_same_windows() -> None:
    one, other = (Windows([scene(HEAD)], np.random.default_rng(7)) for _ in range(2))
    for _ in range(3):
        (window, target), (again, same) = one.draw(), other.draw()
        np.testing.assert_array_equal(window, again)
        np.testing.assert_array_equal(target.boxes, same.boxes)


def test_pictures_without_heads_and_smaller_than_a_window_are_drawn_too() -> None:
    nobody = Scene(
        np.full((60, 90, 3), 90, np.uint8),
        Target(rows(), np.zeros(0, np.intp), rows(), rows()),
    )
    windows = Windows([nobody], np.random.default_rng(3))
    for _ in range(5):
        window, target = windows.draw()
        assert window.shape == (SIDE, SIDE, 3)
        assert not len(target.boxes)

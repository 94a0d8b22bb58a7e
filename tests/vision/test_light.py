"""What is dark is shown brighter, what is bright as it is: a dark picture as in the light."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vision.light import BRIGHT, MOST, PARTS, brightened, gain, lit

SIDES = st.integers(1, 200)
PICTURES = arrays.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3)), fill=st.integers(0, 255))


def slope(brightest: int) -> np.ndarray:
    """Of all levels up to one."""
    row = np.linspace(0, brightest, 400).round().astype(np.uint8)
    return np.repeat(np.broadcast_to(row, (300, 400))[..., None], 3, axis=2)


@given(picture=PICTURES)
def test_nothing_gets_darker_or_more_than_so_much_brighter(picture: np.ndarray) -> None:
    much, shown = gain(picture), lit(picture)
    assert 1 <= much <= MOST
    assert shown.shape == picture.shape
    assert shown.dtype == np.uint8
    assert (shown >= picture).all()
    assert (shown <= np.minimum(picture * MOST + 0.5, 255)).all()


def test_a_picture_that_is_bright_somewhere_stays_as_it_is() -> None:
    picture = slope(255)
    assert lit(picture) is picture


@pytest.mark.parametrize("share", [0.9, 0.5, 0.35])
def test_a_dark_picture_is_shown_as_in_the_light(share: float) -> None:
    bright = slope(230)
    dark = (bright * share).astype(np.uint8)
    assert np.abs(lit(dark).astype(int) - bright).max() <= 6
    assert gain(dark) == pytest.approx(BRIGHT / (230 * PARTS * share), rel=0.03)


def test_a_lamp_in_the_dark_does_not_hide_the_dark() -> None:
    dark = slope(60)
    dark[:20, :60] = 255  # one part in a hundred
    assert gain(dark) == MOST
    dark[:60, :60] = 255
    assert gain(dark) == 1


def test_black_stays_black() -> None:
    assert not lit(np.zeros((90, 120, 3), np.uint8)).any()


def test_shadows_are_lifted_and_light_stays() -> None:
    levels = brightened(1.0, 0.6)
    assert (levels[0], levels[255]) == (0, 255)
    assert (levels[1:200].astype(int) > np.arange(1, 200)).all()
    assert (np.diff(levels.astype(int)) >= 0).all()
    assert np.array_equal(brightened(1.0), np.arange(256))

"""A picture in which nobody can be seen is black, whatever is written on it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from vision.health import View, ViewWatch
from vision.lettering import write

NOISE = np.random.default_rng(11)


def night(*, level: int = 4, blue: bool = False) -> npt.NDArray[np.uint8]:
    """No light: a sensor's noise, and the camera's own date, time and name in white."""
    picture = NOISE.normal(level, 1.5, (234, 416, 3)).clip(0, 255).astype(np.uint8)
    if blue:
        picture[:] = (150, 0, 0)
    write(picture, "2026-11-28 22:03:17 星期六", (8, 24))
    write(picture, "1号装置东侧 泵区", (260, 226))
    return picture


def grey(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(picture @ np.array([0.114, 0.587, 0.299]), np.uint8)


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("blue", [False, True])
def test_a_dark_picture_with_a_clock_on_it_is_black(moves: bool, blue: bool) -> None:
    """At night without infrared, or a recorder's picture of no signal: nobody is counted in it."""
    watch = ViewWatch(0.0, moves=moves)
    seen = grey(night(blue=blue))
    assert seen.std() > 6.0, "the writing alone is contrast"
    assert watch.feed(seen, 0) is View.BLACK


def test_a_lamp_that_lights_a_place_in_the_dark_is_a_view() -> None:
    picture = night()
    picture[120:170, 150:260] = NOISE.integers(60, 180, (50, 110, 3), np.uint8)  # a tenth of it
    assert ViewWatch(0.0).feed(grey(picture), 0) is View.CLEAR

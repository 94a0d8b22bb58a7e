"""How long a camera is waited for: long enough for each, and seldom long on a broken line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vision.patience import SELDOM, Patience

BRISK_S, SLOW_S = 3.0, 16.0


def waits(patience: Patience, count: int) -> list[float]:
    """How long it is waited for, time and again in vain."""
    found = []
    for _ in range(count):
        found.append(patience.seconds)
        patience.waited_in_vain()
    return found


def test_who_is_not_known_may_be_slow() -> None:
    assert waits(Patience(BRISK_S, SLOW_S), 4) == [BRISK_S, SLOW_S, SLOW_S, SLOW_S]


def test_who_was_brisk_is_seldom_waited_for_long() -> None:
    patience = Patience(BRISK_S, SLOW_S)
    patience.done(0.4)
    assert waits(patience, 8) == [BRISK_S, BRISK_S, BRISK_S, SLOW_S] * 2


def test_who_was_slow_is_waited_for_until_he_is_brisk() -> None:
    patience = Patience(BRISK_S, SLOW_S)
    patience.done(12.0)
    assert waits(patience, 3) == [SLOW_S] * 3
    patience.done(2.0)
    assert patience.seconds == BRISK_S


@given(needed=st.lists(st.floats(0.0, SLOW_S), min_size=1, max_size=30))
def test_whatever_a_camera_needs_it_is_served_by_the_fourth_attempt(needed: list[float]) -> None:
    patience = Patience(BRISK_S, SLOW_S)
    for took_s in needed:
        for _ in range(SELDOM):
            if took_s <= patience.seconds:
                break
            patience.waited_in_vain()
        assert took_s <= patience.seconds
        patience.done(took_s)

"""Schedule: phase, lateness, evenness."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.pace import Pace

PERIOD = 100


@given(st.lists(st.integers(0, 450), min_size=1, max_size=50))
def test_polls_never_overlap_and_keep_their_phase(durations: list[int]) -> None:
    pace, now = Pace(PERIOD), 7
    pace.start(now)
    for taken in durations:
        pace.begin(now)
        now += taken
        due = pace.following(now)
        assert (due - 7) % PERIOD == 0
        assert due > now - PERIOD  # at most one poll is made up for
        now = max(now, due)
    assert pace.polls == len(durations)
    assert pace.late <= pace.polls
    assert pace.skipped + pace.polls <= (now - 7) // PERIOD + 1


def test_a_slow_device_is_read_as_often_as_it_can() -> None:
    pace, now = Pace(PERIOD), 0
    pace.start(now)
    for _ in range(40):
        pace.begin(now)
        now += 150
        now = max(now, pace.following(now))
    assert now == 40 * 150  # no turn is waited for
    assert 149 <= pace.achieved_ns <= 151


def test_slowness_is_told_once_and_so_is_its_end() -> None:
    pace, now, told = Pace(PERIOD), 0, []
    pace.start(now)
    for taken in [*[120] * 10, *[10] * 10]:
        pace.begin(now)
        now += taken
        due = pace.following(now)
        if pace.changed():
            told.append(pace.slow)
        now = max(now, due)
    assert told == [True, False]


def test_one_late_poll_is_no_news() -> None:
    pace = Pace(PERIOD)
    pace.start(0)
    pace.begin(0)
    assert pace.following(130) == 100
    assert pace.late == 1
    assert not pace.changed()
    assert pace.end_ns() == 200

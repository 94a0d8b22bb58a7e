"""Counting per zone, hold and clear times to the nanosecond, samples on time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.config import ZoneConfig
from vision.track import Track
from vision.zones import (
    BAD_CANNOT_JUDGE,
    BAD_WAITING,
    GOOD,
    SAMPLE_NS,
    Change,
    Headcount,
    OverCount,
    TooFew,
    Zones,
)

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
HOLD_NS, CLEAR_NS = 3_000_000_000, 2_000_000_000
FAR_NS = 10**15  # first sample so late that none disturbs


def zone(limit: int | None = 2, name: str = "hot-work-1") -> ZoneConfig:
    return ZoneConfig(name=name, polygon=LEFT, max_people=limit, hold_s=3.0, clear_s=2.0)


def crowd(inside: int, outside: int = 0) -> list[Track]:
    """People of which `inside` stand in the left half of a 100 x 100 frame."""
    places = [10.0] * inside + [80.0] * outside
    return [
        Track(number, (x, 20.0, x + 4, 40.0), (0.0, 0.0), 0.9, 3, 0, True, 0, 0.9)
        for number, x in enumerate(places, start=1)
    ]


class Watch:
    def __init__(self, limit: int | None = 2, active: tuple[str, ...] = ()) -> None:
        self.zones = Zones([zone(limit)], start_ns=FAR_NS, active=active)

    def feed(self, people: int, now_ns: int) -> list[Change]:
        return self.zones.feed(crowd(people, 1), 100, 100, now_ns=now_ns)


def test_counts_people_by_where_they_stand() -> None:
    watch = Watch()
    watch.feed(2, 0)
    assert watch.zones.counts == (2,)


def test_at_the_limit_nothing_is_raised_however_long() -> None:
    watch = Watch()
    assert [watch.feed(2, second * 10**9) for second in range(100)] == [[]] * 100


def test_raised_at_the_hold_time_and_not_a_nanosecond_before() -> None:
    watch = Watch()
    assert watch.feed(3, 0) == []
    assert watch.feed(3, HOLD_NS - 1) == []
    assert watch.feed(3, HOLD_NS) == [OverCount("hot-work-1", True, 3, 2, (1, 2, 3))]
    assert watch.feed(4, HOLD_NS + 1) == []


def test_one_frame_at_the_limit_starts_the_hold_time_again() -> None:
    watch = Watch()
    watch.feed(3, 0)
    watch.feed(2, HOLD_NS - 1)
    assert watch.feed(3, HOLD_NS) == []
    assert watch.feed(3, 2 * HOLD_NS - 1) == []
    assert watch.feed(3, 2 * HOLD_NS) != []


def test_cleared_at_the_clear_time_and_not_a_nanosecond_before() -> None:
    watch = Watch(active=("hot-work-1",))
    assert watch.feed(2, 0) == []
    assert watch.feed(2, CLEAR_NS - 1) == []
    assert watch.feed(1, CLEAR_NS) == [OverCount("hot-work-1", False, 1, 2, (1,))]


def test_blindness_neither_raises_nor_clears() -> None:
    watch = Watch()
    watch.feed(3, 0)
    watch.zones.blind(BAD_CANNOT_JUDGE)
    assert watch.feed(3, HOLD_NS) == []  # the hold time began again
    standing = Watch(active=("hot-work-1",))
    standing.feed(0, 0)
    standing.zones.blind(BAD_CANNOT_JUDGE)
    assert standing.feed(0, 10 * CLEAR_NS) == []


def test_without_a_limit_there_is_no_alarm() -> None:
    watch = Watch(limit=None)
    assert [watch.feed(50, second * 10**9) for second in range(10)] == [[]] * 10


def test_a_limit_of_zero_means_that_nobody_may_be_there() -> None:
    watch = Watch(limit=0)
    watch.feed(1, 0)
    assert watch.feed(1, HOLD_NS) == [OverCount("hot-work-1", True, 1, 0, (1,))]


def test_samples_are_never_zero_when_nothing_was_judged() -> None:
    zones = Zones([zone(), zone(name="other")], start_ns=0)
    assert zones.tick(SAMPLE_NS - 1) == []
    assert zones.tick(SAMPLE_NS) == [Headcount((None, None), BAD_WAITING)]
    zones.feed(crowd(1), 100, 100, now_ns=SAMPLE_NS + 1)
    assert zones.tick(2 * SAMPLE_NS) == [Headcount((1, 1), GOOD)]
    zones.blind(BAD_CANNOT_JUDGE)
    assert zones.tick(3 * SAMPLE_NS) == [Headcount((None, None), BAD_CANNOT_JUDGE)]


def test_missed_samples_are_not_made_up_and_the_beat_stays() -> None:
    zones = Zones([zone()], start_ns=0)
    assert len(zones.tick(5 * SAMPLE_NS + 7)) == 1
    assert zones.next_deadline_ns() == 6 * SAMPLE_NS


@pytest.mark.parametrize("start", [False, True])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2 * 10**9), st.one_of(st.none(), st.integers(0, 5))), max_size=60
    )
)
def test_alarm_agrees_with_a_slow_oracle(start: bool, steps: list[tuple[int, int | None]]) -> None:
    """Oracle: look back over the whole history for an unbroken run on the other side."""
    watch = Watch(active=("hot-work-1",) if start else ())
    active, now_ns = start, 0
    history: list[tuple[int, int | None]] = []
    for step_ns, people in steps:
        now_ns += step_ns
        history.append((now_ns, people))
        if people is None:
            watch.zones.blind(BAD_CANNOT_JUDGE)
            history.clear()
            continue
        changes = watch.feed(people, now_ns)
        begun = None
        for moment, count in reversed(history):
            if count is None or (count > 2) == active:
                break
            begun = moment
        need_ns = CLEAR_NS if active else HOLD_NS
        if begun is not None and now_ns - begun >= need_ns:
            active = not active
            history.clear()
            assert [change.active for change in changes if isinstance(change, OverCount)] == [
                active
            ]
        else:
            assert changes == []


def test_a_place_that_is_left_is_told_after_its_time_and_again_when_it_is_manned() -> None:
    """The hold time to the nanosecond; blindness starts it again and raises nothing."""
    post = ZoneConfig(name="post", polygon=LEFT, min_people=1, empty_s=180.0, clear_s=2.0)
    zones = Zones([post], start_ns=FAR_NS)

    def feed(people: int, now_ns: int) -> list[Change]:
        return zones.feed(crowd(people), 100, 100, now_ns=now_ns)

    left_ns = 180 * 10**9
    assert feed(1, 0) == []
    assert feed(0, 10) == []
    assert feed(0, left_ns + 9) == []
    zones.blind(BAD_CANNOT_JUDGE)
    assert feed(0, left_ns + 20) == []
    assert feed(0, 2 * left_ns + 19) == []
    assert feed(0, 2 * left_ns + 20) == [TooFew("post", True, 0, 1)]
    assert feed(1, 3 * left_ns) == []
    assert feed(1, 3 * left_ns + CLEAR_NS) == [TooFew("post", False, 1, 1)]
    stood = Zones([post], start_ns=FAR_NS, active=("post/empty",))
    assert stood.feed(crowd(0), 100, 100, now_ns=left_ns) == []
    assert stood.feed(crowd(1), 100, 100, now_ns=2 * left_ns) == []
    assert stood.feed(crowd(1), 100, 100, now_ns=2 * left_ns + CLEAR_NS) == [
        TooFew("post", False, 1, 1)
    ]
    with pytest.raises(ValueError, match="min_people 3 is more than max_people 2"):
        ZoneConfig(name="post", polygon=LEFT, min_people=3, max_people=2)


def test_of_a_camera_that_was_moved_nobodys_absence_is_told() -> None:
    """A tripod is knocked over and shows the sky: nothing returns, and no post was left."""
    post = ZoneConfig(name="post", polygon=LEFT, min_people=1, max_people=2, empty_s=1, clear_s=2)
    zones = Zones([post], start_ns=FAR_NS, active=("post",))

    def feed(people: int, at_s: float, *, doubtful: bool) -> list[Change]:
        now_ns = round(at_s * 10**9)
        return zones.feed(crowd(people), 100, 100, now_ns=now_ns, doubtful=doubtful)

    assert [feed(0, at_s, doubtful=True) for at_s in range(100)] == [[]] * 100
    assert feed(1, 100, doubtful=False) == []
    assert feed(1, 102, doubtful=False) == [OverCount("post", False, 1, 2, (1,))]
    assert feed(3, 103, doubtful=True) == []
    assert feed(3, 106, doubtful=True) == [OverCount("post", True, 3, 2, (1, 2, 3))]

"""Votes and alarms of equipment: one bad frame raises nothing, blindness changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vision.config import ZoneConfig
from vision.ppe import Verdict
from vision.wear import Ballot, ItemAlarm, Missing

FRAME_NS = 250_000_000
M, W, U = Verdict.MISSING, Verdict.WORN, Verdict.UNDECIDED


def zone() -> ZoneConfig:
    return ZoneConfig(
        name="hot", polygon=((0, 0), (1, 0), (1, 1)), require=("helmet",), item_hold_s=2, clear_s=2
    )


class Watch:
    """One person, track 1."""

    def __init__(self, *, active: bool = False) -> None:
        self.ballot, self.alarm = Ballot(), ItemAlarm(zone(), "helmet", active=active)
        self.now_ns = 0

    def feed(self, *verdicts: Verdict, here: bool = True) -> list[Missing]:
        changes = []
        for verdict in verdicts:
            self.now_ns += FRAME_NS
            self.ballot.feed({1: verdict} if here else {}, [1] if here else [], now_ns=self.now_ns)
            states = [(1, self.ballot.state(1, now_ns=self.now_ns))] if here else []
            changes += self.alarm.feed(states, now_ns=self.now_ns)
        return changes


def test_somebody_without_a_helmet_raises_once_and_putting_it_on_clears() -> None:
    watch = Watch()
    raised = watch.feed(*[M] * 16)
    assert [(one.active, one.people, one.track_ids) for one in raised] == [(True, 1, (1,))]
    cleared = watch.feed(*[W] * 40)
    assert [(one.active, one.people) for one in cleared] == [(False, 0)]


def test_turning_away_clears_nothing_and_leaving_does() -> None:
    watch = Watch()
    watch.feed(*[M] * 16)
    assert watch.feed(*[U] * 60) == []
    assert [one.active for one in watch.feed(*[U] * 10, here=False)] == [False]


@given(st.lists(st.sampled_from([W, U]), min_size=0, max_size=40), st.integers(0, 39))
def test_one_bad_frame_never_raises(frames: list[Verdict], at: int) -> None:
    frames.insert(min(at, len(frames)), M)
    assert Watch().feed(*frames) == []


def test_who_cannot_be_judged_counts_as_undecided() -> None:
    watch = Watch()
    watch.feed(U, U, U, U)
    assert (watch.alarm.wearing.missing, watch.alarm.wearing.undecided) == (0, 1)


def test_blindness_starts_the_timer_again() -> None:
    watch = Watch()
    assert watch.feed(*[M] * 9) == []
    watch.alarm.blind()
    assert watch.feed(M, M) == []


def test_an_alarm_that_stood_before_a_restart_clears_as_usual() -> None:
    watch = Watch(active=True)
    assert [one.active for one in watch.feed(*[W] * 12)] == [False]


def test_who_is_lost_for_a_moment_and_comes_back_with_his_back_turned_clears_nothing() -> None:
    """Hidden behind a pipe for a second and a half, the same track, and no head to be seen."""
    watch = Watch()
    watch.feed(*[M] * 16)
    assert watch.feed(*[U] * 6, here=False) == []
    assert watch.feed(*[U] * 60) == []
    assert [one.active for one in watch.feed(*[W] * 20)] == [False]


def test_a_view_that_was_covered_for_a_moment_clears_nothing() -> None:
    """After it everybody has another track; who stands there cannot be judged, and is no proof."""
    watch = Watch()
    watch.feed(*[M] * 16)
    watch.alarm.blind()
    for frame in range(60):
        now_ns = watch.now_ns + (frame + 1) * FRAME_NS
        assert watch.alarm.feed([(2, U)], now_ns=now_ns) == []
    later_ns = now_ns + FRAME_NS
    assert watch.alarm.feed([(2, W)], now_ns=later_ns) == []
    (gone,) = watch.alarm.feed([(2, W)], now_ns=later_ns + 2_000_000_000)
    assert not gone.active


def test_who_comes_into_an_alarm_that_stands_is_not_taken_for_whom_it_names() -> None:
    watch = Watch()
    watch.feed(*[M] * 16)
    now_ns = watch.now_ns
    changes = []
    for frame in range(12):
        changes += watch.alarm.feed([(2, U)], now_ns=now_ns + (frame + 1) * FRAME_NS)
    assert [one.active for one in changes] == [False]


def test_an_alarm_that_stood_before_a_restart_is_not_cleared_by_who_cannot_be_judged() -> None:
    watch = Watch(active=True)
    assert watch.feed(*[U] * 60) == []
    assert [one.active for one in watch.feed(*[U] * 12, here=False)] == [False]


def test_an_empty_zone_of_a_camera_that_was_moved_clears_nothing() -> None:
    watch = Watch()
    watch.feed(*[M] * 16)
    now_ns = watch.now_ns
    for _ in range(60):
        now_ns += FRAME_NS
        assert watch.alarm.feed([], now_ns=now_ns, doubtful=True) == []
    assert watch.alarm.feed([], now_ns=now_ns + FRAME_NS) == []
    assert len(watch.alarm.feed([], now_ns=now_ns + FRAME_NS + 2_000_000_000)) == 1

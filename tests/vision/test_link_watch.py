"""When a camera is lost, why, and why it stays so."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from vision.frames import LinkState
from vision.link_watch import (
    MOST_REASONS,
    OFTEN_NS,
    PACE_NS,
    SETTLED_NS,
    USUAL_NS,
    Breaks,
    LinkChange,
    LinkWatch,
    Pace,
)

S = 1_000_000_000
STOPPED, SILENT, REFUSED = "stopped", "no answer within 3 s", "refuses the login"


def lost() -> LinkWatch:
    """A camera that stopped delivering at 0 and is lost since 6 s."""
    watch = LinkWatch(5 * S, start_ns=0)
    assert watch.tick(LinkState(0, 0, ""), 4 * S) == []
    assert watch.tick(LinkState(0, 0, STOPPED), 6 * S) == [LinkChange(True, STOPPED)]
    return watch


def test_why_it_stays_lost_is_told_once_it_has_stood_for_a_while() -> None:
    """It stopped, came up again with another password, and is left alone for half an hour."""
    watch = lost()
    assert watch.tick(LinkState(0, 0, SILENT), 7 * S) == []
    assert watch.tick(LinkState(0, 0, SILENT), 7 * S + SETTLED_NS - 1) == []
    assert watch.tick(LinkState(0, 0, REFUSED), 7 * S + SETTLED_NS) == []
    assert watch.tick(LinkState(0, 0, REFUSED), 7 * S + 2 * SETTLED_NS - 1) == []
    told = watch.tick(LinkState(0, 0, REFUSED), 7 * S + 2 * SETTLED_NS)
    assert told == [LinkChange(True, REFUSED, again=True)]
    assert watch.tick(LinkState(0, 0, REFUSED), 100 * S) == []
    assert watch.back(100 * S) == [LinkChange(False, "")]
    assert watch.back(100 * S) == []
    assert not watch.lost


def test_the_age_of_the_newest_frame_is_no_other_reason() -> None:
    watch = LinkWatch(5 * S, start_ns=0)
    assert watch.tick(LinkState(0, 0, ""), 6 * S) == [LinkChange(True, "no new frame for 6 s")]
    assert [watch.tick(LinkState(0, 0, ""), second * S) for second in range(7, 60)] == [[]] * 53


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcdefghijklmnop")), max_size=60))
@example([(11, one) for one in "abcdefghijklmnop" for _ in range(2)])
def test_an_outage_is_told_in_few_words_and_none_twice(steps: list[tuple[int, str]]) -> None:
    watch, now_ns, told = lost(), 6 * S, [LinkChange(True, STOPPED)]
    for seconds, problem in steps:
        now_ns += seconds * S
        told += watch.tick(LinkState(0, 0, problem), now_ns)
    assert len({one.reason for one in told}) == len(told) <= MOST_REASONS
    assert all(one.again for one in told[1:])
    assert watch.lost


def test_a_stream_that_begins_anew_again_and_again_is_in_doubt() -> None:
    breaks = Breaks()
    breaks.began(0)
    assert not breaks.often(0), "it was switched on"
    breaks.began(60 * S)
    assert not breaks.often(60 * S), "once in a minute"
    breaks.began(65 * S)
    assert breaks.often(65 * S)
    assert breaks.often(60 * S + OFTEN_NS - 1)
    assert not breaks.often(60 * S + OFTEN_NS)
    breaks.began(70 * S)
    assert breaks.often(65 * S + OFTEN_NS - 1)
    assert not breaks.often(65 * S + OFTEN_NS)


def test_a_machine_that_is_too_slow_is_named_and_not_the_camera() -> None:
    watch = LinkWatch(5 * S, start_ns=0)
    watch.back(S)
    told = []
    for second in range(2, 12):
        watch.late(second * S)
        told += watch.tick(LinkState(second * S, second * S, ""), second * S)
    [change] = told
    assert change.lost
    assert "looked at too late: this machine has too much to do" in change.reason
    assert watch.back(12 * S) == [LinkChange(lost=False, reason="")]


def sparse(pace: Pace) -> bool:
    return pace.sparse


def run(pace: Pace, from_ns: int, received: int, *, fps: float, s: float) -> tuple[int, int]:
    """Pictures at a pace, looked at four times a second; returns when and how many then."""
    for quarter in range(1, round(4 * s) + 1):
        pace.tick(received + int(fps * quarter / 4), from_ns + quarter * S // 4)
    return from_ns + round(s * S), received + int(fps * s)


def test_a_camera_that_brings_few_of_its_usual_pictures_is_in_doubt_until_it_brings_them() -> None:
    pace = Pace(2.0)
    now_ns, received = run(pace, 0, 0, fps=10, s=30)
    assert not sparse(pace)
    now_ns, received = run(pace, now_ns, received, fps=0.2, s=6)
    assert sparse(pace), "one in 5 s"
    run(pace, now_ns, received, fps=10, s=1)
    assert not sparse(pace)


def test_a_camera_that_is_slow_always_or_for_a_minute_is_not_in_doubt() -> None:
    slow = Pace(2.0)
    for s in range(1, 200):
        run(slow, 0, 0, fps=0.4, s=s)
        assert not sparse(slow)
    dusk = Pace(8.0)
    now_ns, received = run(dusk, 0, 0, fps=25, s=30)
    now_ns, received = run(dusk, now_ns, received, fps=2, s=6)
    assert sparse(dusk)
    run(dusk, now_ns, received, fps=2, s=(USUAL_NS + PACE_NS) / S)
    assert not sparse(dusk)


def test_a_stall_of_the_process_puts_no_slow_camera_in_doubt() -> None:
    pace = Pace(4.0)
    now_ns, received = run(pace, 0, 0, fps=1, s=30)
    assert not sparse(pace)
    now_ns, received = now_ns + 40 * S, received + 40  # pictures came, and nobody looked
    for quarter in range(240):
        at_s = quarter / 4
        pace.tick(received + int(at_s), now_ns + round(at_s * S))
        assert not sparse(pace)


def test_a_reader_that_was_replaced_counts_anew() -> None:
    pace = Pace(2.0)
    now_ns, _ = run(pace, 0, 0, fps=10, s=30)
    run(pace, now_ns, 0, fps=10, s=30)
    assert not sparse(pace)


@given(st.lists(st.integers(0, 12), min_size=30, max_size=90), st.floats(0.1, 30.0))
def test_enough_pictures_are_never_sparse(counts: list[int], wanted_fps: float) -> None:
    """However they come: where each 5 s bring a third of what is looked at, all is well."""
    pace, received, totals = Pace(wanted_fps), 0, [0]
    for second, count in enumerate(counts, 1):
        received += count
        totals.append(received)
        told = pace.tick(received, second * S)
        if second >= 5 and totals[second] - totals[second - 5] >= wanted_fps * 5 / 3:
            assert not told

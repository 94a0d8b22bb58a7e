"""When a camera is lost, why, and why it stays so."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from vision.frames import LinkState
from vision.link_watch import MOST_REASONS, OFTEN_NS, SETTLED_NS, Breaks, LinkChange, LinkWatch

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

"""What counts as back, as counting again with doubt, as not back, and as a leak."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import SEVERITY_MASK, Quality
from tests.chaos.rtsp_rounds import Ending, Return, Round, line, table, totals, wrong

END_NS = 1_000
BACK = Round("h264", "kill", 5.4, 3.0, 6.0, 9, 3, 160_000_000, 1)
DOUBTS = replace(BACK, kind="resolution", seen_s=None, back_s=None, said="quality 0x4000; moved")
LOST = replace(BACK, kind="freeze", counting_s=None, back_s=None, said="quality 0x8005; lost")


@pytest.mark.parametrize(
    ("counts", "counting_s", "good_s"),
    [
        ([], None, None),
        ([(Quality.GOOD, END_NS)], None, None),  # of a picture that is as old as the fault
        ([(Quality.BAD_COMM_FAILURE, END_NS + 1)], None, None),
        ([(Quality.UNCERTAIN, END_NS + 1)], 0.0, None),
        ([(Quality.UNCERTAIN_STALE, END_NS + 1), (Quality.GOOD, END_NS + 2)], 0.0, 1.0),
        ([(Quality.BAD, END_NS + 1), (Quality.GOOD, END_NS + 2)], 1.0, 1.0),
        ([(Quality.GOOD, END_NS + 1), (Quality.GOOD, END_NS + 2)], 0.0, 0.0),
    ],
)
def test_the_first_usable_and_the_first_good_count(
    counts: list[tuple[int, int]], counting_s: float | None, good_s: float | None
) -> None:
    back = Return(END_NS)
    for number, (quality, picture_ns) in enumerate(counts):
        back.feed(quality, picture_ns, now_s=float(number))
    assert (back.counting_s, back.good_s) == (counting_s, good_s)


@given(st.lists(st.tuples(st.sampled_from(list(Quality)), st.integers(0, 2 * END_NS))))
def test_a_good_count_is_a_usable_one(counts: list[tuple[int, int]]) -> None:
    back = Return(END_NS)
    for number, (quality, picture_ns) in enumerate(counts):
        back.feed(quality, picture_ns, now_s=float(number))
    young = [quality for quality, picture_ns in counts if picture_ns > END_NS]
    assert (back.good_s is not None) == (Quality.GOOD in young)
    assert (back.counting_s is not None) == any(
        quality & SEVERITY_MASK < Quality.BAD for quality in young
    )
    if back.good_s is not None:
        assert back.counting_s is not None
        assert back.counting_s <= back.good_s


def test_a_camera_that_doubts_is_not_counted_as_one_that_is_lost() -> None:
    rounds = [BACK, DOUBTS, LOST]
    assert [one.ending for one in rounds] == [Ending.BACK, Ending.UNCERTAIN, Ending.NOT_BACK]
    assert totals(rounds) == (
        "3 rounds: 1 back, 1 counting again, but with uncertain quality, 1 not back"
    )
    assert table(rounds)[2:] == [
        "| freeze | 1 | 5.4 (5.4) | never | 0 | 1 |",
        "| kill | 1 | 5.4 (5.4) | 6.0 (6.0) | 0 | 0 |",
        "| resolution | 1 | is no fault | never | 1 | 0 |",
    ]
    assert [line(one) for one in rounds] == [
        "h264: kill: seen after 5.4 s, back after 6.0 s",
        "h264: resolution: counting again, but with uncertain quality after 3.0 s:"
        " quality 0x4000; moved",
        "h264: freeze: seen after 5.4 s, not back: quality 0x8005; lost",
    ]


def test_every_missed_bar_is_said() -> None:
    assert wrong([BACK] * 8) == []
    late = replace(BACK, seen_s=11.0, back_s=12.0)
    assert wrong([BACK] * 8 + [late]) == [
        "h264: kill seen after 11.0 s",
        "h264: kill back after 12.0 s",
    ]
    assert [text.split(":")[1] for text in wrong([DOUBTS, LOST])] == [
        " resolution counting again, but with uncertain quality after 3.0 s",
        " freeze not back",
    ]


def test_a_leak_is_told_from_a_peak() -> None:
    more = [
        replace(BACK, open_files=9 + n, resident_bytes=160_000_000 + n * 2 * 10**6)
        for n in range(8)
    ]
    assert wrong(more) == [
        "h264: more open_files at the end than at the beginning",
        "h264: resident memory grows",
    ]
    peak = [BACK, BACK, replace(BACK, open_files=20), *[BACK] * 5]
    assert wrong(peak) == []
    assert wrong([*[BACK] * 7, replace(BACK, starts=2)]) == [
        "h264: its process was started 2 times"
    ]

"""Alarm metrics: each threshold of the rule books one step on either side, and against counting."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.metrics import AlarmMetrics, FloodWatch, Report, Thresholds
from gateway.rules.rulebook import shipped

S = 10**9
MINUTE = 60 * S
T = Thresholds.of(shipped(), dt.date(2026, 11, 28))
N, U, A, R = (
    AlarmState.NORMAL, AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.ACKNOWLEDGED_ACTIVE,
    AlarmState.RETURNED_UNACKNOWLEDGED,
)  # fmt: skip


def change(
    at_s: float, state: AlarmState = U, previous: AlarmState = N, source: str = "a",
    operator: str = "", declaration: str = "", priority: int = 2,
) -> AlarmChange:  # fmt: skip
    at_ns = round(at_s * S)
    return AlarmChange(
        b"i" * 16, source, "high", state, previous, priority, 1.0, 0, 1.0, "", at_ns, at_ns,
        "limit.high/1", "", operator=operator, declaration=declaration,
    )  # fmt: skip


def report(*changes: AlarmChange, hours: float = 1.0) -> Report:
    metrics = AlarmMetrics(T, lambda source: f"post-{source}")
    for one in changes:
        metrics.feed(one)
    return metrics.report(0, round(hours * 3600 * S))


def test_ten_in_ten_minutes_are_no_flood_and_eleven_are() -> None:
    def floods(count: int) -> int:
        return len(report(*(change(1 + n * 59.9) for n in range(count))).floods)

    assert (floods(10), floods(11)) == (0, 1)
    spread = report(*(change(1 + n * 60.0) for n in range(11)))
    assert spread.floods == (), "the first has left the window when the eleventh comes"


def test_a_flood_ends_when_fewer_than_five_are_left_in_the_window() -> None:
    watch = FloodWatch(T)
    for n in range(12):
        started = watch.raised("p", n * S)
        assert bool(started) == (n == 10)
    # five are left until the fifth newest (of second 7) is ten minutes old
    assert watch.next_deadline_ns() == 7 * S + 10 * MINUTE
    assert watch.tick(7 * S + 10 * MINUTE - 1) == []
    [over] = watch.tick(7 * S + 10 * MINUTE)
    assert (over.start_ns, over.end_ns, over.alarms) == (0, 7 * S + 10 * MINUTE, 12)
    assert watch.next_deadline_ns() is None


def test_positions_have_their_own_floods() -> None:
    both = report(*(change(n, source="ab"[n % 2]) for n in range(1, 21)))
    assert both.floods == ()
    assert both.positions["post-a"][1] == 10


def test_three_in_a_minute_chatter_and_two_do_not() -> None:
    assert report(change(1), change(30)).chattering == ()
    assert report(change(1), change(30), change(60.9)).chattering == (("a", "high", 3),)
    assert report(change(1), change(31), change(61)).chattering == ()


def test_stale_from_twenty_four_hours_on() -> None:
    day = 24 * 3600
    assert report(change(1), hours=24).stale == ()
    assert report(change(0.0 + 1e-9), hours=24 + 1e-6).stale == (("a", "high", 1),)
    assert report(change(1), change(day, R, U), hours=30).stale == ()
    assert report(change(1), change(5, A, U, operator="x"), hours=25).stale == (("a", "high", S),)


def test_time_to_acknowledge_counts_the_first_answer() -> None:
    found = report(
        change(10), change(40, A, U, operator="x"),
        change(10, source="b"), change(20, R, U, source="b"),
        change(110, N, R, source="b", operator="x"),
        change(10, source="c"), change(20, R, U, source="c"),
    )  # fmt: skip
    assert found.acknowledged == 2
    assert (found.acknowledge_median_ns, found.acknowledge_most_ns) == (65 * S, 100 * S)


def test_tests_are_counted_apart_and_top_ten_are_ten() -> None:
    found = report(*(change(1, source=f"s{n:02d}", declaration="t" if n < 3 else "")
                     for n in range(20)))  # fmt: skip
    assert (found.raised, found.under_test, len(found.top)) == (17, 3, 10)
    shelved = report(change(1), change(2, AlarmState.SHELVED, U, operator="x"))
    assert shelved.aside == (("a", "high", "shelved"),)


def flooded(times: list[int]) -> list[tuple[int, int]]:
    """Floods told second by second: start when the window holds more than 10, end below 5."""
    spans, start = [], None
    for now in range(0, max(times, default=0) + 1300):
        inside = [t for t in times if now - 600 < t <= now]
        if start is None and len(inside) > 10:
            start = min(inside)
        elif start is not None and len(inside) < 5:
            spans.append((start, now))
            start = None
    return spans


@given(st.lists(st.integers(1, 120), max_size=40))
def test_floods_against_counting_every_second(gaps: list[int]) -> None:
    times, at = [], 0
    for gap in gaps:
        at += gap
        times.append(at)
    found = report(*(change(t) for t in times), hours=10).floods
    assert [(f.start_ns // S, f.end_ns // S) for f in found] == flooded(times)

"""Limit alarms: inequalities one step either side, delays, quality, restart, own times.

The slow scalar model that they agree with: test_limits_model.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract import Batch, Quality, ValueKind
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.point import Limits, Point
from gateway.rules.limits import LimitAlarms
from gateway.rules.open_alarm import StateError, decode_open

S = 1_000_000_000
ACTIVE, RETURNED = AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED


def counting_ids() -> Callable[[], bytes]:
    numbers: Iterator[int] = itertools.count(1)
    return lambda: next(numbers).to_bytes(16, "big")


def alarms(*points: Point, restored: bytes = b"") -> LimitAlarms:
    return LimitAlarms(points, new_id=counting_ids(), restored=restored)


def batch(
    ids: Sequence[int], values: Sequence[float], quality: Sequence[int] | None = None
) -> Batch:
    count = len(ids)
    return Batch(
        np.array(ids, np.int32),
        np.array(values, np.float64),
        np.array(quality if quality is not None else [0] * count, np.uint16),
        np.arange(100, 100 + count, dtype=np.int64),
        1000,
        0,
    )


def said(changes: list[AlarmChange]) -> list[tuple[str, str, AlarmState]]:
    return [(change.source, change.condition, change.state) for change in changes]


def feed_one(judge: LimitAlarms, value: float, now_s: float = 0.0, quality: int = 0) -> list[str]:
    changes = judge.feed(batch([1], [value], [quality]), now_ns=round(now_s * S))
    return [f"{change.condition} {change.state.name}" for change in changes]


UP, DOWN = "high UNACKNOWLEDGED_ACTIVE", "high RETURNED_UNACKNOWLEDGED"
LOW_UP, LOW_DOWN = "low UNACKNOWLEDGED_ACTIVE", "low RETURNED_UNACKNOWLEDGED"


def test_high_is_raised_at_the_limit_and_returns_below_the_deadband() -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(high=25.0, deadband=0.5)))
    assert feed_one(judge, math.nextafter(25.0, 0.0)) == []
    assert feed_one(judge, 25.0) == [UP]
    assert feed_one(judge, 26.0) == []
    assert feed_one(judge, 24.5) == []
    assert feed_one(judge, math.nextafter(24.5, 0.0)) == [DOWN]
    assert feed_one(judge, 24.9) == []


def test_low_is_raised_at_the_limit_and_returns_above_the_deadband() -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(low=5.0, deadband=0.5)))
    assert feed_one(judge, math.nextafter(5.0, 9.0)) == []
    assert feed_one(judge, 5.0) == [LOW_UP]
    assert feed_one(judge, 5.5) == []
    assert feed_one(judge, math.nextafter(5.5, 9.0)) == [LOW_DOWN]


def test_without_a_deadband_return_is_the_complement_of_raise() -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(high=0.0)))
    assert feed_one(judge, -0.0) == [UP]
    assert feed_one(judge, 0.0) == []
    assert feed_one(judge, -5e-324) == [DOWN]


def test_the_deadband_is_decimal() -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(high=0.8, deadband=0.1)))
    assert 0.8 - 0.1 > 0.7
    assert [feed_one(judge, v) for v in (0.8, 0.7)] == [[UP], []]


def test_each_condition_is_its_own_alarm_with_one_id_from_raise_to_return() -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(low_low=1, low=2, high=8, high_high=9)))
    up = judge.feed(batch([1], [9.5]), now_ns=0)
    assert [change.condition for change in up] == ["high_high", "high"]
    assert up[0].alarm_id != up[1].alarm_id
    down = judge.feed(batch([1], [0.5]), now_ns=1)
    assert said(down) == [
        ("d/t", "high_high", RETURNED),
        ("d/t", "high", RETURNED),
        ("d/t", "low", ACTIVE),
        ("d/t", "low_low", ACTIVE),
    ]
    assert [change.alarm_id for change in down[:2]] == [change.alarm_id for change in up]
    again = judge.feed(batch([1], [8.5]), now_ns=2)
    assert again[0].condition == "high"
    assert again[0].alarm_id not in {change.alarm_id for change in up + down}
    assert again[0].previous_state is AlarmState.NORMAL


def test_a_change_says_everything() -> None:
    point = Point(
        7, "gds-1/AT-101", unit="%LEL", limits=Limits(high=25.0), priority=1, hazard="H1",
        place="tank farm", equipment="P-1",
    )  # fmt: skip
    judge = alarms(point)
    moment = Batch(
        np.array([7], np.int32), np.array([25.3]), np.array([0x4094], np.uint16), 3, 4, 0
    )
    assert judge.feed(moment, now_ns=0) == [
        AlarmChange(
            (1).to_bytes(16, "big"), "gds-1/AT-101", "high", ACTIVE, AlarmState.NORMAL, 1, 25.3,
            0x4094, 25.0, "%LEL", 3, 4, "limit.high/1",
            "gds-1/AT-101 is high: 25.3 %LEL has reached the limit 25 %LEL.",
            "H1", "tank farm", "P-1",
        )
    ]  # fmt: skip
    back = Batch(np.array([7], np.int32), np.array([20]), np.array([0], np.uint16), 5, 6, 0)
    (change,) = judge.feed(back, now_ns=1)
    assert change.text == "gds-1/AT-101 is no longer high: 20 %LEL, limit 25 %LEL."
    assert (change.source_time_ns, change.gateway_time_ns) == (5, 6)
    assert AlarmChange.decode(change.encode(b"")) == change


def test_on_delay_fires_from_tick_with_the_latest_value() -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(high=10.0, on_delay_s=5.0)))
    assert feed_one(judge, 11.0, 1.0) == []
    assert judge.next_deadline_ns() == 6 * S
    assert feed_one(judge, 12.0, 3.0) == []
    assert judge.next_deadline_ns() == 6 * S
    assert judge.tick(6 * S - 1) == []
    (change,) = judge.tick(6 * S)
    assert (change.value, change.source_time_ns, change.gateway_time_ns) == (12.0, 100, 1000)
    assert judge.next_deadline_ns() is None
    assert judge.tick(99 * S) == []


def test_a_value_that_comes_back_within_the_delay_raises_nothing() -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(high=10.0, on_delay_s=5.0)))
    feed_one(judge, 11.0, 0.0)
    feed_one(judge, 9.0, 4.9)
    assert judge.next_deadline_ns() is None
    feed_one(judge, 11.0, 5.0)
    assert judge.next_deadline_ns() == 10 * S


def test_a_delay_that_ran_out_fires_before_the_next_sample_is_judged() -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(high=10.0, on_delay_s=5.0)))
    feed_one(judge, 11.0, 0.0)
    assert feed_one(judge, 9.0, 8.0) == [UP, DOWN]


def test_off_delay_holds_the_alarm() -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(high=10.0, off_delay_s=3.0)))
    assert feed_one(judge, 11.0, 0.0) == [UP]
    assert feed_one(judge, 9.0, 1.0) == []
    assert feed_one(judge, 11.0, 2.0) == []
    assert feed_one(judge, 9.0, 3.0) == []
    assert said(judge.tick(6 * S)) == [("d/t", "high", RETURNED)]


@pytest.mark.parametrize(
    ("limits", "beyond", "inside", "edge"),
    [
        (Limits(low=5.0, deadband=0.5, off_delay_s=3.0), 4.0, 5.6, 5.5),
        (Limits(high=5.0, deadband=0.5, off_delay_s=3.0), 6.0, 4.4, 4.5),
    ],
)
def test_a_value_on_the_edge_of_the_deadband_stops_a_running_return(
    limits: Limits, beyond: float, inside: float, edge: float
) -> None:
    judge = alarms(Point(1, "d/t", limits=limits))
    feed_one(judge, beyond, 0.0)
    feed_one(judge, inside, 1.0)
    assert judge.next_deadline_ns() == 4 * S
    feed_one(judge, edge, 2.0)
    assert judge.next_deadline_ns() is None


@pytest.mark.parametrize(
    ("limits", "beyond", "edge"), [(Limits(low=5.0, on_delay_s=3.0), 4.0, 5.0),
                                   (Limits(high=5.0, on_delay_s=3.0), 6.0, 5.0)]
)  # fmt: skip
def test_a_value_on_the_limit_keeps_a_running_raise(
    limits: Limits, beyond: float, edge: float
) -> None:
    judge = alarms(Point(1, "d/t", limits=limits))
    feed_one(judge, beyond, 1.0)
    feed_one(judge, edge, 2.0)
    assert judge.next_deadline_ns() == 4 * S


HELD = [code for code in Quality if code >= 0x8000] + [
    Quality.GOOD_SIMULATED,
    Quality.UNCERTAIN_INHIBITED,
    Quality.UNCERTAIN_WARM_UP,
    Quality.UNCERTAIN_CALIBRATING,
    Quality.UNCERTAIN_UNDER_TEST,
    0xC000,
]


@pytest.mark.parametrize("quality", [int(code) for code in HELD])
def test_a_value_that_cannot_be_judged_neither_raises_nor_returns(quality: int) -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(high=10.0)))
    assert feed_one(judge, 11.0, quality=quality) == []
    assert feed_one(judge, 11.0) == [UP]
    assert feed_one(judge, 1.0, quality=quality) == []
    assert feed_one(judge, math.nan) == []
    assert feed_one(judge, 1.0, quality=int(Quality.UNCERTAIN_OUT_OF_RANGE)) == [DOWN]


def test_a_stale_value_raises_and_returns_nothing() -> None:
    """@example: the last usable value of a lost transmitter returned the alarm after its delay."""
    stale = int(Quality.UNCERTAIN_STALE)
    judge = alarms(Point(1, "d/t", limits=Limits(high=10.0, off_delay_s=3.0)))
    assert feed_one(judge, 11.0, quality=stale) == [UP]
    assert feed_one(judge, 9.0, 1.0) == []
    assert feed_one(judge, 9.0, 2.0, stale) == []
    assert judge.tick(60 * S) == []
    assert feed_one(judge, 9.0, 61.0) == []
    assert feed_one(judge, 9.0, 64.0) == [DOWN]


@pytest.mark.parametrize(
    ("limits", "beyond", "failed", "drifted"),
    [
        (Limits(high=80.0), 81.0, -2.6, -2.4),
        (Limits(high=80.0), 81.0, -25.0, 0.0),  # 0 mA: a broken line
        (Limits(low=20.0), 19.0, 106.3, 106.2),
    ],
)
def test_a_failed_transmitter_returns_nothing(
    limits: Limits, beyond: float, failed: float, drifted: float
) -> None:
    """@example: a line that broke at high pressure read as -25 % and ended the alarm."""
    out = int(Quality.UNCERTAIN_OUT_OF_RANGE)
    judge = alarms(Point(1, "d/t", limits=limits, range_low=0.0, range_high=100.0))
    feed_one(judge, beyond)
    assert judge.open_count == 1
    feed_one(judge, failed, 1.0, out)
    assert judge.open_count == 1
    feed_one(judge, drifted, 2.0, out)
    assert judge.open_count == 0
    both = alarms(Point(1, "d/t", limits=Limits(low=0.0), range_low=0.0, range_high=100.0))
    assert len(feed_one(both, -25.0, quality=out)) == 1  # it may raise


def test_an_unknown_value_holds_a_running_delay() -> None:
    judge = alarms(Point(1, "d/t", limits=Limits(high=10.0, on_delay_s=5.0)))
    feed_one(judge, 11.0, 0.0)
    assert feed_one(judge, math.nan, 1.0) == []
    assert judge.next_deadline_ns() is None
    assert judge.tick(50 * S) == []
    assert feed_one(judge, 12.0, 60.0) == [UP]


def test_samples_of_one_point_are_judged_in_their_order() -> None:
    judge = alarms(
        Point(1, "d/a", limits=Limits(high=10.0)), Point(2, "d/b", limits=Limits(low=0.0))
    )
    changes = judge.feed(batch([1, 2, 1, 2, 1], [11, -1, 9, 5, 12]), now_ns=0)
    assert [s for n, _, s in said(changes) if n == "d/a"] == [ACTIVE, RETURNED, ACTIVE]
    assert [s for n, _, s in said(changes) if n == "d/b"] == [ACTIVE, RETURNED]
    assert [c.source_time_ns for c in changes if c.source == "d/a"] == [100, 102, 104]


def test_panel_points_and_points_without_limits_are_left_alone() -> None:
    judge = alarms(
        Point(1, "d/a", limits=Limits(high=10.0), alarm_source="panel"),
        Point(2, "d/b"),
        Point(3, "d/c", kind=ValueKind.TEXT),
    )
    assert judge.feed(batch([1, 2, 9], [11, 11, 11]), now_ns=0) == []
    text = Batch(np.array([3], np.int32), ("open",), np.array([0], np.uint16), 0, 0, 0)
    assert judge.feed(text, now_ns=0) == []


def test_integer_columns_are_judged() -> None:
    judge = alarms(Point(1, "d/a", kind=ValueKind.UINT, limits=Limits(high=10.0)))
    values = np.array([2**63], np.uint64)
    moment = Batch(np.array([1], np.int32), values, np.array([0], np.uint16), 0, 0, 0)
    assert said(judge.feed(moment, now_ns=0)) == [("d/a", "high", ACTIVE)]


def test_a_restart_neither_raises_again_nor_forgets() -> None:
    point = Point(1, "d/t", unit="bar", limits=Limits(high=10.0, high_high=20.0))
    before = alarms(point)
    (raised,) = before.feed(batch([1], [11.0]), now_ns=0)
    after = alarms(point, restored=before.open_alarms())
    assert after.open_count == 1
    assert after.open_alarms() == before.open_alarms()
    assert feed_one(after, 12.0) == []
    (returned,) = after.feed(batch([1], [9.0]), now_ns=1)
    assert (returned.alarm_id, returned.state) == (raised.alarm_id, RETURNED)
    assert decode_open(after.open_alarms()) == ()


@pytest.mark.parametrize(
    "points",
    [
        (),
        (Point(1, "d/t", limits=Limits(low=1.0)),),
        (Point(1, "d/t", limits=Limits(high=10.0), alarm_source="panel"),),
    ],
)
def test_an_alarm_whose_limit_was_removed_is_returned_and_says_so(
    points: tuple[Point, ...],
) -> None:
    before = alarms(Point(1, "d/t", limits=Limits(high=10.0)))
    (raised,) = before.feed(batch([1], [11.0]), now_ns=0)
    after = alarms(*points, restored=before.open_alarms())
    assert after.open_alarms() == before.open_alarms()
    (closed,) = after.feed(batch([1], [11.0]), now_ns=5)
    assert (closed.alarm_id, closed.state) == (raised.alarm_id, RETURNED)
    assert "removed from the configuration" in closed.text
    assert closed.quality == Quality.UNCERTAIN_STALE
    assert after.feed(batch([1], [11.0]), now_ns=6) == []
    assert decode_open(after.open_alarms()) == ()


@pytest.mark.parametrize("stored", [b"{", b"[]", b'{"version":2,"open":[]}', b'{"version":1}',
                                    b'{"version":1,"open":[{"alarm_id":"00"}]}'])  # fmt: skip
def test_unreadable_state_is_refused(stored: bytes) -> None:
    with pytest.raises(StateError):
        decode_open(stored)


@pytest.mark.parametrize(
    ("point", "word"),
    [
        (Point(1, "d/t", limits=Limits(high=math.nan)), "finite"),
        (Point(1, "d/t", limits=Limits(high=1.0, deadband=-1.0)), "deadband"),
        (Point(1, "d/t", limits=Limits(high=1.0, on_delay_s=math.inf)), "on_delay_s"),
        (Point(1, "d/t", kind=ValueKind.TEXT, limits=Limits(high=1.0)), "text"),
    ],
)
def test_limits_that_cannot_be_judged_are_refused_by_name(point: Point, word: str) -> None:
    with pytest.raises(ValueError, match=rf"d/t.*{word}"):
        alarms(point)


def test_an_alarm_id_has_16_bytes() -> None:
    judge = LimitAlarms([Point(1, "d/t", limits=Limits(high=1.0))], new_id=lambda: b"short")
    with pytest.raises(ValueError, match="16 bytes"):
        judge.feed(batch([1], [2.0]), now_ns=0)


def stamped(*samples: tuple[float, float]) -> Batch:
    """Values of point 1 in one batch, each with the second of its own time."""
    seconds, values = zip(*samples, strict=True)
    return Batch(
        np.full(len(samples), 1, np.int32), np.array(values), np.zeros(len(samples), np.uint16),
        np.array([round(one * S) for one in seconds], np.int64), 1000, 0,
    )  # fmt: skip


@pytest.mark.parametrize(("lasted_s", "raised"), [(4.999, False), (5.0, True)])
def test_an_excursion_inside_one_batch_lasts_as_long_as_its_own_times_say(
    lasted_s: float, raised: bool
) -> None:
    judge = alarms(Point(1, "d/a", limits=Limits(high=10.0, on_delay_s=5.0)))
    changes = judge.feed(
        stamped((100, 9.0), (101, 11.0), (102, 12.0), (101 + lasted_s, 9.0)), now_ns=1000 * S
    )
    found = [change.state for change in changes]
    assert found == ([ACTIVE, RETURNED] if raised else [])
    if raised:
        assert (changes[0].value, changes[0].source_time_ns) == (12.0, 102 * S)


def test_a_standing_value_is_as_old_as_it_says_but_no_older_than_the_batch_before() -> None:
    judge = alarms(Point(1, "d/a", limits=Limits(high=10.0, on_delay_s=5.0)), Point(2, "d/b"))
    both = Batch(np.array([1, 2], np.int32), np.array([11.0, 1.0]), np.zeros(2, np.uint16),
                 np.array([100 * S, 106 * S], np.int64), 1000, 0)  # fmt: skip
    [raised] = judge.feed(both, now_ns=1000 * S)
    assert raised.state is ACTIVE
    fresh = alarms(Point(1, "d/a", limits=Limits(high=10.0, on_delay_s=5.0)), Point(2, "d/b"))
    assert fresh.feed(batch([1], [9.0]), now_ns=999 * S) == []
    assert fresh.feed(both, now_ns=1000 * S) == [], "it was seen within its limit a second ago"
    assert fresh.next_deadline_ns() == 1004 * S
    never = alarms(Point(1, "d/a", limits=Limits(high=10.0, on_delay_s=5.0)), Point(2, "d/b"))
    unset = Batch(both.points, both.values, both.quality,
                  np.array([0, 10**18], np.int64), 1000, 0)  # fmt: skip
    assert never.feed(unset, now_ns=1000 * S) == [], "a stamp that was never set is no age"
    assert never.next_deadline_ns() == 1005 * S


@given(
    st.lists(st.tuples(st.floats(0.001, 4.0), st.booleans()), min_size=1, max_size=12),
    st.floats(0.0, 8.0), st.floats(0.0, 8.0),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_one_batch_of_all_samples_gives_the_alarms_of_one_batch_each(
    steps: list[tuple[float, bool]], on_s: float, off_s: float
) -> None:
    """One batch of all samples, one batch each, and a scalar model over their own times."""
    judge = alarms(Point(1, "d/a", limits=Limits(high=10.0, on_delay_s=on_s, off_delay_s=off_s)))
    at, series = 0.0, list[tuple[float, float]]()
    for step, high in steps:
        at += step
        series.append((at, 11.0 if high else 9.0))
    on_ns, off_ns = round(on_s * S), round(off_s * S)
    active, since, wanted = False, -1, list[bool]()
    for seconds, value in series:
        now = round(seconds * S)
        delay = off_ns if active else on_ns
        if since >= 0 and since + delay <= now:  # `tick` fires between two samples
            wanted.append(not active)
            active, since = not active, -1
        if (value > 10.0) == active:
            since = -1
            continue
        since = now if since < 0 else since
        if (off_ns if active else on_ns) == 0:
            wanted.append(not active)
            active, since = not active, -1
    one_by_one = alarms(
        Point(1, "d/a", limits=Limits(high=10.0, on_delay_s=on_s, off_delay_s=off_s))
    )
    singly = [
        change.state is ACTIVE
        for seconds, value in series
        for change in one_by_one.feed(stamped((seconds, value)), now_ns=round(seconds * S))
    ]
    assert singly == wanted
    whole = judge.feed(stamped(*series), now_ns=round(at * S))
    assert [change.state is ACTIVE for change in whole] == wanted

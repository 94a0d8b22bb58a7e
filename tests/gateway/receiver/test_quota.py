"""Quotas: nothing within them waits, what is over is told, who does not listen is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.receiver.quota import (
    BURST_SECONDS,
    DAY_OVERRUN_BYTES,
    HOLD_SECONDS,
    OVERRUN_SECONDS,
    Meter,
    Quota,
)

SECOND_NS = 1_000_000_000
steps = st.lists(st.tuples(st.integers(0, 20 * SECOND_NS), st.integers(0, 50_000)), max_size=60)


@given(steps)
def test_without_a_quota_nothing_waits(sent: list[tuple[int, int]]) -> None:
    meter, now_ns = Meter(Quota()), 0
    for step_ns, count in sent:
        now_ns += step_ns
        assert meter.bulk(count, now_ns=now_ns, wall_ns=now_ns).pause_ms == 0
        assert meter.priority(count, now_ns=now_ns).hold_s == 0


@given(st.integers(1, 10_000), steps)
def test_who_obeys_is_never_ended_and_keeps_the_rate(
    rate: int, sent: list[tuple[int, int]]
) -> None:
    meter, now_ns, ready_ns, total = Meter(Quota(bytes_per_s=rate)), 0, 0, 0
    for step_ns, count in sent:
        size = min(count, rate * OVERRUN_SECONDS)
        now_ns = max(now_ns + step_ns, ready_ns)
        verdict = meter.bulk(size, now_ns=now_ns, wall_ns=now_ns)
        assert not verdict.over
        total += size
        ready_ns = now_ns + (verdict.pause_ms + 1) * 1_000_000
    most = (now_ns / SECOND_NS + BURST_SECONDS + OVERRUN_SECONDS) * rate
    assert total <= most


@given(st.integers(1, 10_000), st.integers(1, 100_000))
def test_who_does_not_listen_is_ended_within_the_overrun(rate: int, size: int) -> None:
    meter, total = Meter(Quota(bytes_per_s=rate)), 0
    while not meter.bulk(size, now_ns=0, wall_ns=0).over:
        total += size
        assert total <= rate * (BURST_SECONDS + OVERRUN_SECONDS)


def test_a_day_ends_at_midnight_and_begins_anew() -> None:
    day_ns = 86_400 * SECOND_NS
    meter = Meter(Quota(bytes_per_day=1000))
    assert meter.bulk(1000, now_ns=0, wall_ns=day_ns - SECOND_NS).pause_ms == 0
    assert meter.bulk(1, now_ns=0, wall_ns=day_ns - SECOND_NS).pause_ms == 1000
    assert meter.bulk(1000, now_ns=0, wall_ns=day_ns).pause_ms == 0
    assert meter.bulk(DAY_OVERRUN_BYTES, now_ns=0, wall_ns=day_ns + 1).over == ""
    assert "in a day" in meter.bulk(1, now_ns=0, wall_ns=day_ns + 1).over


@given(st.integers(1, 1000), st.lists(st.integers(0, 5000), max_size=30))
def test_alarms_are_held_up_and_never_ended(rate: int, counts: list[int]) -> None:
    meter = Meter(Quota(records_per_s=rate))
    for count in counts:
        verdict = meter.priority(count, now_ns=0)
        assert not verdict.over
        assert not verdict.pause_ms
        assert verdict.hold_s <= HOLD_SECONDS

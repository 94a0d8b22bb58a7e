"""Certificates that end are told once a day, from thirty days before, and no more once renewed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.uplink.expiry import SOON_DAYS, ExpiryWatch

DAY_NS = 86_400_000_000_000
END_NS = 1_800_000_000_000_000_000


def test_silent_before_thirty_days_then_once_a_day_then_expired() -> None:
    watch = ExpiryWatch()
    ends = {"gateway.pem": END_NS}
    assert watch.feed(ends, wall_ns=END_NS - SOON_DAYS * DAY_NS - 1) == []
    ((kind, text),) = watch.feed(ends, wall_ns=END_NS - SOON_DAYS * DAY_NS)
    assert kind == "uplink.certificate_expires"
    assert "in 30 days" in text
    assert "剩余30天" in text
    assert watch.feed(ends, wall_ns=END_NS - SOON_DAYS * DAY_NS + DAY_NS - 1) == []
    ((kind, text),) = watch.feed(ends, wall_ns=END_NS)
    assert kind == "uplink.certificate_expired"
    assert "2027-01-15" in text


def test_a_renewed_certificate_falls_silent_and_each_file_is_told_by_itself() -> None:
    watch = ExpiryWatch()
    assert len(watch.feed({"a": END_NS, "b": END_NS}, wall_ns=END_NS)) == 2
    assert watch.feed({"a": END_NS + 90 * DAY_NS, "b": END_NS}, wall_ns=END_NS + 1) == []
    (told,) = watch.feed({"a": END_NS + 90 * DAY_NS, "b": END_NS}, wall_ns=END_NS + DAY_NS)
    assert told[1].startswith("b expired")


@given(st.lists(st.integers(-40 * DAY_NS, 40 * DAY_NS), max_size=60))
def test_never_twice_within_a_day_whatever_the_clock_does(steps: list[int]) -> None:
    watch = ExpiryWatch()
    told: list[int] = []
    for step in steps:
        if watch.feed({"a": END_NS}, wall_ns=END_NS + step):
            assert not told or abs(step - told[-1]) >= DAY_NS
            told.append(step)
        if step < -SOON_DAYS * DAY_NS:
            told.clear()

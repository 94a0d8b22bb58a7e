"""Pings: an answer bounds the receiver's clock once, and only where it says a time."""

from __future__ import annotations

from gateway.model.clock import ServerTime
from gateway.uplink.server_time import MOST, PingTimes


def test_an_answer_counts_once_and_only_to_a_ping_of_ours() -> None:
    pings = PingTimes("province")
    pings.sent(1, 100)
    assert pings.heard(2, 5_000, 150) is None
    assert pings.heard(1, 5_000, 200) == ServerTime("province", 100, 5_000, 200)
    assert pings.heard(1, 5_000, 300) is None


def test_an_older_receiver_tells_no_time() -> None:
    pings = PingTimes("province")
    pings.sent(1, 100)
    assert pings.heard(1, 0, 200) is None


def test_pings_that_are_never_answered_are_forgotten() -> None:
    pings = PingTimes("province")
    for ping in range(1, 3 * MOST):
        pings.sent(ping, ping)
    assert pings.heard(1, 5_000, 900) is None
    assert pings.heard(3 * MOST - 1, 5_000, 900) is not None

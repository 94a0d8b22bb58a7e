"""What is asked of a server and how it answers."""

from __future__ import annotations

from drivers.opcua.traffic import Traffic

MS = 10**6


def test_round_trips_intervals_and_faults() -> None:
    now_ns = 0
    traffic = Traffic(lambda: now_ns)
    assert traffic.statistics()["round_trip_ms"] == traffic.statistics()["achieved_period_ms"] == 0
    asked_ns = traffic.asked()
    now_ns += 3 * MS
    traffic.came(asked_ns)
    traffic.asked()  # a publish: it waits by design and is no round trip
    traffic.heard()
    now_ns += 500 * MS
    traffic.heard()
    traffic.pause()  # an outage of an hour is no interval
    now_ns += 3_600_000 * MS
    traffic.heard()
    now_ns += 508 * MS
    traffic.heard()
    traffic.faults[0x8078_0000] += 2
    traffic.timeouts += 1
    assert traffic.statistics() == {
        "requests": 2, "timeouts": 1, "exceptions": 2, "round_trip_ms": 3.0,
        "achieved_period_ms": 501.0, "exceptions_by_code{code=0x80780000}": 2,
    }  # fmt: skip

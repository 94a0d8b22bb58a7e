"""Counts what is asked of a server and how it answers. Pure.

Guarantees: a request that waits for data by design (Publish) counts as a request and never as a
round trip; intervals are smoothed as those of the Modbus driver, over about eight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

_SMOOTHING = 8


class Traffic:
    """Of one device, over all its connections. monotonic_ns: the device's clock."""

    def __init__(self, monotonic_ns: Callable[[], int]) -> None:
        self._now_ns = monotonic_ns
        self.requests = self.answered = self.timeouts = 0
        self.round_trip_total_ns = 0
        self.faults: Counter[int] = Counter()
        """StatusCodes (32 bits) by which the server refused a request as a whole."""
        self._interval_ns = 0.0
        self._heard_ns: int | None = None

    def asked(self) -> int:
        """Count a request; gives its moment, for `came`."""
        self.requests += 1
        return self._now_ns()

    def came(self, asked_ns: int) -> None:
        """Count the answer to a request that is answered at once."""
        self.answered += 1
        self.round_trip_total_ns += self._now_ns() - asked_ns

    def heard(self) -> None:
        """Note that values have come: a notification, or the answers of one turn."""
        now_ns = self._now_ns()
        if self._heard_ns is not None:
            taken_ns = now_ns - self._heard_ns
            self._interval_ns += (taken_ns - self._interval_ns) / (
                _SMOOTHING if self._interval_ns else 1
            )
        self._heard_ns = now_ns

    def pause(self) -> None:
        """Leave the time of an outage out of the interval."""
        self._heard_ns = None

    def statistics(self) -> dict[str, float]:
        """Counters as metrics; interval and mean round trip in ms."""
        mean_ns = self.round_trip_total_ns / self.answered if self.answered else 0.0
        found = {
            "requests": float(self.requests),
            "timeouts": float(self.timeouts),
            "exceptions": float(self.faults.total()),
            "round_trip_ms": mean_ns / 1e6,
            "achieved_period_ms": self._interval_ns / 1e6,
        }
        codes = sorted(self.faults.items())
        return found | {f"exceptions_by_code{{code=0x{c:08X}}}": float(n) for c, n in codes}


__all__ = ["Traffic"]

"""Recognises a server whose clock is wrong, above all by whole hours: local time as UTC. Pure.

Guarantees: says so only after three windows of live values in a row agree; once for each shift,
and once more when it has gone. Works from the newest source time of a window: a value that has just
changed is as old as its way, so what remains is the shift.
"""

from __future__ import annotations

import numpy as np

from drivers.contract import Int64Array

_HOUR_NS = 3_600 * 10**9
_NEAR_NS = 60 * 10**9
_WINDOW_NS = 5 * 10**9
_LEAST_VALUES = 10
_WINDOWS = 3
_APART_S = 30  # ours: far beyond what a network and a late answer explain
_MOST_HOURS = 14  # the largest offset of civil time, UTC+14


class ShiftWatch:
    """Follows the offset between source times and the gateway's clock."""

    __slots__ = ("_agreeing", "_count", "_ends_ns", "_hours", "_newest_ns", "_told")

    def __init__(self) -> None:
        self._count = 0
        self._ends_ns = 0
        self._newest_ns = 0
        self._hours = 0
        self._agreeing = 0
        self._told = 0

    def feed(self, source_time_ns: Int64Array, now_ns: int) -> int | None:
        """Take the source times of live values; gives the shift in hours when it is new.

        now_ns: gateway wall clock. 0 says that an earlier shift is over.
        """
        if not len(source_time_ns):
            return None
        offset_ns = int(np.max(source_time_ns)) - now_ns
        if not self._count:
            self._ends_ns, self._newest_ns = now_ns + _WINDOW_NS, offset_ns
        self._count += len(source_time_ns)
        self._newest_ns = max(self._newest_ns, offset_ns)
        if now_ns < self._ends_ns or self._count < _LEAST_VALUES:
            return None
        self._count = 0
        hours = _whole_hours(self._newest_ns)
        self._agreeing = self._agreeing + 1 if hours == self._hours else 1
        self._hours = hours if hours is not None else 0
        if hours is None or self._agreeing < _WINDOWS or hours == self._told:
            return None
        self._told = hours
        return hours


class ClockWatch:
    """Follows how far the server's own clock (CurrentTime) is from ours.

    Guarantees: says so only after three looks in a row, once, and once more when they agree. Whole
    hours are left to ShiftWatch, which sees them where they do harm.
    """

    __slots__ = ("_agreeing", "_told")

    def __init__(self) -> None:
        self._agreeing = 0
        self._told = False

    def feed(self, apart_s: int) -> int | None:
        """Take server time less gateway time, in s; gives it when it is to be told, 0 if right."""
        hours = _whole_hours(apart_s * 10**9)
        apart = abs(apart_s) > _APART_S and not hours
        self._agreeing = self._agreeing + 1 if apart is not self._told else 0
        if self._agreeing < _WINDOWS:
            return None
        self._agreeing, self._told = 0, apart
        return apart_s if apart else 0


def _whole_hours(offset_ns: int) -> int | None:
    """Give the hours if the offset is within a minute of some, at most 14; else None."""
    hours = round(offset_ns / _HOUR_NS)
    near = abs(offset_ns - hours * _HOUR_NS) <= _NEAR_NS
    return hours if near and abs(hours) <= _MOST_HOURS else None


__all__ = ["ClockWatch", "ShiftWatch"]

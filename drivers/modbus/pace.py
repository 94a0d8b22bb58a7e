"""Schedule of a poll loop: fixed rate, fixed phase, no overlap.

Guarantees: a poll is due at start + k * period. One that overran is followed at once, its missed
turns are counted and left out, and the phase stays. Being too slow is told once when it begins and
once when it ends. Pure: monotonic ns in, monotonic ns out.
"""

from __future__ import annotations

_SLOW_AFTER = 5  # late polls in a row before it is said
_SMOOTHING = 8  # the achieved period is a mean over about this many polls


class Pace:
    """When the next poll begins.

    polls: begun.  late: begun after their time because the one before took too long.
    skipped: turns left out.  achieved_ns: smoothed time from poll to poll, 0 before the second.
    """

    def __init__(self, period_ns: int) -> None:
        self.period_ns = period_ns
        self.polls = self.late = self.skipped = 0
        self.achieved_ns = 0.0
        self.slow = False
        self._due_ns = 0
        self._begun_ns = 0
        self._late_in_row = 0

    def start(self, now_ns: int) -> None:
        """Begin a schedule whose first poll is now."""
        self._due_ns = now_ns
        self._begun_ns = 0
        self._late_in_row = 0

    def begin(self, now_ns: int) -> None:
        """Note that a poll begins."""
        if self._begun_ns:
            taken_ns = now_ns - self._begun_ns
            self.achieved_ns += (taken_ns - self.achieved_ns) / (
                _SMOOTHING if self.achieved_ns else 1
            )
        self._begun_ns = now_ns
        self.polls += 1

    def end_ns(self) -> int:
        """When the present period ends."""
        return self._due_ns + self.period_ns

    def following(self, now_ns: int) -> int:
        """End a poll; returns when the next is due, in the past if it is late."""
        self._due_ns += self.period_ns
        if now_ns <= self._due_ns:
            self._late_in_row = 0
            return self._due_ns
        self.late += 1
        self._late_in_row += 1
        missed = (now_ns - self._due_ns) // self.period_ns
        self.skipped += missed
        self._due_ns += missed * self.period_ns
        return self._due_ns

    def changed(self) -> bool:
        """Tell once that `slow` has changed."""
        slow = self._late_in_row >= _SLOW_AFTER or (self.slow and self._late_in_row > 0)
        if slow == self.slow:
            return False
        self.slow = slow
        return True

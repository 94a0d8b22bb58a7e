"""What one browser is to be told next. Pure; time is monotonic.

Guarantees: a loss of the gateway is told at the first look and again every BEAT_NS; its return at
the first look, too; something is told every BEAT_NS in any case; a change is told once, in its
newest form. It holds two numbers, however slow its browser is.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.console.view import Frame, View

BEAT_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Told:
    """One event: "state" or "change" with its frame, "beat", "gone". seen: the revision before."""

    event: str
    seen: int
    frame: Frame | None = None


class Follower:
    """One browser's place in the view."""

    def __init__(self, seen: int) -> None:
        """`seen`: the revision that the browser has, view.NEVER for none."""
        self._seen = seen
        self._fresh: bool | None = None
        self._told_ns: int | None = None

    def feed(self, view: View, *, now_ns: int) -> Told | None:
        """Give the next thing to tell, None while there is nothing."""
        fresh = not view.stale(now_ns)
        frame = view.since(self._seen) if fresh else None
        due = self._told_ns is None or now_ns - self._told_ns >= BEAT_NS
        if frame is None and fresh is self._fresh and not due:
            return None
        self._fresh, self._told_ns = fresh, now_ns
        if frame is None:
            return Told("beat" if fresh else "gone", self._seen)
        told = Told(frame.event, self._seen, frame)
        self._seen = frame.revision
        return told

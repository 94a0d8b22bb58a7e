"""Tells when a camera is lost, why, and that it is back. No clock, thread or socket.

Guarantees:

- A camera is lost once no frame came for `stale_s`, or at once where it cannot even be opened; and
  once frames come of which none could be turned into a picture for as long.
- A stream that is opened anew again and again, or brings few of the pictures it usually brings, is
  in doubt, however fresh its newest picture is.
- Why it is lost is told again when another reason has stood for SETTLED_NS: a camera that stops
  delivering and then refuses the login is told with both. Each reason is told once an outage, and
  MOST_REASONS of them at most, since some quote what the camera said.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from vision.frames import LinkState

STARTUP_NS = 8_000_000_000
"""Patience with the first frame: an RTSP open takes 2 s, a key frame may be another 4 s away."""
SETTLED_NS = 10_000_000_000
"""Longer than reasons of a moment last: an attempt is bounded by 3 s, the wait after it by 5 s."""
MOST_REASONS = 8
PACE_NS = 5_000_000_000
USUAL_NS = 60_000_000_000
"""A camera that sends fewer pictures at dusk has found its new pace after a minute."""
SPARSE = 3.0
"""Fewer than one in three of what is usual and of what is wanted: a garbled line lets one in ten
through or fewer (measured: 42 of 160, H.265), and one of them every 5 s looked like good counts."""
OFTEN_NS = 6_000_000_000
"""Such a line also breaks streams off: each picture may be the first of a new one. 8 s held a
camera back for up to 10.1 s after the line was well again (1 of 39 rounds; it has 10)."""


@dataclass(frozen=True, slots=True)
class LinkChange:
    """The camera was lost or came back. again: it was lost already, and this is why it stays so."""

    lost: bool
    reason: str
    again: bool = False


class Breaks:
    """Of one camera: how often its stream was opened anew."""

    def __init__(self) -> None:
        self._former_ns: int | None = None
        self._latest_ns: int | None = None

    def began(self, now_ns: int) -> None:
        """The first picture of a stream came."""
        self._former_ns, self._latest_ns = self._latest_ns, now_ns

    def often(self, now_ns: int) -> bool:
        """Tell whether two streams began in the last OFTEN_NS."""
        return self._former_ns is not None and now_ns - self._former_ns < OFTEN_NS


class Pace:
    """Of one camera: whether it brings far fewer pictures than it usually does.

    wanted_fps: as many a second are looked at; more than a third of that is never sparse.
    """

    def __init__(self, wanted_fps: float) -> None:
        self._enough = wanted_fps * PACE_NS / 1e9 / SPARSE
        self._totals: deque[tuple[int, int]] = deque()
        self._counts: deque[tuple[int, float]] = deque()
        self.sparse = False

    def tick(self, received: int, now_ns: int) -> bool:
        """Take how many pictures have come in all; tell whether they have become sparse."""
        if self._totals and received < self._totals[-1][1]:  # another reader, that counts anew
            self._totals.clear()
        if not self._totals or now_ns - self._totals[-1][0] >= PACE_NS // 10:
            self._totals.append((now_ns, received))
        while len(self._totals) > 1 and now_ns - self._totals[1][0] >= PACE_NS:
            self._totals.popleft()
        begin_ns, before = self._totals[0]
        if now_ns - begin_ns < PACE_NS:
            return self.sparse
        count = (received - before) * PACE_NS / (now_ns - begin_ns)  # also after a stall of ours
        while self._counts and now_ns - self._counts[0][0] > USUAL_NS:
            self._counts.popleft()
        while self._counts and self._counts[-1][1] <= count:  # the most of the time that counts
            self._counts.pop()
        self._counts.append((now_ns, count))
        self.sparse = count < min(self._enough, self._counts[0][1] / SPARSE)
        return self.sparse


class LinkWatch:
    """Of one camera. stale_ns: age from which its newest frame is too old.

    patience_ns: the same of the newest picture; longer where pictures are taken seldom.
    """

    def __init__(self, stale_ns: int, *, start_ns: int, patience_ns: int = 0) -> None:
        self._stale_ns = stale_ns
        self._patience_ns = max(stale_ns, patience_ns)
        self._start_ns = start_ns
        self._shown_ns: int | None = None
        self._late_ns: int | None = None
        self._told: set[str] = set()
        self._problem = ""
        self._since_ns = start_ns

    @property
    def lost(self) -> bool:
        """Tell whether the camera counts as lost now."""
        return bool(self._told)

    def back(self, now_ns: int) -> list[LinkChange]:
        """A picture came."""
        self._shown_ns = now_ns
        was_lost = self.lost
        self._told.clear()
        return [LinkChange(lost=False, reason="")] if was_lost else []

    def late(self, now_ns: int) -> None:
        """A picture waited so long to be looked at that it shows nothing of now."""
        self._late_ns = now_ns

    def tick(self, link: LinkState, now_ns: int) -> list[LinkChange]:
        """Look at the clock and at the source."""
        if link.problem != self._problem:
            self._problem, self._since_ns = link.problem, now_ns
        if not self.lost:
            reason = self._absence(link, now_ns)
            self._told.update({reason} - {""})
            return [LinkChange(lost=True, reason=reason)] if reason else []
        settled = self._problem and now_ns - self._since_ns >= SETTLED_NS
        if not settled or self._problem in self._told or len(self._told) >= MOST_REASONS:
            return []
        self._told.add(self._problem)
        return [LinkChange(lost=True, reason=self._problem, again=True)]

    def _absence(self, link: LinkState, now_ns: int) -> str:
        """Why the camera counts as lost now; empty if it does not."""
        if link.last_frame_ns is None:
            if link.problem:
                return link.problem
            waited_ns = now_ns - self._start_ns
            return "no first frame yet" if waited_ns > STARTUP_NS else ""
        age_ns = now_ns - link.last_frame_ns
        if age_ns > self._stale_ns:
            return link.problem or f"no new frame for {age_ns / 1e9:.0f} s"
        shown_ns = self._start_ns + STARTUP_NS if self._shown_ns is None else self._shown_ns
        unshown_ns = now_ns - shown_ns
        if unshown_ns <= (0 if self._shown_ns is None else self._patience_ns):
            return ""
        if self._late_ns is not None and now_ns - self._late_ns <= self._patience_ns:
            return "frames come, and are looked at too late: this machine has too much to do"
        return "frames come, and none of them could be turned into a picture"


__all__ = [
    "MOST_REASONS",
    "OFTEN_NS",
    "PACE_NS",
    "SETTLED_NS",
    "STARTUP_NS",
    "USUAL_NS",
    "Breaks",
    "LinkChange",
    "LinkWatch",
    "Pace",
]

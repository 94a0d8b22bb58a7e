"""Back-off of what does not answer on a shared bus, so that it costs the others next to nothing.

Guarantees: after `patience` silent polls in a row a unit (or one block of it) is down and asked
again after 2 s, then twice as late each time, at last each 60 s; one answer ends all that.

    silent poll 1 … patience - 1: asked at the next poll, not before `settle_ns` have passed
    silent poll patience:         down; asked again after 2 s, 4 s, 8 s … 60 s

`settle_ns` is for lines without transaction ids: an answer that comes too late must have had time
to come before the same unit is asked again, or it would be taken for the answer to a later request.
Pure: monotonic ns in.
"""

from __future__ import annotations

FIRST_PAUSE_NS = 2 * 10**9
LAST_PAUSE_NS = 60 * 10**9


class Silence:
    """Polls without an answer, in a row. count: how many.  down: as many as `patience` or more.

    retry_at_ns: not asked before then; 0 while all is well.
    """

    def __init__(self, patience: int, settle_ns: int = 0) -> None:
        self.count = 0
        self._patience = patience
        self._settle_ns = settle_ns
        self.retry_at_ns = 0

    @property
    def down(self) -> bool:
        """Whether it counts as lost."""
        return self.count >= self._patience

    def due(self, now_ns: int) -> bool:
        """Tell whether it may be asked."""
        return now_ns >= self.retry_at_ns

    def silent(self, now_ns: int) -> None:
        """Note a poll without an answer that ended now."""
        self.count += 1
        pause_ns = self._settle_ns
        if self.down:
            doublings = min(self.count - self._patience, 5)  # 2 s * 2**5 is above 60 s
            pause_ns = max(pause_ns, min(FIRST_PAUSE_NS << doublings, LAST_PAUSE_NS))
        self.retry_at_ns = now_ns + pause_ns

    def settle(self, now_ns: int) -> None:
        """Note that a part of a poll went unanswered: what is late may come until then."""
        self.retry_at_ns = max(self.retry_at_ns, now_ns + self._settle_ns)

    def answered(self) -> None:
        """Note an answer."""
        self.count = 0
        self.retry_at_ns = 0

    def ask_again(self) -> None:
        """Ask at the next poll, as after a new connection; what was counted stays."""
        self.retry_at_ns = 0

"""How long to wait for something that a camera does: briskly, or as a slow one needs it. Pure.

Guarantees:

- One that has done it briskly before is waited for briskly, however often it was in vain, but for
  every SELDOM-th time: who waits long on a line that a fault has broken is late when it is whole
  again, since what was sent into the break comes only when TCP sends it once more (RFC 6298, 5.5:
  after twice the time of the last try).
- One that has been slow, or of which nothing is known, is waited for as long as a slow one needs
  from the second attempt on.
"""

from __future__ import annotations

SELDOM = 4


class Patience:
    """One thing that a camera does: its answer, its first picture.

    brisk_s: enough for most.  slow_s: for the slowest that are served.
    """

    def __init__(self, brisk_s: float, slow_s: float) -> None:
        self._brisk_s = brisk_s
        self._slow_s = slow_s
        self._was_brisk: bool | None = None
        self._in_vain = 0

    @property
    def seconds(self) -> float:
        """How long to wait the next time, in seconds."""
        slow = self._was_brisk is False or self._in_vain > 0
        if self._was_brisk:
            slow = self._in_vain % SELDOM == SELDOM - 1
        return self._slow_s if slow else self._brisk_s

    def done(self, took_s: float) -> None:
        """It was done, after that time."""
        self._was_brisk = took_s <= self._brisk_s
        self._in_vain = 0

    def waited_in_vain(self) -> None:
        """It was not done."""
        self._in_vain += 1


__all__ = ["SELDOM", "Patience"]

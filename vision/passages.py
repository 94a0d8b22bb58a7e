"""Who came into a zone, who left it, and how long who is in it has stayed. Pure.

Guarantees: somebody has come once he was in it for SETTLE_NS without a break, and has left once he
was not for as long, so who stands on the border comes and goes once; who was there when counting
began, or when it began again after the view could not be judged, has not come. Nobody comes or
leaves while the view cannot be judged.

Counted are tracks: somebody who is hidden for longer than a track lives (track.py) leaves and comes
again under another id. Over a shift `came` and `left` are an upper bound, headcount is the count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SETTLE_NS = 1_000_000_000


@dataclass(slots=True)
class _Stay:
    """One track. since_ns: in it without a break, or since the break began."""

    since_ns: int
    inside: bool
    settled_ns: int | None = None


class Passages:
    """feed() takes the ids in one zone for each judged frame."""

    def __init__(self) -> None:
        self._stays: dict[int, _Stay] = {}
        self._fresh = True
        self.came = 0
        self.left = 0

    def blind(self) -> None:
        """Forget who is in it: the view cannot be judged."""
        self._stays.clear()
        self._fresh = True

    def feed(self, ids: Iterable[int], now_ns: int) -> None:
        """Compare with the frame before."""
        here = set(ids)
        for one in here - self._stays.keys():
            self._stays[one] = _Stay(now_ns, True, now_ns if self._fresh else None)
        self._fresh = False
        for one, stay in list(self._stays.items()):
            if stay.inside != (one in here):
                stay.inside, stay.since_ns = one in here, now_ns
            elif now_ns - stay.since_ns >= SETTLE_NS:
                self._settle(one, stay)

    def _settle(self, one: int, stay: _Stay) -> None:
        if stay.inside and stay.settled_ns is None:
            stay.settled_ns = stay.since_ns
            self.came += 1
        elif not stay.inside:
            self.left += stay.settled_ns is not None
            del self._stays[one]

    def longest_s(self, now_ns: int) -> int:
        """How long who has been in it longest has stayed, whole seconds; 0 where nobody is."""
        stays = [stay.settled_ns for stay in self._stays.values() if stay.settled_ns is not None]
        return (now_ns - min(stays)) // 1_000_000_000 if stays else 0

"""Who hears of grade and risk as they come in, and what of them is stored. Pure.

`feed` gives the state to store with the record of the very event; `tell` then tells whoever
follows, who is told once at `follow` too, of what was known before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drivers.contract import SourceEvent
from gateway.rules.open_alarm import StateError
from gateway.rules.risk import KINDS, STATE, RiskView


@dataclass(frozen=True, slots=True)
class _Follower:
    name: str
    heard: Callable[[RiskView], None]
    raised: Callable[[], bool]


class RiskFlow:
    """Grade and risk of one gateway. restored: what was stored last."""

    def __init__(self, restored: bytes = b"") -> None:
        self.complaints: tuple[str, ...] = ()
        try:
            self.view = RiskView(restored)
        except StateError as error:
            self.view, self.complaints = RiskView(), (f"{error}.",)
        self._followers: list[_Follower] = []
        self._untold = False

    def feed(self, event: SourceEvent) -> Mapping[str, bytes]:
        """Take an event of any kind; gives the state to store with it."""
        if event.kind not in KINDS:
            return {}
        if not self.view.feed(event.kind, event.attributes, event.time_ns):
            return {}
        self._untold = True
        return {STATE: self.view.state()}

    def tell(self) -> None:
        """Tell those who follow, if there is something new."""
        if self._untold:
            self._untold = False
            for follower in self._followers:
                follower.heard(self.view)

    def follow(
        self, name: str, heard: Callable[[RiskView], None], raised: Callable[[], bool]
    ) -> None:
        """Call `heard` now and at each change; `raised` tells whether reporting is raised."""
        self._followers.append(_Follower(name, heard, raised))
        heard(self.view)

    def raised(self) -> list[str]:
        """Names of those who report more closely now."""
        return [follower.name for follower in self._followers if follower.raised()]

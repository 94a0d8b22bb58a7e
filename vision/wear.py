"""What people in a zone wear, over time: votes of frames per person, alarms per zone. Pure.

State of one item (helmet, work wear) on one tracked person, from the votes of the last WINDOW_NS:

| state     | when                                                                            |
|-----------|---------------------------------------------------------------------------------|
| MISSING   | >= LEAST_VOTES say missing, they are >= SHARE of those that decide, and the     |
|           | newest decided vote is not older than FRESH_NS                                  |
| WORN      | likewise for worn                                                               |
| UNDECIDED | otherwise                                                                       |

State of the alarm of one item in one zone, judged on frames only, as over-count is (zones.py):

| state  | event                                                      | then                      |
|--------|------------------------------------------------------------|---------------------------|
| calm   | somebody MISSING in every frame for >= item_hold_s         | active, Missing(True)     |
| active | nobody MISSING in every frame for >= clear_s               | calm, Missing(False)      |
| any    | view cannot be judged                                      | the timer starts again    |

Guarantees: no single frame raises anything; a person who cannot be judged is counted as undecided,
not as wearing the item and not as lacking it; an alarm names the tracks that lacked it. While an
alarm stands, who lacked the item goes on lacking it until seen with it or gone for clear_s: turning
away clears nothing, nor does being hidden for a moment. Who is there when an alarm stands and the
view can be judged again, or the process begins anew, may be whom it names: tracks do not go on over
that, so he lacks it until seen with it or gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vision.config import ZoneConfig
from vision.ppe import Verdict

WINDOW_NS = 4_000_000_000
FRESH_NS = 2_000_000_000
LEAST_VOTES = 3
SHARE = 0.7
Votes = Mapping[int, Verdict]
"""Verdict on one item by track id, for one frame."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The alarm of one item in a zone changed. track_ids: who lacks it, ascending."""

    zone: str
    item: str
    active: bool
    people: int
    track_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Wearing:
    """People in a zone by one item, in the newest judged frame."""

    zone: str
    item: str
    worn: int
    missing: int
    undecided: int


class Ballot:
    """The votes on one item for everybody of one camera."""

    def __init__(self) -> None:
        self._votes: dict[int, deque[tuple[int, Verdict]]] = {}

    def feed(self, votes: Votes, alive: Collection[int], *, now_ns: int) -> None:
        """Take one frame's votes; forget tracks that are no longer alive."""
        for gone in set(self._votes) - set(alive):
            del self._votes[gone]
        for track, verdict in votes.items():
            if verdict is not Verdict.UNDECIDED:
                self._votes.setdefault(track, deque()).append((now_ns, verdict))
        for kept in self._votes.values():
            while kept and now_ns - kept[0][0] > WINDOW_NS:
                kept.popleft()

    def state(self, track: int, *, now_ns: int) -> Verdict:
        """What is known of one person now."""
        votes = self._votes.get(track)
        if not votes or now_ns - votes[-1][0] > FRESH_NS:
            return Verdict.UNDECIDED
        for verdict in (Verdict.MISSING, Verdict.WORN):
            count = sum(vote is verdict for _, vote in votes)
            if count >= LEAST_VOTES and count >= SHARE * len(votes):
                return verdict
        return Verdict.UNDECIDED

    def reset(self) -> None:
        """Forget everything: the next frame shows another scene."""
        self._votes = {}


class ItemAlarm:
    """One item in one zone: the second table above."""

    def __init__(self, zone: ZoneConfig, item: str, *, active: bool) -> None:
        self._zone = zone
        self._item = item
        self._hold_ns = round(zone.item_hold_s * 1e9)
        self._clear_ns = round(zone.clear_s * 1e9)
        self._active = active
        self._since_ns: int | None = None
        self._named: dict[int, int] = {}  # who lacked it: when he was last in the zone
        self._anybody = active
        self.wearing = Wearing(zone.name, item, 0, 0, 0)

    def feed(
        self, states: Sequence[tuple[int, Verdict]], *, now_ns: int, doubtful: bool = False
    ) -> list[Missing]:
        """Judge one frame: the state of each track that is in the zone.

        doubtful: the zone may lie elsewhere by now, so nobody there is no proof.
        """
        lacking = tuple(
            sorted(
                track
                for track, state in states
                if state is Verdict.MISSING
                or (state is Verdict.UNDECIDED and (self._anybody or track in self._named))
            )
        )
        self._anybody = False
        self._name(lacking, {track for track, state in states if state is Verdict.WORN}, now_ns)
        worn = sum(state is Verdict.WORN for _, state in states)
        rest = len(states) - worn - len(lacking)
        self.wearing = Wearing(self._zone.name, self._item, worn, len(lacking), rest)
        if bool(lacking) == self._active or (doubtful and not lacking):
            self._since_ns = None
            return []
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns < (self._clear_ns if self._active else self._hold_ns):
            return []
        self._active = not self._active
        self._name(lacking, set(), now_ns)
        self._since_ns = None
        return [Missing(self._zone.name, self._item, self._active, len(lacking), lacking)]

    def _name(self, lacking: Collection[int], worn: Collection[int], now_ns: int) -> None:
        """Keep who lacks it while the alarm stands, and as long as he may only be hidden."""
        if not self._active:
            self._named = {}
            return
        kept = {
            track: seen_ns
            for track, seen_ns in self._named.items()
            if track not in worn and now_ns - seen_ns <= self._clear_ns
        }
        self._named = kept | dict.fromkeys(lacking, now_ns)

    def blind(self) -> None:
        """The view cannot be judged."""
        self._since_ns = None
        self._anybody = self._active


__all__ = ["Ballot", "ItemAlarm", "Missing", "Votes", "Wearing"]

"""Counts people per zone and decides when there are too many. Pure.

State of the over-count alarm 超员 of one zone, judged on frames only:

| state  | event                                        | then                        |
|--------|----------------------------------------------|-----------------------------|
| calm   | over the limit in every frame for >= hold_s  | active, OverCount(True)     |
| active | at or under it in every frame for >= clear_s | calm, OverCount(False)      |
| any    | view cannot be judged                        | both timers start again     |
| any    | not over, in a view that is in doubt         | likewise                    |

Guarantees: a count that could not be made is None with a bad quality, never 0; blindness neither
raises nor clears an alarm; people > max_people is over, people == max_people is not. Of a camera
that was moved, whose zones may lie elsewhere by now, too many people and a missing helmet are told,
but nobody's absence: it clears nothing, and no place counts as left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.config import ZoneConfig
from vision.geometry import feet, inside
from vision.passages import Passages
from vision.ppe import Verdict
from vision.track import Track
from vision.wear import ItemAlarm, Missing, Wearing

GOOD = 0x0000
UNCERTAIN = 0x4000
BAD_WAITING = 0x8032
BAD_NOT_CONNECTED = 0x808A
BAD_CANNOT_JUDGE = 0x82F0
"""Quality codes: the top 16 bits of an OPC UA StatusCode; the last is the gateway's own."""

SAMPLE_NS = 1_000_000_000
"""One headcount sample a second: what the rules on people count in (minutes) sampled 60 times."""


@dataclass(frozen=True, slots=True)
class Headcount:
    """People per zone, in the order of the configuration; None where quality is bad."""

    counts: tuple[int | None, ...]
    quality: int
    wearing: tuple[tuple[int | None, int], ...] = ()
    """Value and quality of each further point of `camera_tags` but the last, in its order."""


@dataclass(frozen=True, slots=True)
class OverCount:
    """The over-count alarm of a zone changed. track_ids: who was in the zone, ascending."""

    zone: str
    active: bool
    people: int
    limit: int
    track_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TooFew:
    """A place was left 离岗, or is manned again. least: people that must be there."""

    zone: str
    active: bool
    people: int
    least: int


Change = Headcount | OverCount | TooFew | Missing


class Zones:
    """Counts for all zones of one camera.

    active: names of zones whose alarm stood when the previous process ended, `zone/no_item` for one
    of equipment, `zone/empty` for one of a place that was left; they clear as usual.
    """

    def __init__(
        self, zones: Sequence[ZoneConfig], *, start_ns: int, active: Collection[str] = ()
    ) -> None:
        self._polygons = [np.array(zone.polygon, np.float64) for zone in zones]
        self._alarms = [_Alarm(zone, zone.name in active) for zone in zones]
        self._empty = [_Empty(zone, f"{zone.name}/empty" in active) for zone in zones]
        self._items = [
            [
                ItemAlarm(zone, item, active=f"{zone.name}/no_{item}" in active)
                for item in zone.items
            ]
            for zone in zones
        ]
        self._passages = [Passages() if zone.passages else None for zone in zones]
        self._counts: tuple[int, ...] = ()
        self._quality = BAD_WAITING
        self._due_ns = start_ns + SAMPLE_NS

    @property
    def counts(self) -> tuple[int, ...]:
        """Counts of the newest frame; empty where it cannot be judged, or before the first."""
        return self._counts if self._quality in {GOOD, UNCERTAIN} else ()

    def feed(
        self,
        tracks: Sequence[Track],
        width: int,
        height: int,
        *,
        now_ns: int,
        doubtful: bool = False,
        unsteady: bool = False,
        worn: Mapping[str, Mapping[int, Verdict]] | None = None,
    ) -> list[Change]:
        """Judge one frame of the given size. worn: state of each item by track id.

        doubtful: the zones may lie elsewhere by now.  unsteady: few pictures come, or of ever new
        streams; counts are uncertain, and alarms go on: what is seen is seen.
        """
        members = self.members(tracks, width, height)
        self._counts = tuple(int(member.sum()) for member in members)
        self._quality = UNCERTAIN if doubtful or unsteady else GOOD
        changes: list[Change] = []
        alarms = zip(self._alarms, self._empty, self._items, self._passages, members, strict=True)
        for alarm, empty, items, passages, member in alarms:
            ids = tuple(sorted(tracks[i].id for i in np.flatnonzero(member).tolist()))
            if passages is not None:
                passages.feed(ids, now_ns)
            changes += alarm.feed(ids, now_ns, doubtful=doubtful)
            changes += empty.feed(len(ids), now_ns, doubtful=doubtful)
            for item in items:
                known = (worn or {}).get(item.wearing.item, {})
                states = [(one, known.get(one, Verdict.UNDECIDED)) for one in ids]
                changes += item.feed(states, now_ns=now_ns, doubtful=doubtful)
        return changes + self.tick(now_ns)

    def members(
        self, tracks: Sequence[Track], width: int, height: int
    ) -> list[npt.NDArray[np.bool_]]:
        """Of each zone, which tracks stand in it."""
        boxes = np.array([track.box for track in tracks], np.float64).reshape(-1, 4)
        where = feet(boxes, width, height)
        return [inside(where, polygon) for polygon in self._polygons]

    @property
    def wearing(self) -> list[Wearing]:
        """What people wore in the newest judged frame, per zone and item."""
        return [item.wearing for items in self._items for item in items]

    def doubt(self) -> None:
        """The counts of the newest frame are uncertain from now on, until the next feed."""
        if self._quality == GOOD:
            self._quality = UNCERTAIN

    def blind(self, quality: int) -> None:
        """The view cannot be judged from now on, until the next feed; quality says why."""
        self._quality = quality
        for alarm in (*self._alarms, *self._empty):
            alarm.blind()
        for passages in self._passages:
            if passages is not None:
                passages.blind()
        for items in self._items:
            for item in items:
                item.blind()

    def next_deadline_ns(self) -> int:
        """When the next sample is due."""
        return self._due_ns

    def tick(self, now_ns: int) -> list[Change]:
        """Return the sample that is due, if one is. Missed ones are not made up."""
        if now_ns < self._due_ns:
            return []
        self._due_ns += SAMPLE_NS * (1 + (now_ns - self._due_ns) // SAMPLE_NS)
        if self._quality not in {GOOD, UNCERTAIN}:
            passing = sum(one is not None for one in self._passages)
            lost = ((None, self._quality),) * (2 * len(self.wearing) + 3 * passing)
            return [Headcount((None,) * len(self._alarms), self._quality, lost)]
        worn = tuple(pair for one in self.wearing for pair in _values(one, self._quality))
        passed = tuple(
            (value, self._quality)
            for one in self._passages
            if one is not None
            for value in (one.came, one.left, one.longest_s(now_ns))
        )
        return [Headcount(self._counts, self._quality, worn + passed)]


def _values(one: Wearing, quality: int) -> tuple[tuple[int | None, int], tuple[int | None, int]]:
    """People who lack the item, people of whom it cannot be told; each with its quality.

    Where nobody could be judged the first is not known; where some could not, it is uncertain.
    """
    decided = one.worn + one.missing
    if not one.undecided:
        return (one.missing, quality), (0, quality)
    if not decided:
        return (None, BAD_CANNOT_JUDGE), (one.undecided, quality)
    return (one.missing, UNCERTAIN), (one.undecided, quality)


class _Held:
    """A condition that must hold, or be gone, without a break to change anything."""

    def __init__(self, hold_s: float, clear_s: float, active: bool) -> None:
        self._hold_ns = round(hold_s * 1e9)
        self._clear_ns = round(clear_s * 1e9)
        self.active = active
        self._since_ns: int | None = None

    def changed(self, true: bool, now_ns: int) -> bool:
        """Take one frame's verdict; tells whether `active` has changed."""
        if true == self.active:
            self._since_ns = None
            return False
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns < (self._clear_ns if self.active else self._hold_ns):
            return False
        self.active = true
        self._since_ns = None
        return True

    def blind(self) -> None:
        self._since_ns = None


class _Alarm(_Held):
    """Over-count of one zone: the table above."""

    def __init__(self, zone: ZoneConfig, active: bool) -> None:
        super().__init__(zone.hold_s, zone.clear_s, active)
        self._zone = zone

    def feed(self, ids: tuple[int, ...], now_ns: int, *, doubtful: bool) -> list[OverCount]:
        limit = self._zone.max_people
        if limit is not None and doubtful and len(ids) <= limit:
            self.blind()
            return []
        if limit is None or not self.changed(len(ids) > limit, now_ns):
            return []
        return [OverCount(self._zone.name, self.active, len(ids), limit, ids)]


class _Empty(_Held):
    """Fewer people than must be there: the same table, with `empty_s`."""

    def __init__(self, zone: ZoneConfig, active: bool) -> None:
        super().__init__(zone.empty_s, zone.clear_s, active)
        self._zone = zone

    def feed(self, people: int, now_ns: int, *, doubtful: bool) -> list[TooFew]:
        least = self._zone.min_people
        if doubtful:
            self.blind()
            return []
        if not least or not self.changed(people < least, now_ns):
            return []
        return [TooFew(self._zone.name, self.active, people, least)]

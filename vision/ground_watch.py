"""What is judged in metres, of a calibrated camera: running 奔跑, gathering 人员聚集. Pure.

State of the alarm `running` of one zone, judged on frames only:

| state  | event                                              | then                    |
|--------|----------------------------------------------------|-------------------------|
| calm   | somebody whose feet are in the zone surely runs    | active, Running(True)   |
| active | nobody has for `clear_s`                           | calm, Running(False)    |
| any    | the view cannot be judged                          | neither; time starts again |

and of `gathering`:

| state  | event                                                                 | then    |
|--------|-----------------------------------------------------------------------|---------|

| calm   | `people` within one circle for `hold_s`, without a break of `clear_s` | active  |
| active | not so for `clear_s`                                                  | calm    |

Guarantees: whoever has no position (vision/ground.py) is part of neither; so of people far off or
cut off by the picture's edge less is told, never more. A camera that was moved, or cannot be
judged, raises and returns nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vision.config import CameraConfig, ZoneConfig
from vision.gathered import together
from vision.geometry import feet, inside
from vision.ground import Ground, Places
from vision.ground_config import GatheringConfig, RunningConfig
from vision.pace import Pace
from vision.speeds import Float64Array, Pacing, Run, Walks, cut, foot_jitter, run_of
from vision.track import Track


@dataclass(frozen=True, slots=True)
class Running:
    """Somebody runs in a zone, or nobody does any more. runs: by track id, the fastest first."""

    zone: str
    active: bool
    runs: Mapping[int, Run]


@dataclass(frozen=True, slots=True)
class Gathering:
    """People stand together in a zone, or no longer. places: metres, by track id."""

    zone: str
    active: bool
    people: int
    limit: int
    radius_m: float
    places: Mapping[int, tuple[float, float]]


class _Lasting:
    """Active once true for hold_s, breaks of less than clear_s left out; over after clear_s."""

    def __init__(self, hold_s: float, clear_s: float, active: bool) -> None:
        self._hold_ns, self._clear_ns = round(hold_s * 1e9), round(clear_s * 1e9)
        self.active = active
        self.blind()

    def blind(self) -> None:
        """Time starts again."""
        self._since_ns: int | None = None  # true, but for short breaks
        self._last_ns: int | None = None

    def changed(self, true: bool, now_ns: int) -> bool:
        """Take one frame; tells whether `active` has changed."""
        if true:
            self._last_ns = now_ns
            self._since_ns = now_ns if self._since_ns is None else self._since_ns
            if not self.active and now_ns - self._since_ns >= self._hold_ns:
                self.active = True
                return True
            return False
        if self._last_ns is None:
            self._last_ns = now_ns
        if now_ns - self._last_ns < self._clear_ns:
            return False
        self._since_ns = None
        was, self.active = self.active, False
        return was


class _Runs:
    def __init__(self, zone: ZoneConfig, asked: RunningConfig, *, active: bool) -> None:
        self._zone = zone.name
        self._pacing = Pacing(asked.over_m_s, asked.for_s, asked.least_m)
        self._state = _Lasting(0.0, zone.clear_s, active)

    def blind(self) -> None:
        self._state.blind()

    def feed(self, sight: _Sight, here: Collection[int], now_ns: int) -> list[Running]:
        found = {}
        for row in here:
            track = sight.tracks[row]
            steps = () if track.missed else sight.walks.of(track.id)
            run = run_of(steps, self._pacing, sight.ground, sight.pace)
            if run is not None:
                found[track.id] = run
        sight.runs.update(found)
        fastest = sorted(found.items(), key=lambda one: -one[1].least_m_s)
        changed = self._state.changed(bool(found), now_ns)
        return [Running(self._zone, self._state.active, dict(fastest))] if changed else []


class _Groups:
    def __init__(self, zone: ZoneConfig, asked: GatheringConfig, *, active: bool) -> None:
        self._zone = zone.name
        self._asked = asked
        self._state = _Lasting(asked.hold_s, zone.clear_s, active)

    def blind(self) -> None:
        self._state.blind()

    def feed(self, sight: _Sight, here: Collection[int], now_ns: int) -> list[Gathering]:
        rows = np.array(sorted(here), np.int64)
        if len(rows) >= self._asked.people:
            rows = rows[together(sight.places.metres[rows], self._asked.radius_m)]
        if not self._state.changed(len(rows) >= self._asked.people, now_ns):
            return []
        places = {
            sight.tracks[row].id: (float(x), float(y))
            for row, (x, y) in zip(rows.tolist(), sight.places.metres[rows].tolist(), strict=True)
        }
        asked, active = self._asked, self._state.active
        return [Gathering(self._zone, active, len(rows), asked.people, asked.radius_m, places)]


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """One frame."""

    tracks: Sequence[Track]
    places: Places
    walks: Walks
    ground: Ground
    pace: Pace
    runs: dict[int, Run]


class GroundWatch:
    """Of one calibrated camera. active: `zone/running`, `zone/gathering` that stand.

    runs: who runs in the newest frame, by track id.
    """

    def __init__(
        self, config: CameraConfig, ground: Ground, *, active: Collection[str] = ()
    ) -> None:
        self._ground = ground
        self._walks = Walks()
        self._pace = Pace()
        self.runs: dict[int, Run] = {}
        self._watches: list[tuple[Float64Array, _Runs | _Groups]] = []
        for zone in config.zones:
            polygon = np.array(zone.polygon, np.float64)
            if zone.running is not None:
                on = f"{zone.name}/running" in active
                self._watches.append((polygon, _Runs(zone, zone.running, active=on)))
            if zone.gathering is not None:
                on = f"{zone.name}/gathering" in active
                self._watches.append((polygon, _Groups(zone, zone.gathering, active=on)))

    @property
    def untimed(self) -> int:
        """How many ways could not be timed, because pictures came at another pace than usual."""
        return self._pace.unclear

    def way_of(self, track: int, pacing: Pacing) -> Run | None:
        """The newest way of a track, if it is surely as fast as `pacing` asks."""
        return run_of(self._walks.of(track), pacing, self._ground, self._pace)

    def forget(self) -> None:
        """What is seen next is another moment: nobody's way goes on."""
        self._walks.forget()
        self.runs = {}

    def blind(self) -> None:
        """The view cannot be judged, or lies elsewhere, until the next feed."""
        self.forget()
        for _, watch in self._watches:
            watch.blind()

    def places(self, tracks: Sequence[Track], width: int, height: int) -> Places:
        """Where tracks of a frame of that size stand."""
        boxes = np.array([track.box for track in tracks], np.float64).reshape(-1, 4)
        at = self._ground.where(feet(boxes, width, height), foot_jitter(boxes, width, height))
        at.metres[cut(boxes, width, height)] = np.nan
        return at

    def feed(
        self, tracks: Sequence[Track], width: int, height: int, *, number: int, received_ns: int
    ) -> list[Running | Gathering]:
        """Judge one frame of that size, the `number`th that was received."""
        self._pace.feed(number, received_ns)
        if not self._watches:
            return []
        boxes = np.array([track.box for track in tracks], np.float64).reshape(-1, 4)
        where = feet(boxes, width, height)
        places = self.places(tracks, width, height)
        self._walks.feed(
            tracks, places, (boxes[:, 3] - boxes[:, 1]) / width, where[:, 1],
            number=number, now_ns=received_ns,
        )  # fmt: skip
        changes: list[Running | Gathering] = []
        self.runs = {}
        sight = _Sight(tracks, places, self._walks, self._ground, self._pace, self.runs)
        for polygon, watch in self._watches:
            here = np.flatnonzero(inside(where, polygon)).tolist()
            changes += watch.feed(sight, here, received_ns)
        return changes

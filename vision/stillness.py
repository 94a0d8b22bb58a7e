"""Somebody, or something taken for a person, that has not moved for long 长时间静止. Pure.

Either way somebody should look: a person who lies there needs help, and a thing that is counted
makes counts wrong. So both are told alike, once, with how long and whether anybody was seen to
come; and both go on being counted. Nothing is left out here: that takes a mask that a person drew
(masks.py).

A place stands as long as it is seen at least once in FORGET_NS, by whatever track: a thing in the
background is lost and found again under new ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision.postprocess import overlaps
from vision.track import Track

SAME = 0.6
"""Overlap (intersection over union) of boxes from which somebody has not moved."""
FORGET_NS = 30_000_000_000
CAME = 1.0
"""Widths of its own box by which a track must have moved before, to have come."""
MOST = 50
MOST_BEGINNINGS = 1000
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Still:
    """Something has not moved. seconds: for how long.  came: it was seen to come there."""

    box: Box
    seconds: float
    came: bool


@dataclass(slots=True)
class _Place:
    box: Box
    since_ns: int
    seen_ns: int
    came: bool
    told: bool = False


class Stillness:
    """feed() takes the tracks of each judged frame. still_s 0: nothing is ever told."""

    def __init__(self, still_s: float) -> None:
        self._still_ns = round(still_s * 1e9)
        self._places: list[_Place] = []
        self._began: dict[int, float] = {}

    def feed(self, tracks: Sequence[Track], now_ns: int) -> list[Still]:
        """Compare with what was there; returns what has become still."""
        if not self._still_ns:
            return []
        self._places = [one for one in self._places if now_ns - one.seen_ns <= FORGET_NS]
        seen = [track for track in tracks if not track.missed]
        self._note_beginnings(tracks)
        told = []
        for track, place in zip(seen, self._matched(seen), strict=True):
            if place is None:
                if len(self._places) < MOST:
                    self._places.append(_Place(track.box, now_ns, now_ns, self._came(track)))
                continue
            place.seen_ns = now_ns
            if not place.told and now_ns - place.since_ns >= self._still_ns:
                place.told = True
                told.append(Still(track.box, (now_ns - place.since_ns) / 1e9, place.came))
        return told

    def _matched(self, seen: Sequence[Track]) -> list[_Place | None]:
        """The place of each track, if it stands in one; each place once."""
        if not self._places or not seen:
            return [None] * len(seen)
        shared = overlaps(
            np.array([track.box for track in seen], np.float32),
            np.array([place.box for place in self._places], np.float32),
        )
        found: list[_Place | None] = []
        for row in shared:
            best = int(row.argmax())
            if row[best] < SAME:
                found.append(None)
                continue
            found.append(self._places[best])
            shared[:, best] = 0.0
        return found

    def _note_beginnings(self, tracks: Sequence[Track]) -> None:
        alive = {track.id for track in tracks}
        if len(self._began) > MOST_BEGINNINGS:
            self._began = {one: x for one, x in self._began.items() if one in alive}
        for track in tracks:
            self._began.setdefault(track.id, (track.box[0] + track.box[2]) / 2)

    def _came(self, track: Track) -> bool:
        x1, _, x2, _ = track.box
        return abs((x1 + x2) / 2 - self._began[track.id]) >= CAME * (x2 - x1)

"""Follows people from frame to frame, so that a count does not flicker. Pure.

Guarantees:

- An id names one person as long as the track lives and is never used again.
- A person hidden for a short while (`TrackerRules.misses`) keeps the id and stays counted
  (`TrackerRules.coast`) where the motion leads, unless it leads out of the picture; a false
  detection of a single frame is not counted.
- Only who was seen with confidence on the whole counts (`Track.belief`). A thing that now and then
  looks like a person does not, however long it stands there; a person who is firmly known and now
  half hidden goes on counting for seconds.
- The first frame after a start or a cut is believed at once: nobody is confirmed late, so a restart
  shows no false zero.

How: boxes are predicted with constant velocity, widened by 30 % on each side and matched greedily
by overlap, best first. Widening lets a narrow person (25 px) who moves 20 px between two frames at
4 fps still overlap himself. Weak detections may continue a track, never start one.

Why belief: a weak detection used to keep whoever had once been confirmed, so a traffic cone that
reached the threshold once was a person for a minute. On vtest.avi, followed from its start, the
headcount was 1.1 people off at a threshold of 0.45 (vision/models/person-nanodet-416.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vision.postprocess import Detections, overlaps

Float32Array = npt.NDArray[np.float32]

WIDEN = 0.3
SMALLEST_OVERLAP = 0.1  # of widened boxes; below it two boxes are two people
WEAK_OVERLAP = 0.4  # a weak detection must fit better
BELIEF_S = 5.0
"""Scores further back weigh little. Chosen on 97 frames of vtest.avi; 2 to 8 s are nearly alike."""
IN_VIEW = 0.8
"""Share of a predicted box in the picture, under which its person has walked out (0.7: alike)."""


@dataclass(frozen=True, slots=True)
class TrackerRules:
    """confirm: hits before a track counts.  coast: frames without a hit in which it still counts.

    misses: frames without a hit after which it is forgotten.  belief_s: see Track.belief; 0: the
    newest score alone.
    """

    confirm: int
    coast: int
    misses: int
    belief_s: float = BELIEF_S

    @classmethod
    def for_rate(cls, fps: float) -> TrackerRules:
        """Rules for a rate of analysis: count on for 0.75 s, forget after 2 s.

        Below 1 fps people move too far between frames to be followed: each frame counts as it is.
        """
        if fps < 1.0:
            return cls(confirm=1, coast=0, misses=0, belief_s=0.0)
        return cls(confirm=2, coast=max(1, round(0.75 * fps)), misses=max(2, round(2.0 * fps)))


@dataclass(frozen=True, slots=True)
class Track:
    """One person. box: x1, y1, x2, y2 in frame pixels, predicted while `missed` > 0.

    velocity: of the box's centre in pixels per second.  seen_ns: time of the last hit.
    belief: mean score, of all hits at first, then of those of about the last `belief_s`.
    """

    id: int
    box: tuple[float, float, float, float]
    velocity: tuple[float, float]
    score: float
    hits: int
    missed: int
    confirmed: bool
    seen_ns: int
    belief: float


class Tracker:
    """feed() takes one frame's detections and returns the tracks that count, by id."""

    def __init__(self, rules: TrackerRules, threshold: float) -> None:
        self._rules = rules
        self._threshold = float(np.float32(threshold))  # as scores are: who is at it counts
        self._tracks: list[Track] = []
        self._next_id = 1
        self._fresh = True
        self._last_ns = 0

    def reset(self) -> None:
        """Forget everybody: the next frame shows another scene. Ids go on."""
        self._tracks = []
        self._fresh = True

    @property
    def settled(self) -> bool:
        """Tell whether everybody was seen in the last frame and is confirmed."""
        return all(track.confirmed and not track.missed for track in self._tracks)

    @property
    def everybody(self) -> tuple[Track, ...]:
        """Give all tracks that live, those that do not count too."""
        return tuple(self._tracks)

    def feed(self, found: Detections, width: int, height: int, *, now_ns: int) -> list[Track]:
        """Advance by one frame of the given size; returns the tracks that count.

        Detections under the threshold given at construction only continue tracks.
        """
        step_s = max(0.0, (now_ns - self._last_ns) / 1e9) if self._tracks else 0.0
        self._last_ns = now_ns
        moved = [_moved(track, step_s) for track in self._tracks]
        matches = self._match(moved, found)
        kept = []
        for index, track in enumerate(moved):
            row = matches.get(index)
            if row is not None:
                kept.append(self._hit(self._tracks[index], track, found, row, now_ns))
            elif track.confirmed and track.missed < self._rules.misses:
                kept.append(replace(track, missed=track.missed + 1))
        taken = set(matches.values())
        for row in range(len(found)):
            if row not in taken and found.scores[row] >= self._threshold:
                kept.append(self._born(found, row, now_ns))
        self._tracks = [track for track in kept if _in_view(track, width, height)]
        self._fresh = False
        return [track for track in self._tracks if self._counts(track, width, height)]

    def _counts(self, track: Track, width: int, height: int) -> bool:
        there = track.missed == 0 or _share_in_view(track, width, height) >= IN_VIEW
        lasting = track.confirmed and track.missed <= self._rules.coast
        return lasting and there and track.belief >= self._threshold

    def _match(self, moved: list[Track], found: Detections) -> dict[int, int]:
        """Pairs track index → detection row: strong detections first, weak for those left."""
        if not moved or not len(found):
            return {}
        boxes = np.array([track.box for track in moved], np.float32)
        shared = overlaps(widened(boxes), widened(found.boxes))
        strong = found.scores >= self._threshold
        pairs = greedy(np.where(strong[None, :], shared, 0), SMALLEST_OVERLAP)
        weak = np.where(strong[None, :], 0, shared)
        weak[list(pairs)] = 0
        unconfirmed = [i for i, track in enumerate(moved) if not track.confirmed]
        weak[unconfirmed] = 0
        return pairs | greedy(weak, WEAK_OVERLAP)

    def _hit(self, before: Track, moved: Track, found: Detections, row: int, now_ns: int) -> Track:
        box = _box(found, row)
        elapsed_s = (now_ns - before.seen_ns) / 1e9
        velocity = before.velocity
        if elapsed_s > 0 and before.missed == 0:
            fresh = [
                (box[i] + box[i + 2] - before.box[i] - before.box[i + 2]) / (2 * elapsed_s)
                for i in (0, 1)
            ]
            share = 0.5 if before.hits > 1 else 1.0
            velocity = (
                velocity[0] + share * (fresh[0] - velocity[0]),
                velocity[1] + share * (fresh[1] - velocity[1]),
            )
        hits = before.hits + 1
        score = float(found.scores[row])
        past_s = self._rules.belief_s
        weight = max(1 / hits, 1 - math.exp(-elapsed_s / past_s)) if past_s else 1.0
        return Track(
            id=moved.id,
            box=box,
            velocity=velocity,
            score=score,
            hits=hits,
            missed=0,
            confirmed=before.confirmed or hits >= self._rules.confirm,
            seen_ns=now_ns,
            belief=before.belief + weight * (score - before.belief),
        )

    def _born(self, found: Detections, row: int, now_ns: int) -> Track:
        track = Track(
            id=self._next_id,
            box=_box(found, row),
            velocity=(0.0, 0.0),
            score=float(found.scores[row]),
            hits=1,
            missed=0,
            confirmed=self._fresh or self._rules.confirm <= 1,
            seen_ns=now_ns,
            belief=float(found.scores[row]),
        )
        self._next_id += 1
        return track


def widened(boxes: Float32Array) -> Float32Array:
    """Boxes grown by WIDEN of their size on each side."""
    grow = (boxes[:, 2:] - boxes[:, :2]) * np.float32(WIDEN)
    return np.concatenate((boxes[:, :2] - grow, boxes[:, 2:] + grow), axis=1)


def greedy(shared: Float32Array, least: float) -> dict[int, int]:
    """Pair rows with columns, largest first, each used once, none under `least`."""
    rows, columns = np.nonzero(shared >= least)
    order = np.argsort(-shared[rows, columns], kind="stable")
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return pairs


def _box(found: Detections, row: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = found.boxes[row].tolist()
    return x1, y1, x2, y2


def _moved(track: Track, step_s: float) -> Track:
    dx, dy = track.velocity[0] * step_s, track.velocity[1] * step_s
    x1, y1, x2, y2 = track.box
    return replace(track, box=(x1 + dx, y1 + dy, x2 + dx, y2 + dy))


def _in_view(track: Track, width: int, height: int) -> bool:
    """A track seen now stays; a predicted one goes once its centre has left the frame."""
    x = (track.box[0] + track.box[2]) / 2
    y = (track.box[1] + track.box[3]) / 2
    return track.missed == 0 or (0 <= x < width and 0 <= y < height)


def _share_in_view(track: Track, width: int, height: int) -> float:
    """Share of the box that lies in the frame."""
    x1, y1, x2, y2 = track.box
    across = max(0.0, min(x2, width) - max(x1, 0.0))
    down = max(0.0, min(y2, height) - max(y1, 0.0))
    return across * down / ((x2 - x1) * (y2 - y1))

"""One camera's judgement: frame in, counts and events out. No thread, socket or clock.

Guarantees:

- A frame that cannot be judged (black, covered, blurred, frozen, none for `stale_s`) makes the
  counts bad at once and an event once it has lasted; what comes back is announced too. A camera
  that was moved goes on counting, with uncertain quality: its zones may lie elsewhere.
- What was found before a time in which nothing was seen (another scene, a camera that was lost, a
  process that stood still) says nothing after it: no track, vote or hold time goes on over it.
- A frame in which nothing moved is not detected in again for `motion_floor_s`; what was found
  holds. Everybody must have been seen and confirmed in the last look, and nobody's equipment be
  asked for.
- An event of over-count is returned in the very call that judged its frame, so the caller still
  holds the picture that proves it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.clock_watch import ClockChange, ClockWatch
from vision.config import CameraConfig
from vision.frames import Frame, Image, LinkState
from vision.ground_watch import Gathering, GroundWatch, Running
from vision.health import Look, View, ViewWatch
from vision.link_watch import Breaks, LinkChange, LinkWatch, Pace
from vision.masks import Masks
from vision.motion import MotionGate
from vision.postprocess import Detections
from vision.ppe import Seen, Verdict
from vision.privacy import Box, Recognisable
from vision.sightings import Sighting, Sightings
from vision.stillness import Still, Stillness
from vision.track import Track, Tracker, TrackerRules
from vision.wear import Ballot, Missing, Wearing
from vision.zones import (
    BAD_CANNOT_JUDGE,
    BAD_NOT_CONNECTED,
    BAD_WAITING,
    Headcount,
    OverCount,
    TooFew,
    Zones,
)

Float32Array = npt.NDArray[np.float32]

VIEW_NS = 2_000_000_000
"""A bad view becomes an event when it has lasted this long: one black frame is no event."""

STRUCTURE_NS = 8_000_000_000
"""The same where the view has another structure: a lorry that passes is no event."""

_SLOW_VIEWS = frozenset({View.MOVED, View.BLURRED, View.COVERED})

SELDOM = 2.5
"""Periods of analysis without a picture before it counts as missing, if `stale_s` is not longer."""

WEAK = 0.6
"""Detections from this share of the threshold may continue a track that exists."""

Detect = Callable[[Image, float], tuple[Detections, npt.NDArray[np.uint8]]]
"""(frame, threshold) → people, and the frame's grey picture, scaled, for the view watch."""


@dataclass(frozen=True, slots=True)
class ViewChange:
    """The view became unfit to be judged, or fit again (View.CLEAR)."""

    view: View


Judge = Callable[[Image, Float32Array], list[Seen]]
"""(the frame that was just detected in, boxes[n, 4] of people) → the same people, judged."""

Output = (
    Headcount | OverCount | TooFew | Missing | Sighting | Still | LinkChange | ViewChange
    | Running | Gathering
    | ClockChange
)  # fmt: skip


class Analyser:
    """Judges the frames of one camera, in order."""

    def __init__(
        self,
        config: CameraConfig,
        detect: Detect,
        *,
        start_ns: int,
        active: Collection[str] = (),
        judge: Judge | None = None,
        sightings: Sightings | None = None,
        known: Look | None = None,
    ) -> None:
        self._sightings = sightings
        self._judge_items = judge if config.items else None
        self._ballots = {item: Ballot() for item in config.items}
        self._config = config
        self._detect = detect
        self._tracker = Tracker(TrackerRules.for_rate(config.analyse_fps), config.score)
        self._zones = Zones(config.zones, start_ns=start_ns, active=active)
        self._masks = Masks(config.exclude)
        self._ground = (
            GroundWatch(config, config.ground.fitted(), active=active) if config.ground else None
        )
        self._stillness = Stillness(config.motionless_s if config.kind == "fixed" else 0.0)
        self._gate = MotionGate(round(config.motion_floor_s * 1e9))
        self.frames_still = 0
        moves = config.kind != "fixed"
        self._watch = ViewWatch(config.frozen_s, moves=moves, known=None if moves else known)
        self._clock = ClockWatch(config.clock) if config.clock is not None else None
        self._stale_ns = round(config.stale_s * 1e9)
        self._patience_ns = max(self._stale_ns, round(SELDOM * 1e9 / config.analyse_fps))
        self._breaks = Breaks()
        self._pace = Pace(config.analyse_fps)
        self._link = LinkWatch(self._stale_ns, start_ns=start_ns, patience_ns=self._patience_ns)
        self._fed_ns: int | None = None
        self._start_ns = start_ns
        self._unfit_since_ns: int | None = None
        self._reported = View.CLEAR
        self._view = View.CLEAR
        self._judged: deque[int] = deque()
        self.tracks: list[Track] = []
        self.worn: dict[str, dict[int, Verdict]] = {}
        self._recognisable = Recognisable()
        self.frame_wall_ns = 0

    @property
    def learned(self) -> Look | None:
        """What was learned of the view, to be kept over a restart (`known`)."""
        return self._watch.learned

    def relearn(self) -> None:
        """Take the view as it is now for the right one."""
        self._watch.relearn()

    @property
    def left_out(self) -> int:
        """How many detections lay in exclusion masks in the newest frame that was looked at."""
        return self._masks.left_out

    @property
    def ground(self) -> GroundWatch | None:
        """What is judged in metres, of a calibrated camera."""
        return self._ground

    @property
    def clock_ahead_s(self) -> float | None:
        """Seconds that the clock on the picture is ahead of the gateway's; None: not read."""
        return self._clock.ahead_s if self._clock is not None else None

    @property
    def recognisable(self) -> tuple[Box, ...]:
        """Where in the frame fed last somebody could be recognised (vision/privacy.py)."""
        return self._recognisable.regions

    @property
    def wearing(self) -> list[Wearing]:
        """What people wore in the newest judged frame, per zone and item."""
        return self._zones.wearing

    @property
    def counts(self) -> tuple[int, ...]:
        """People per zone in the newest judged frame."""
        return self._zones.counts

    def feed(self, frame: Frame, *, now_ns: int) -> list[Output]:
        """Judge one frame."""
        outputs: list[Output] = [*self._link.back(now_ns)]
        if frame.first and not self._config.is_file:  # a file begins anew at its end
            self._breaks.began(now_ns)
        broken = self._fed_ns is not None and now_ns - self._fed_ns > self._patience_ns
        self._fed_ns = now_ns
        if broken:
            self._blind(BAD_WAITING)
        if frame.first or broken or outputs:
            self._forget_people()
            self._recognisable.forget()
            self._watch.reset()
            self._gate.reset()
        if not self._gate.feed(frame.image, frame.received_ns, must=self._restless):
            return outputs + self._still(frame, now_ns)
        found, pixels = self._detect(frame.image, self._config.score * WEAK)
        height, width = frame.image.shape[:2]
        view = self._watch.feed(pixels, now_ns)
        outputs += self._view_changes(view, now_ns)
        self._count_frame(now_ns)
        self._view = view
        outputs += self._clock_changes(frame, now_ns)
        if view not in {View.CLEAR, View.MOVED}:
            self.tracks = []
            self._forget_people()
            self._recognisable.not_judged(found.boxes, (width, height))
            self._blind(BAD_CANNOT_JUDGE)
            return outputs + list(self._zones.tick(now_ns))
        people = self._masks.feed(found, width, height)
        self.tracks = self._tracker.feed(people, width, height, now_ns=frame.received_ns)
        self.frame_wall_ns = frame.wall_ns
        heads = self._vote(frame, now_ns)
        everybody = self._tracker.everybody
        self._recognisable.looked(found.boxes, everybody, heads, (width, height))
        if self._sightings is not None:
            outputs += self._sightings.feed(frame.image)
        return outputs + self._in_metres(frame) + self._count(frame, now_ns)

    def _in_metres(self, frame: Frame) -> list[Output]:
        """Who runs, who gathers; of a camera that was moved nobody knows."""
        if self._ground is None:
            return []
        if self._view is View.MOVED:
            self._ground.blind()
            return []
        height, width = frame.image.shape[:2]
        number, received_ns = frame.number, frame.received_ns
        return [
            *self._ground.feed(self.tracks, width, height, number=number, received_ns=received_ns)
        ]

    def _blind(self, quality: int) -> None:
        self._zones.blind(quality)
        if self._ground is not None:
            self._ground.blind()

    @property
    def _restless(self) -> bool:
        """Tell whether the next frame must be detected in, whether anything moves or not."""
        votes = bool(self.tracks) and self._judge_items is not None
        return self._view is not View.CLEAR or votes or not self._tracker.settled

    def _still(self, frame: Frame, now_ns: int) -> list[Output]:
        """Nothing moved: everybody is where he was."""
        self.frames_still += 1
        self._recognisable.not_looked()
        self._count_frame(now_ns)
        self.frame_wall_ns = frame.wall_ns
        return self._count(frame, now_ns)

    def _count(self, frame: Frame, now_ns: int) -> list[Output]:
        height, width = frame.image.shape[:2]
        doubtful = self._view is View.MOVED
        unsteady = self._pace.sparse or self._breaks.often(now_ns)
        still = self._stillness.feed(self.tracks, now_ns)
        changes = self._zones.feed(
            self.tracks, width, height, now_ns=now_ns, doubtful=doubtful, unsteady=unsteady,
            worn=self.worn,
        )  # fmt: skip
        return [*still, *changes]

    def too_old(self, frame: Frame, *, now_ns: int) -> bool:
        """Tell whether a frame waited so long to be fed that it shows nothing of now."""
        if now_ns - frame.received_ns <= self._stale_ns:
            return False
        self._link.late(now_ns)
        return True

    def next_deadline_ns(self) -> int:
        """When tick must be called at the latest."""
        return self._zones.next_deadline_ns()

    def tick(self, link: LinkState, now_ns: int) -> list[Output]:
        """Look at the clock and at the source; returns what is due."""
        outputs: list[Output] = [*self._link.tick(link, now_ns)]
        if not self._config.is_file and self._pace.tick(link.received, now_ns):
            self._zones.doubt()
        if self._link.lost:
            self.tracks = []
            self._blind(BAD_NOT_CONNECTED)
        return outputs + list(self._zones.tick(now_ns))

    def analysed_fps(self, now_ns: int) -> float:
        """Frames judged per second over the last ten seconds (less after a start)."""
        self._forget(now_ns)
        span_ns = min(10_000_000_000, max(1_000_000_000, now_ns - self._start_ns))
        return len(self._judged) * 1e9 / span_ns

    def _view_changes(self, view: View, now_ns: int) -> list[Output]:
        if view is View.CLEAR:
            self._unfit_since_ns = None
        elif self._unfit_since_ns is None:
            self._unfit_since_ns = now_ns
        patience_ns = STRUCTURE_NS if view in _SLOW_VIEWS else VIEW_NS
        lasted = self._unfit_since_ns is not None and now_ns - self._unfit_since_ns >= patience_ns
        if view is self._reported or (view is not View.CLEAR and not lasted):
            return []
        self._reported = view
        return [ViewChange(view)]

    def _clock_changes(self, frame: Frame, now_ns: int) -> list[Output]:
        """Read the clock on the picture, while the picture comes from a live camera."""
        if self._clock is None:
            return []
        if frame.first or self._view not in {View.CLEAR, View.MOVED}:
            self._clock.reset()
            return []
        change = self._clock.feed(frame.image, frame.wall_ns, now_ns)
        return [change] if change is not None else []

    def _vote(self, frame: Frame, now_ns: int) -> list[Box]:
        """Take this frame's votes into the state of each item by track id; returns heads."""
        if self._judge_items is None:
            return []
        height, width = frame.image.shape[:2]
        asked = np.zeros(len(self.tracks), np.bool_)
        for zone, member in zip(
            self._config.zones, self._zones.members(self.tracks, width, height), strict=True
        ):
            if zone.items:
                asked |= member
        here = [t for t, ask in zip(self.tracks, asked, strict=True) if ask and not t.missed]
        boxes = np.array([track.box for track in here], np.float32).reshape(-1, 4)
        seen = self._judge_items(frame.image, boxes) if here else []
        alive = [track.id for track in self.tracks]
        states = {}
        for item, ballot in self._ballots.items():
            votes = {
                track.id: (one.helmet if item == "helmet" else one.workwear).verdict
                for track, one in zip(here, seen, strict=True)
            }
            ballot.feed(votes, alive, now_ns=now_ns)
            states[item] = {track: ballot.state(track, now_ns=now_ns) for track in alive}
        self.worn = states
        return [one.head for one in seen if one.head is not None]

    def _forget_people(self) -> None:
        self._tracker.reset()
        if self._sightings is not None:
            self._sightings.reset()
        if self._ground is not None:
            self._ground.forget()
        self.worn = {}
        for ballot in self._ballots.values():
            ballot.reset()

    def _count_frame(self, now_ns: int) -> None:
        self._judged.append(now_ns)
        self._forget(now_ns)

    def _forget(self, now_ns: int) -> None:
        while self._judged and now_ns - self._judged[0] >= 10_000_000_000:
            self._judged.popleft()


__all__ = ["Analyser", "Detect", "Output", "ViewChange"]

"""What a site's own detectors see: flame 明火, smoke 烟雾, smoking 吸烟, phone 使用手机. Pure.

Guarantees: an alarm is raised once at least `hits` of the last `of` judged frames showed it, so
that one bad frame raises none, and returns once none of the last `of` did; a frame that cannot be
judged says neither, and frames before it do not count together with those after it. A detection
counts where the middle of its box lies in the zone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.config import CameraConfig, DetectorConfig
from vision.frames import Image
from vision.geometry import inside
from vision.postprocess import Detections

See = Callable[[Image, float], Detections]
"""(frame, threshold) → what is in it."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """It is there, or not any more. count: boxes in the newest frame.  boxes: float32[n, 4]."""

    alarm: str
    zone: str
    count: int
    active: bool
    boxes: tuple[tuple[float, float, float, float], ...] = ()


class Vote:
    """Raised by `hits` of the last `of` frames, returned by none of them."""

    def __init__(self, hits: int, of: int, *, active: bool = False) -> None:
        self._hits = hits
        self._seen: deque[bool] = deque([active] * of, maxlen=of)
        self.active = active

    def reset(self) -> None:
        """Begin anew: what stands needs `of` frames without it to return."""
        self._seen.extend([self.active] * (self._seen.maxlen or 0))

    def feed(self, seen: bool) -> bool:
        """Take one frame; tells whether `active` has changed."""
        self._seen.append(seen)
        count = sum(self._seen)
        active = count >= self._hits or (self.active and count > 0)
        changed, self.active = active != self.active, active
        return changed


class Sightings:
    """The detectors of one camera. active: `zone/alarm` of those whose alarm stands."""

    def __init__(
        self, config: CameraConfig, see: Sequence[See], *, active: Collection[str] = ()
    ) -> None:
        self._watches = [
            (one, one_sees, Vote(one.hits, one.of, active=f"{one.where}/{one.alarm}" in active))
            for one, one_sees in zip(config.detectors, see, strict=True)
        ]
        self._polygons = {zone.name: np.array(zone.polygon, np.float64) for zone in config.zones}

    def reset(self) -> None:
        """Forget the frames before: the next one shows another moment. What stands, stands."""
        for _, _, vote in self._watches:
            vote.reset()

    def feed(self, image: Image) -> list[Sighting]:
        """Look at one frame."""
        found = []
        for detector, see, vote in self._watches:
            boxes = self._within(see(image, detector.score), detector, image)
            if vote.feed(bool(len(boxes))):
                rows = tuple(tuple(map(float, row)) for row in boxes)
                found.append(
                    Sighting(detector.alarm, detector.where, len(boxes), vote.active, rows)  # type: ignore[arg-type]  # rows of four
                )
        return found

    def _within(
        self, seen: Detections, detector: DetectorConfig, image: Image
    ) -> npt.NDArray[np.float32]:
        boxes = seen.boxes
        polygon = self._polygons.get(detector.zone)
        if polygon is None or not len(boxes):
            return boxes
        height, width = image.shape[:2]
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2 / np.array([width, height], np.float32)
        return boxes[inside(middles.astype(np.float64), polygon)]

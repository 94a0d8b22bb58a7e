"""Evidence pictures: the judged frame with zones, boxes, counts and time drawn in, as JPEG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import cv2
import numpy as np

from vision.analyser import Analyser
from vision.config import CameraConfig
from vision.frames import Image
from vision.lettering import write
from vision.ppe import Verdict
from vision.track import Track

MOST_BYTES = 200_000
WIDEST = 1280
CLIP_WIDTH = 640
_COLOURS = ((0, 200, 255), (255, 160, 0), (0, 220, 0), (200, 0, 255))
_RED = (0, 0, 255)
_CHINESE = {"helmet": "未戴安全帽", "workwear": "未穿工作服"}
HEAD_SHARE = 0.22
"""Upper part of a person that is blurred where no head was found in it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn. lacking: items that a track lacks, by its id.  heads: as found."""

    tracks: Sequence[Track]
    counts: Sequence[int]
    lacking: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    heads: Sequence[tuple[float, float, float, float]] = ()

    @classmethod
    def of(cls, analyser: Analyser) -> Scene:
        """The newest judged frame."""
        lacking: dict[int, tuple[str, ...]] = {}
        for item, states in analyser.worn.items():
            for track, state in states.items():
                if state is Verdict.MISSING:
                    lacking[track] = (*lacking.get(track, ()), item)
        return cls(analyser.tracks, analyser.counts, lacking, analyser.heads)


def snapshot(image: Image, config: CameraConfig, scene: Scene, wall_ns: int) -> bytes:
    """Draw and encode; at most MOST_BYTES (quality, then size give way). Empty if it cannot.

    Heads are blurred unless the camera says `blur_heads = false`; the measurement never sees that.
    wall_ns is printed in the gateway's time zone with its offset.
    """
    scale = min(1.0, WIDEST / image.shape[1])
    picture = cv2.resize(image, None, fx=scale, fy=scale) if scale < 1.0 else image.copy()
    drawn = np.asarray(picture, np.uint8)
    height, width = drawn.shape[:2]
    if config.blur_heads:
        _blur(drawn, scene, scale)
    for index, (zone, people) in enumerate(zip(config.zones, scene.counts, strict=False)):
        colour = _COLOURS[index % len(_COLOURS)]
        over = zone.max_people is not None and people > zone.max_people
        corners = (np.array(zone.polygon) * (width, height)).round().astype(np.int32)
        cv2.polylines(drawn, [corners], True, _RED if over else colour, 2, cv2.LINE_AA)
        limit = "" if zone.max_people is None else f" / {zone.max_people}"
        left, top = corners[:, 0].min(), corners[:, 1].min()
        write(drawn, f"{zone.name}: {people}{limit} 人", (int(left) + 4, int(top) + 24))
    for track in scene.tracks:
        x1, y1, x2, y2 = (round(side * scale) for side in track.box)
        lacking = scene.lacking.get(track.id, ())
        cv2.rectangle(drawn, (x1, y1), (x2, y2), _RED, 3 if lacking else 2)
        said = " ".join((str(track.id), *(_CHINESE[item] for item in lacking)))
        write(drawn, said, (x1, y1 - 2))
    moment = datetime.fromtimestamp(wall_ns / 1e9, tz=UTC).astimezone()
    stamp = moment.isoformat(sep=" ", timespec="milliseconds")
    write(drawn, f"{config.name}  {stamp}", (6, height - 4))
    return _encode(drawn, config.snapshot_quality)


def small_jpeg(image: Image) -> tuple[bytes, int, int]:
    """Encode a frame, at most CLIP_WIDTH wide: bytes, width, height; empty if it fails."""
    scale = min(1.0, CLIP_WIDTH / image.shape[1])
    picture = image
    if scale < 1.0:
        resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        picture = np.asarray(resized, np.uint8)
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])
    return (encoded.tobytes() if done else b""), picture.shape[1], picture.shape[0]


def _blur(picture: Image, scene: Scene, scale: float) -> None:
    """Make heads unrecognisable: those found, and the top of each person."""
    tops = [
        (x1 + 0.1 * (x2 - x1), y1, x2 - 0.1 * (x2 - x1), y1 + max(HEAD_SHARE * (y2 - y1), 1.0))
        for x1, y1, x2, y2 in (track.box for track in scene.tracks)
    ]
    height, width = picture.shape[:2]
    for box in (*scene.heads, *tops):
        x1, y1, x2, y2 = (round(side * scale) for side in box)
        x1, y1, x2, y2 = max(0, x1), max(0, y1), min(width, x2), min(height, y2)
        if x2 - x1 < 2 or y2 - y1 < 2:
            continue
        part = picture[y1:y2, x1:x2]
        size = (max(1, min(6, (x2 - x1) // 3)), max(1, min(6, (y2 - y1) // 3)))
        coarse = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        picture[y1:y2, x1:x2] = cv2.resize(
            coarse, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR
        )


def _encode(picture: Image, quality: int) -> bytes:
    while True:
        done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            return b""
        if len(encoded) <= MOST_BYTES:
            return encoded.tobytes()
        if quality > 50:
            quality -= 10
        else:
            picture = np.asarray(cv2.resize(picture, None, fx=0.75, fy=0.75), np.uint8)

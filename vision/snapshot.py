"""Pictures that leave the camera's process, as JPEG: evidence drawn on the frame, and small ones.

Guarantees: where somebody could be recognised (vision/privacy.py) a few patches of colour are left
of the picture, unless `blur_heads = false`; the frame itself is never written to.
"""

from __future__ import annotations

import math
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
from vision.privacy import Box
from vision.track import Track

MOST_BYTES = 200_000
WIDEST = 1280
CLIP_WIDTH = 640
_COLOURS = ((0, 200, 255), (255, 160, 0), (0, 220, 0), (200, 0, 255))
_RED = (0, 0, 255)
_GREY = (160, 160, 160)
_CHINESE = {"helmet": "未戴安全帽", "workwear": "未穿工作服"}
PATCHES = 6
"""Patches across a blurred region at most: no face is left, but a yellow helmet stays yellow."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn.

    counts: none where nothing can be judged.  lacking: items that a track lacks, by its id.
    hidden: what is blurred.  speeds: of who runs, m/s, by track id.
    """

    tracks: Sequence[Track]
    counts: Sequence[int]
    lacking: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    hidden: Sequence[Box] = ()
    speeds: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, analyser: Analyser) -> Scene:
        """The newest judged frame."""
        lacking: dict[int, tuple[str, ...]] = {}
        for item, states in analyser.worn.items():
            for track, state in states.items():
                if state is Verdict.MISSING:
                    lacking[track] = (*lacking.get(track, ()), item)
        runs = analyser.ground.runs if analyser.ground is not None else {}
        speeds = {track: run.m_s for track, run in runs.items()}
        return cls(analyser.tracks, analyser.counts, lacking, analyser.recognisable, speeds)


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
        _blur(drawn, scene.hidden, scale)
    for index, zone in enumerate(config.zones):
        people = scene.counts[index] if index < len(scene.counts) else None
        colour = _COLOURS[index % len(_COLOURS)]
        over = people is not None and zone.max_people is not None and people > zone.max_people
        corners = (np.array(zone.polygon) * (width, height)).round().astype(np.int32)
        cv2.polylines(drawn, [corners], True, _RED if over else colour, 2, cv2.LINE_AA)
        limit = "" if zone.max_people is None else f" / {zone.max_people}"
        left, top = corners[:, 0].min(), corners[:, 1].min()
        count = "?" if people is None else people
        write(drawn, f"{zone.name}: {count}{limit} 人", (int(left) + 4, int(top) + 24))
    for mask in config.exclude:
        corners = (np.array(mask.polygon) * (width, height)).round().astype(np.int32)
        cv2.polylines(drawn, [corners], True, _GREY, 1, cv2.LINE_AA)
        write(drawn, "不计人", (int(corners[:, 0].min()) + 2, int(corners[:, 1].max()) - 2))
    for track in scene.tracks:
        x1, y1, x2, y2 = (round(side * scale) for side in track.box)
        lacking = scene.lacking.get(track.id, ())
        said = " ".join((str(track.id), *(_CHINESE[item] for item in lacking)))
        if track.id in scene.speeds:
            said += f" 奔跑 {scene.speeds[track.id]:.1f} m/s"
        cv2.rectangle(drawn, (x1, y1), (x2, y2), _RED, 3 if " " in said else 2)
        write(drawn, said, (x1, y1 - 2))
    moment = datetime.fromtimestamp(wall_ns / 1e9, tz=UTC).astimezone()
    stamp = moment.isoformat(sep=" ", timespec="milliseconds")
    write(drawn, f"{config.name}  {stamp}", (6, height - 4))
    return _encode(drawn, config.snapshot_quality)


def small_jpeg(image: Image, hidden: Sequence[Box] = ()) -> tuple[bytes, int, int]:
    """Encode a frame, at most CLIP_WIDTH wide: bytes, width, height; empty if it fails.

    hidden: boxes in pixels of the frame that are blurred.
    """
    scale = min(1.0, CLIP_WIDTH / image.shape[1])
    picture = image
    if scale < 1.0:
        resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        picture = np.asarray(resized, np.uint8)
    elif hidden:
        picture = image.copy()
    _blur(picture, hidden, scale)
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])
    return (encoded.tobytes() if done else b""), picture.shape[1], picture.shape[0]


def _blur(picture: Image, hidden: Sequence[Box], scale: float) -> None:
    """Shrink and enlarge regions of the picture, in place. scale: from their pixels to its own."""
    height, width = picture.shape[:2]
    for box in hidden:
        x1, y1 = (max(0, math.floor(side * scale)) for side in box[:2])
        x2, y2 = (
            min(most, math.ceil(side * scale))
            for side, most in zip(box[2:], (width, height), strict=True)
        )
        if x2 <= x1 or y2 <= y1:
            continue
        part = picture[y1:y2, x1:x2]
        size = (max(1, min(PATCHES, (x2 - x1) // 3)), max(1, min(PATCHES, (y2 - y1) // 3)))
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

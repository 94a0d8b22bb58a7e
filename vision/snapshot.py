"""Evidence pictures: the judged frame with zones, boxes, counts and time drawn in, as JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import cv2
import numpy as np

from vision.config import CameraConfig
from vision.frames import Image
from vision.track import Track

MOST_BYTES = 200_000
WIDEST = 1280
CLIP_WIDTH = 640
_COLOURS = ((0, 200, 255), (255, 160, 0), (0, 220, 0), (200, 0, 255))
_RED = (0, 0, 255)


def snapshot(
    image: Image,
    config: CameraConfig,
    tracks: Sequence[Track],
    counts: Sequence[int],
    wall_ns: int,
) -> bytes:
    """Draw and encode; at most MOST_BYTES (quality, then size give way). Empty if it cannot.

    wall_ns is printed in the gateway's time zone with its offset.
    """
    scale = min(1.0, WIDEST / image.shape[1])
    picture = cv2.resize(image, None, fx=scale, fy=scale) if scale < 1.0 else image.copy()
    drawn = np.asarray(picture, np.uint8)
    height, width = drawn.shape[:2]
    for index, (zone, people) in enumerate(zip(config.zones, counts, strict=False)):
        colour = _COLOURS[index % len(_COLOURS)]
        over = zone.max_people is not None and people > zone.max_people
        corners = (np.array(zone.polygon) * (width, height)).round().astype(np.int32)
        cv2.polylines(drawn, [corners], True, _RED if over else colour, 2, cv2.LINE_AA)
        limit = "" if zone.max_people is None else f" / {zone.max_people}"
        left, top = corners[:, 0].min(), corners[:, 1].min()
        _write(drawn, f"{zone.name}: {people}{limit}", (int(left) + 4, int(top) + 18))
    for track in tracks:
        x1, y1, x2, y2 = (round(side * scale) for side in track.box)
        cv2.rectangle(drawn, (x1, y1), (x2, y2), _RED, 2)
        _write(drawn, f"{track.id}", (x1, y1 - 4))
    moment = datetime.fromtimestamp(wall_ns / 1e9, tz=UTC).astimezone()
    _write(
        drawn,
        f"{config.name}  {moment.isoformat(sep=' ', timespec='milliseconds')}",
        (6, height - 8),
    )
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


def _write(picture: Image, text: str, at: tuple[int, int]) -> None:
    """Text with a dark rim. Before OpenCV 5 its fonts lack Chinese: such letters become '?'."""
    if not hasattr(cv2, "FontFace"):
        text = text.encode("ascii", "replace").decode()
    for colour, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thick, cv2.LINE_AA)

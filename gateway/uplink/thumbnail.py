"""A small picture in place of a picture or clip that is withheld. Blocking: call from a thread.

Of a clip it is the picture in its middle, which is about when it was ordered.

OpenCV is imported here and only when a destination's policy needs it.
"""

from __future__ import annotations

import numpy as np

from vision.clip import middle_picture

WIDTHS = (480, 320, 240, 160)
QUALITIES = (75, 55, 35)


def thumbnail(content: bytes, most_bytes: int) -> bytes:
    """JPEG of at most most_bytes; empty where the content is no picture or clip, or none fits."""
    import cv2

    content = middle_picture(content) or content
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # nothing at all, or one that says it is larger than OpenCV takes
        return b""
    if picture is None:
        return b""
    height, width = picture.shape[:2]
    for wanted in WIDTHS:
        ratio = min(1.0, wanted / width)
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        for quality in QUALITIES:
            done, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if done and len(encoded) <= most_bytes:
                return encoded.tobytes()
    return b""

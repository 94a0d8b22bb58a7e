"""A folder of pictures read like a video, in the order of their names, and again from the first.

Guarantees: speaks as much of cv2.VideoCapture as capture.py uses; a picture that cannot be decoded
is passed over; the folder is listed anew at each beginning, so pictures may be added.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vision.frames import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


class PictureFolder:
    """One pass over a folder. fps: pictures a second that it says it has."""

    def __init__(self, folder: Path, fps: float) -> None:
        self._left = sorted(
            (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), reverse=True
        )
        self._fps = fps
        self._picture: Image | None = None

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Tell whether there is any picture."""
        return bool(self._left)

    def grab(self) -> bool:
        """Go to the next picture that can be decoded; False at the end."""
        while self._left:
            content = self._left.pop().read_bytes()
            found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            if found is not None:
                self._picture = np.asarray(found, np.uint8)
                return True
        return False

    def retrieve(self, _buffer: Image | None = None, _flag: int = 0) -> tuple[bool, Image | None]:
        """Give the picture."""
        return self._picture is not None, self._picture

    def get(self, _property: int) -> float:
        """Pictures a second; nothing else is asked."""
        return self._fps

    def release(self) -> None:
        """Nothing is held open."""
        self._left = []

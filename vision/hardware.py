"""Which decoder a camera's pictures come from: probed at start, tried, and left where it is broken.

Guarantees:

- Hardware is asked for only where the machine has a device for it (`DEVICES`) and the camera's
  `decode` allows it; what is really used, and why, can always be said (`decoder`, `reason`).
- A driver that opens and then gives no picture, or hangs, is given up after TRIES attempts in a
  row; from then on this camera is decoded in software.
- A driver that takes the whole process with it is left alone by the next one
  (gateway/sources/camera.py).

OpenCV falls back by itself where no driver can be opened. It uses what its FFmpeg was built with:
the wheels on PyPI have no VA-API, so hardware needs a build of OpenCV of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2

_FOLDER, _NAME = Path("/dev/dri"), "renderD*"
DEVICES = str(_FOLDER / _NAME)
"""Render nodes of the kernel's DRM, which VA-API needs."""
TRIES = 2
SOFTWARE = "software"
_NAMES = {
    cv2.VIDEO_ACCELERATION_D3D11: "d3d11",
    cv2.VIDEO_ACCELERATION_VAAPI: "vaapi",
    cv2.VIDEO_ACCELERATION_MFX: "mfx",
    cv2.VIDEO_ACCELERATION_DRM: "drm",
}


class Video(Protocol):
    """What is used of cv2.VideoCapture."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Tell whether it can be read."""
        ...

    def grab(self) -> bool:
        """Go to the next frame."""
        ...

    def retrieve(self, buffer: Any = None, flag: int = 0) -> tuple[bool, Any]:  # noqa: ANN401 - cv2
        """Convert the frame to a picture."""
        ...

    def get(self, what: int) -> float:
        """Read a property."""
        ...

    def release(self) -> None:
        """Close it."""
        ...


Capture = Callable[[str, Sequence[int]], Video]
"""(source, options) → cv2.VideoCapture of it."""


def devices() -> list[str]:
    """Devices of this machine that could decode."""
    return sorted(map(str, _FOLDER.glob(_NAME)))


def decodes_by() -> str:
    """Say what this machine offers, before any stream has been opened."""
    there = devices()
    if not there:
        return f"{SOFTWARE} (this machine has no {DEVICES})"
    return f"{', '.join(there)}, if OpenCV's FFmpeg can drive it, which the first stream shows"


def _capture(source: str, options: Sequence[int]) -> Video:
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, list(options))


class Decoding:
    """Of one camera; outlives its readers, because one that hangs in a driver is replaced.

    wanted: `auto` or `software` (CameraConfig.decode).
    """

    def __init__(
        self, wanted: str, there: Sequence[str] | None = None, capture: Capture = _capture
    ) -> None:
        there = devices() if there is None else there
        self._capture = capture
        self._why_not = ""
        if wanted == SOFTWARE:
            self._why_not = f'decode = "{SOFTWARE}"'
        elif not there:
            self._why_not = f"this machine has no {DEVICES}"
        self._device = there[0] if there else ""
        self._tries = 0
        self._opened = ("", "")
        self.decoder = ""
        self.reason = ""

    @property
    def tries_hardware(self) -> bool:
        """Tell whether the next opening asks for hardware."""
        return not self._why_not and self._tries < TRIES

    def open(self, source: str, options: Sequence[int]) -> Video:
        """Open with what is trusted; the options are those of everything else."""
        asked = cv2.VIDEO_ACCELERATION_ANY if self.tries_hardware else cv2.VIDEO_ACCELERATION_NONE
        video = self._capture(source, [*options, cv2.CAP_PROP_HW_ACCELERATION, asked])
        used = int(video.get(cv2.CAP_PROP_HW_ACCELERATION)) if video.isOpened() else 0
        if used > 0:
            self._tries += 1
            self._opened = (_NAMES.get(used, f"hardware {used}"), self._device)
        elif self._tries:
            why = f"{self._device} opened {self._tries} times and gave no picture"
            self._opened = (SOFTWARE, why)
        else:
            why = f"OpenCV's FFmpeg drives no {self._device} for this stream"
            self._opened = (SOFTWARE, self._why_not or why)
        return video

    def picture(self) -> None:
        """A picture came of what was opened last."""
        self.decoder, self.reason = self._opened
        if self.decoder != SOFTWARE:
            self._tries = 0


__all__ = ["DEVICES", "SOFTWARE", "Decoding", "Video", "decodes_by", "devices"]

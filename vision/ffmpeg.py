"""How FFmpeg, inside OpenCV, is told to read cameras: by variables, before cv2 is imported.

Guarantees: RTSP goes over TCP (UDP loses packets, and half pictures count people wrongly); a line
on which nothing comes for SILENCE_S ends; no pictures are awaited to learn how many come a second
(FFmpeg takes 20 for that: opening H.264 of 10 a second took 2.84 s, and takes 0.84); nothing of
FFmpeg's own is printed, since its messages may hold a URL with its password. Imports nothing of
OpenCV.
"""

from __future__ import annotations

import os

SILENCE_S = 5.0
"""So long a camera may take to answer, or to send another packet. As long as a count may be old
(`stale_s`), so waiting longer would help nobody."""


def set_up() -> None:
    """Set the variables that OpenCV reads when it is imported and when it opens a camera."""
    silence_us = round(SILENCE_S * 1e6)
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = (
        f"rtsp_transport;tcp|timeout;{silence_us}|fpsprobesize;0"
    )
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"


__all__ = ["SILENCE_S", "set_up"]

"""What a reader says that cannot even begin."""

from __future__ import annotations

import time
from pathlib import Path

from vision.capture import VideoSource
from vision.config import CameraConfig

LONGEST_S = 120.0  # a bound against hanging, never an expectation


def problem(config: CameraConfig) -> str:
    """Start a reader and wait for the first problem that it reports."""
    source = VideoSource(config, time.monotonic_ns, time.time_ns)
    source.start()
    end = time.monotonic() + LONGEST_S
    while not source.link().problem and time.monotonic() < end:
        time.sleep(0.005)
    source.close()
    return source.link().problem


def test_a_password_that_is_not_text_is_said_and_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_bytes(b"caf\xe9-secret")
    config = CameraConfig(
        name="cam", source="rtsp://127.0.0.1:9/x", user="admin", password_file=str(secret)
    )
    assert problem(config) == f"{secret} cannot be read: it is not UTF-8"


def test_a_password_file_that_is_missing_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "none"
    config = CameraConfig(
        name="cam", source="rtsp://127.0.0.1:9/x", user="admin", password_file=str(secret)
    )
    assert problem(config) == f"{secret} cannot be read: No such file or directory"


def test_a_file_that_is_no_video_is_one_sentence(tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    clip.write_bytes(b"no video" * 100)
    text = problem(CameraConfig(name="cam", source=str(clip)))
    assert text == f"{clip} cannot be opened: it holds no video that can be decoded"

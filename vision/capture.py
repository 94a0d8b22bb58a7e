"""Reads cameras (RTSP, HTTP) and files with OpenCV's FFmpeg, and folders of pictures, in a thread.

Guarantees:

- The newest frame wins. Every frame is taken from the decoder (grab), only those that were asked
  for are converted to a picture (retrieve): conversion is a quarter of the cost of 1080p.
- No call blocks the caller; a reader that hangs in native code is seen by `link().alive_ns` and can
  be abandoned: it ends by itself when the native call returns.
- A camera that hangs is noticed in at most 3 s by time-outs of FFmpeg. The first reads after a hang
  return old frames from buffers as though they were new (measured: a blocked read of 30 s returned
  True), so a read that took longer than 2 s is treated as the end of the connection.
- A file is played at its own pace and begins again at its end; with `pace = "fast"` it waits for
  nobody, and every frame of it is taken, the next when it is asked for.
- A login that a camera refuses is not tried again for LOCKOUT_NS or until the password file holds
  something else: recorders lock everybody out after a few. vision/rtsp.py (or http_stream.py) asks
  before FFmpeg may.
- No text that leaves here holds a password.

Constraint: OPENCV_FFMPEG_CAPTURE_OPTIONS must select TCP before cv2 is imported; vision/worker.py
does that. UDP loses packets, and half pictures count people wrongly.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from vision.config import CameraConfig, redacted, with_login
from vision.frames import Frame, Image, LinkState
from vision.http_stream import ask
from vision.picture_folder import PictureFolder
from vision.rtsp import Login, Outcome

TIMEOUT_MS = 3000
SLOW_READ_NS = 2_000_000_000
BACKOFF_S = (0.5, 1.0, 2.0, 4.0)
"""Waits between attempts to open; the last repeats. A camera reboots in 20 to 60 s, and opening
takes 2 to 3 s more: with 8 s the first good count came up to 11.7 s late (make rtsp)."""
LOCKOUT_NS = 1_800_000_000_000
"""30 min: as long as recorders commonly lock an address out (their settings differ; not tested)."""
LOOK_S = 0.5
"""How often a reader that was refused looks whether the password has changed."""
ASKED_S = 0.5
"""How often a reader that waits to be asked shows that it lives."""


class Video(Protocol):
    """What is used of cv2.VideoCapture."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Tell whether it can be read."""
        ...

    def grab(self) -> bool:
        """Go to the next frame."""
        ...

    def retrieve(self, buffer: Any) -> tuple[bool, Any]:  # noqa: ANN401 - cv2's own types
        """Convert the frame to a picture."""
        ...

    def get(self, what: int) -> float:
        """Read a property."""
        ...

    def release(self) -> None:
        """Close it."""
        ...


class VideoSource:
    """A FrameSource over cv2.VideoCapture. monotonic_ns and wall_ns are the worker's clocks."""

    def __init__(
        self,
        config: CameraConfig,
        monotonic_ns: Callable[[], int],
        wall_ns: Callable[[], int],
    ) -> None:
        self._config = config
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._stop = threading.Event()
        self._wanted = threading.Event()
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._frame: Frame | None = None
        self._buffer: Image | None = None
        self._first = True
        self._last_frame_ns: int | None = None
        self._alive_ns = monotonic_ns()
        self._problem = ""
        self._received = 0
        self._decoded = 0
        self._opened = 0
        self._refused: str | None = None
        self._thread = threading.Thread(target=self._read_for_ever, name="frames", daemon=True)

    def start(self) -> None:
        """Begin to open and read, in the background."""
        self._thread.start()

    def request(self) -> None:
        """Ask for one frame, the next that arrives; gives the previous one back."""
        self._frame = None
        self._wanted.set()

    def take(self) -> Frame | None:
        """Return the requested frame once it is there; never waits."""
        try:
            os.eventfd_read(self._ready)
        except BlockingIOError:
            return None
        frame, self._frame = self._frame, None
        return frame

    def fileno(self) -> int:
        """Descriptor that is readable while a requested frame waits to be taken."""
        return self._ready

    def link(self) -> LinkState:
        """How the source is doing; never waits."""
        return LinkState(self._last_frame_ns, self._alive_ns, self._problem)

    def statistics(self) -> dict[str, float]:
        """Counters since start."""
        return {
            "frames_received": float(self._received),
            "frames_decoded": float(self._decoded),
            "reopened": float(max(0, self._opened - 1)),
        }

    def close(self) -> None:
        """Stop reading. Returns at once; the descriptor stays open for an abandoned reader."""
        self._stop.set()

    def ended(self, timeout_s: float) -> bool:
        """Wait for a closed reader to end; False if it hangs in native code.

        A process that ends while it reads is aborted by FFmpeg's destructors.
        """
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _read_for_ever(self) -> None:
        failures = 0
        while not self._stop.is_set():
            before = self._received
            self._problem = self._read_once()
            self._alive_ns = self._monotonic_ns()
            failures = 0 if self._received > before else failures + 1
            if self._refused is not None:
                self._sit_out(self._refused)
            elif self._problem:
                self._stop.wait(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    def _sit_out(self, refused: str) -> None:
        """Wait until a login may be tried again. refused: the password that was."""
        until_ns = self._monotonic_ns() + LOCKOUT_NS
        while not self._stop.wait(LOOK_S):
            self._alive_ns = now_ns = self._monotonic_ns()
            try:
                changed = self._password() != refused
            except (OSError, UnicodeDecodeError):
                changed = False  # half written, or taken away: nothing new to try
            if changed or now_ns >= until_ns:
                break
        self._refused = None

    def _read_once(self) -> str:
        """Open, read to the end or to an error; returns a sentence, empty at a file's end."""
        where = redacted(self._config.source)
        try:
            password = self._password()
            if problem := self._asked(where, password):
                return problem
            capture = self._open(password)
        except OSError as error:
            return f"{error.filename or where} cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            return f"{self._config.password_file} cannot be read: it is not UTF-8"
        self._alive_ns = self._monotonic_ns()
        try:
            if not capture.isOpened():
                return f"{where} {self._unopened()}"
            self._opened += 1
            self._first = True
            before = self._received
            self._read(capture)
        except cv2.error as error:
            return f"{where} sends pictures that cannot be converted: {error.err}"
        finally:
            capture.release()
        if self._config.is_file:
            return "" if self._received > before else f"{where} holds no frame that can be decoded"
        return f"{where} stopped delivering frames"

    def _password(self) -> str:
        name = self._config.password_file
        return Path(name).read_text(encoding="utf-8").rstrip("\r\n") if name else ""

    def _asked(self, where: str, password: str) -> str:
        """Ask a camera what it has; a sentence if it does not give it, else nothing."""
        config = self._config
        if config.is_file:
            return ""
        login = Login(config.user, password) if config.user else None
        cnonce = secrets.token_hex(16)
        found = ask(config.source, login, cnonce=cnonce, timeout_s=TIMEOUT_MS / 1000)
        self._alive_ns = self._monotonic_ns()
        match found.outcome:
            case Outcome.OK:
                return ""
            case Outcome.LOGIN_REFUSED:
                self._refused = password
                return (
                    f"{where} refuses the login of {config.user} ({found.text}); the next attempt"
                    f" is in {LOCKOUT_NS // 60_000_000_000} minutes or when {config.password_file}"
                    " changes, because recorders lock out whoever goes on trying"
                )
            case Outcome.LOGIN_WANTED:
                return f"{where} wants a login ({found.text}): give user and password_file"
            case Outcome.NO_SUCH_PATH:
                return f"{where} has no stream of this path ({found.text})"
            case Outcome.NO_ANSWER:
                return f"{where} does not answer: {found.text}"
            case Outcome.OTHER:
                return f"{where} gives no stream: {found.text}"

    def _unopened(self) -> str:
        if self._config.is_file:
            what = "picture" if Path(self._config.source).is_dir() else "video"
            return f"cannot be opened: it holds no {what} that can be decoded"
        return "describes its stream and then does not deliver it"

    def _open(self, password: str) -> Video:
        config = self._config
        if config.is_file and Path(config.source).is_dir():
            return PictureFolder(Path(config.source), config.folder_fps)
        if config.is_file:
            with Path(config.source).open("rb"):
                pass  # the reason why a file cannot be read is lost inside FFmpeg
        return cv2.VideoCapture(
            with_login(config.source, config.user, password),
            cv2.CAP_FFMPEG,
            [
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS),
                *(cv2.CAP_PROP_N_THREADS, 1),
            ],
        )

    def _read(self, capture: Video) -> None:
        pace_ns = self._pace_ns(capture)
        due_ns = self._monotonic_ns()
        while not self._stop.is_set():
            if self._config.is_fast and not self._wanted.wait(ASKED_S):
                self._alive_ns = self._monotonic_ns()
                continue
            asked_ns = self._monotonic_ns()
            grabbed = capture.grab()
            now_ns = self._alive_ns = self._monotonic_ns()
            if not grabbed or (not self._config.is_file and now_ns - asked_ns > SLOW_READ_NS):
                return
            self._received += 1
            self._last_frame_ns = now_ns
            self._problem = ""
            if self._wanted.is_set():
                self._deliver(capture, now_ns)
            if pace_ns:
                due_ns = max(due_ns + pace_ns, now_ns - pace_ns)
                self._stop.wait(max(0.0, (due_ns - now_ns) / 1e9))

    def _deliver(self, capture: Video, now_ns: int) -> None:
        done, image = capture.retrieve(self._buffer)
        if not done or image is None or image.ndim != 3:
            return
        picture = np.asarray(image, np.uint8)
        if self._buffer is not None and self._buffer.shape != picture.shape:
            self._first = True  # the camera changed its resolution: boxes of before lie elsewhere
        self._buffer = picture
        self._decoded += 1
        first, self._first = self._first, False
        self._wanted.clear()
        self._frame = Frame(picture, self._received - 1, now_ns, self._wall_ns(), first)
        os.eventfd_write(self._ready, 1)

    def _pace_ns(self, capture: Video) -> int:
        """Time between two frames of a file; 0 for a camera, which sets the pace itself."""
        if not self._config.is_file or self._config.is_fast:
            return 0
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        return round(1e9 / fps) if 0.001 <= fps <= 240.0 else 40_000_000

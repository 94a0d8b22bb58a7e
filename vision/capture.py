"""Reads cameras (RTSP, HTTP) and files with OpenCV's FFmpeg, and folders of pictures, in a thread.

Guarantees:

- The newest frame wins. Every frame is taken from the decoder (grab), only those that were asked
  for are converted to a picture (retrieve): conversion is a quarter of the cost of 1080p.
- No call blocks the caller; a reader that hangs in native code is seen by `link().alive_ns` and can
  be abandoned: it ends by itself when the native call returns.
- A camera that hangs is noticed in at most 3 s by time-outs of FFmpeg (5 s where its first picture
  took longer). The first reads after a hang
  return old frames from buffers as though they were new (measured: a blocked read of 30 s returned
  True), so a read that took longer than 2 s is treated as the end of the connection. Only the first
  picture is waited for, since it may be 10 s to the next key picture.
- A stream of which no frame can be turned into a picture for UNSHOWN_NS is opened anew: a driver,
  or a converter, that fails goes on failing.
- A file is played at its own pace and begins again at its end; with `pace = "fast"` it waits for
  nobody, and every frame of it is taken, the next when it is asked for.
- A login that a camera, or its recorder, refuses is not tried again for half an hour
  (vision/opening.py).
- No text that leaves here holds a password.

Constraint: vision/ffmpeg.py must have set up FFmpeg before cv2 is imported.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import cv2
import numpy as np

from vision.config import CameraConfig, redacted
from vision.frames import Frame, Image, LinkState
from vision.hardware import Decoding, Video
from vision.login_notes import LoginNotes
from vision.opening import Door

SLOW_READ_NS = 2_000_000_000
BACKOFF_S = (0.5, 1.0, 2.0)
"""Waits between attempts to open; the last repeats. A camera reboots in 20 to 60 s. With 8 s the
first good count came up to 11.7 s late (make rtsp, when opening took 2 to 3 s), with 4 s 10.5 s."""
UNSHOWN_NS = 5_000_000_000
"""Longer than the frames last that a decoder cannot give after a change of size."""
ASKED_S = 0.5
"""How often a reader that waits to be asked shows that it lives."""


class VideoSource:
    """A FrameSource over cv2.VideoCapture. monotonic_ns and wall_ns are the worker's clocks.

    decoding: of the camera, whose readers may follow one another.  logins: shared with the other
    cameras of its recorder.
    """

    def __init__(
        self,
        config: CameraConfig,
        monotonic_ns: Callable[[], int],
        wall_ns: Callable[[], int],
        decoding: Decoding | None = None,
        logins: LoginNotes | None = None,
    ) -> None:
        self._decoding = decoding or Decoding(config.decode)
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
        self._waited_ns: int | None = None
        self._door = Door(config, monotonic_ns, decoding=self._decoding, logins=logins)
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
        if self._stop.is_set():
            return None
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
        return LinkState(self._last_frame_ns, self._alive_ns, self._problem, self._received)

    def statistics(self) -> dict[str, float]:
        """Counters since start."""
        return {
            "frames_received": float(self._received),
            "frames_decoded": float(self._decoded),
            "reopened": float(max(0, self._opened - 1)),
        }

    def close(self) -> None:
        """Stop reading. Returns at once; the reader closes the descriptor when it ends."""
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
            if self._received > before or self._door.starting:
                failures = 0  # it is there, and each try waits long enough by itself
            else:
                failures += 1
            if self._door.refused:
                self._door.sit_out(self._stop, self._lives)
            elif self._problem:
                self._stop.wait(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
        os.close(self._ready)

    def _read_once(self) -> str:
        """Open, read to the end or to an error; returns a sentence, empty at a file's end."""
        where = redacted(self._config.source)
        capture = self._door.open(self._stop, self._lives)
        self._alive_ns = self._monotonic_ns()
        if isinstance(capture, str):
            return capture
        try:
            self._opened += 1
            self._first = True
            before = self._received
            self._waited_ns = None
            unshown = self._read(capture)
        except cv2.error as error:
            return f"{where} sends pictures that cannot be converted: {error.err}"
        finally:
            capture.release()
            self._door.first_picture(self._waited_ns)
        if unshown:
            return f"{where} sends frames, and none of them could be turned into a picture"
        if self._config.is_file:
            return "" if self._received > before else f"{where} holds no frame that can be decoded"
        return f"{where} stopped delivering frames"

    def _lives(self) -> None:
        self._alive_ns = self._monotonic_ns()

    def _read(self, capture: Video) -> bool:
        """Read until the stream ends; True if no frame of it could be turned into a picture."""
        pace_ns = self._pace_ns(capture)
        due_ns = began_ns = self._monotonic_ns()
        live = False  # a camera that sends pictures
        unshown_ns: int | None = None
        while not self._stop.is_set():
            if self._config.is_fast and not self._wanted.wait(ASKED_S):
                self._alive_ns = self._monotonic_ns()
                continue
            asked_ns = self._monotonic_ns()
            grabbed = capture.grab()
            now_ns = self._alive_ns = self._monotonic_ns()
            if not grabbed or (live and now_ns - asked_ns > SLOW_READ_NS):
                return False
            if self._waited_ns is None:
                self._waited_ns = now_ns - began_ns
            live = not self._config.is_file
            self._received += 1
            self._last_frame_ns = now_ns
            self._problem = ""
            if self._wanted.is_set():
                shown = self._deliver(capture, now_ns)
                unshown_ns = None if shown else (unshown_ns or now_ns)
                if unshown_ns is not None and now_ns - unshown_ns > UNSHOWN_NS:
                    return True
            if pace_ns:
                due_ns = max(due_ns + pace_ns, now_ns - pace_ns)
                self._stop.wait(max(0.0, (due_ns - now_ns) / 1e9))
        return False

    def _deliver(self, capture: Video, now_ns: int) -> bool:
        """Give the frame as a picture; tells whether it could be made one."""
        done, image = capture.retrieve(self._buffer)
        if not done or image is None or image.ndim != 3:
            return False
        picture = np.asarray(image, np.uint8)
        if self._buffer is not None and self._buffer.shape != picture.shape:
            # Of Motion JPEG; with other codecs OpenCV scales. Boxes of before lie elsewhere.
            self._first = True
        self._buffer = picture
        self._decoded += 1
        self._decoding.picture()
        first, self._first = self._first, False
        self._wanted.clear()
        self._frame = Frame(picture, self._received - 1, now_ns, self._wall_ns(), first)
        os.eventfd_write(self._ready, 1)
        return True

    def _pace_ns(self, capture: Video) -> int:
        """Time between two frames of a file; 0 for a camera, which sets the pace itself."""
        if not self._config.is_file or self._config.is_fast:
            return 0
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        return round(1e9 / fps) if 0.001 <= fps <= 240.0 else 40_000_000

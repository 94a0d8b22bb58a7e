"""Opens a camera, a file or a folder with OpenCV, and says exactly why it cannot.

Guarantees:

- A login that a camera refuses is not tried again for LOCKOUT_NS or until the password file holds
  something else: recorders lock everybody out after a few. vision/rtsp.py (or http_stream.py) asks
  before FFmpeg may.
- Only a login that the camera took before is tried TRIES times in all: an answer that a bad line
  garbled, or a camera that has just been switched on, refuses what is right.
- Cameras that are given the same notes count as one who tries: a login is tried by one of them at a
  time until it was taken, and refused to one (401) it is left alone by all (vision/refusals.py). A
  403 is of its camera alone: whoever it is was let in, and may not see this stream.
- Every wait is bounded: by BRISK_S, since whoever waits long for a line that a fault has broken is
  late when it is over (vision/patience.py). A camera that was too slow for that has SILENCE_S for
  each answer; one that answered and twice kept its stream back has START_S the next time, because
  its encoder may be slow to start; a stream that gave no picture has PICTURE_S, because its key
  pictures may be far apart (those of platforms and recorders that make none for whoever comes).
- A camera has SETTLE_S to put away the connection it was asked on before FFmpeg opens another.
- No text that leaves here holds a password.

Constraint: vision/ffmpeg.py must have set up FFmpeg before cv2 is imported.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from vision.config import CameraConfig, redacted, with_login
from vision.ffmpeg import SILENCE_S
from vision.hardware import SOFTWARE, Decoding, Video
from vision.http_stream import ask
from vision.login_notes import Held, LoginNotes
from vision.patience import Patience
from vision.picture_folder import PictureFolder
from vision.refusals import AGAIN_NS, LOCKOUT_NS, TRIES, place_of
from vision.rtsp import Description, Login, Outcome

BRISK_S = 3.0
PICTURE_S = 16.0
"""A key picture comes every 1 to 10 s as cameras are commonly set, of some each 14 s or later. Less
than the 20 s after which a reader is taken for hanging (loop.py)."""
START_S = 5.0
"""FFmpeg looks at a stream for up to 5 s (analyzeduration of libavformat) before it is open."""
SETTLE_S = 0.2
"""GStreamer's server, asked and opened at once, gave no stream 10 of 14 times (it was being taken
down), after 0.1 s 0 of 14 (H.264, the server restarted before every second)."""
HELD_RATIO = 0.9
"""Of BRISK_S: FFmpeg looks at its time-out when it reads, so it may end a little before."""
LOOK_S = 0.5
"""How often a reader that was refused looks whether the password has changed."""
_MINUTES = LOCKOUT_NS // 60_000_000_000


class Door:
    """Opens one camera, again and again.

    raw: packets as the camera sends them instead of pictures (OpenCV's CAP_PROP_FORMAT -1).
    decoding: what pictures are decoded with; software unless given.
    logins: what it shares with the other cameras of its recorder; nothing unless given.
    """

    def __init__(
        self,
        config: CameraConfig,
        monotonic_ns: Callable[[], int],
        *,
        raw: bool = False,
        decoding: Decoding | None = None,
        logins: LoginNotes | None = None,
    ) -> None:
        self._decoding = decoding or Decoding(SOFTWARE)
        self._logins = logins
        self._held: Held | None = None
        self._pause_ns = LOCKOUT_NS
        self._config = config
        self._monotonic_ns = monotonic_ns
        self._raw = raw
        self._refused: str | None = None
        self._taken: str | None = None
        self._refusals = 0
        self._answers = Patience(BRISK_S, SILENCE_S)
        self._pictures = Patience(BRISK_S, PICTURE_S)
        self._kept_back = 0

    @property
    def starting(self) -> bool:
        """Tell whether the camera answered when it was last asked and then let FFmpeg wait."""
        return self._kept_back > 0

    @property
    def refused(self) -> bool:
        """Tell whether the camera, or its recorder, refused the login when it was last asked."""
        return self._refused is not None

    def open(
        self, stop: threading.Event | None = None, lives: Callable[[], None] | None = None
    ) -> Video | str:
        """Open it; a sentence without full stop if that cannot be done.

        While it waits for another camera that tries the same login, `stop` ends that and `lives` is
        called.
        """
        where = redacted(self._config.source)
        kept_back, self._kept_back = self._kept_back, 0
        try:
            password = self._password()
            if problem := self._asked(where, password, stop or threading.Event(), lives):
                return problem
            began_ns = self._monotonic_ns()
            video = self._opened(password, BRISK_S if kept_back < 2 else START_S)
        except OSError as error:
            return f"{error.filename or where} cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            return f"{self._config.password_file} cannot be read: it is not UTF-8"
        except ValueError as error:  # an address that nobody can be asked at
            return f"{where} cannot be asked: {error}"
        if video.isOpened():
            return video
        video.release()
        if self._monotonic_ns() - began_ns > HELD_RATIO * BRISK_S * 1e9:
            self._kept_back = kept_back + 1
        return f"{where} {self._unopened()}"

    def first_picture(self, waited_ns: int | None) -> None:
        """Say how long the first picture of what was opened took; None if there was none."""
        if waited_ns is None:
            self._pictures.waited_in_vain()
        else:
            self._pictures.done(waited_ns / 1e9)

    def sit_out(self, stop: threading.Event, lives: Callable[[], None]) -> None:
        """Wait until a refused login may be tried again, or stop. lives: called meanwhile."""
        until_ns = self._monotonic_ns() + self._pause_ns
        while not stop.wait(LOOK_S):
            lives()
            try:
                changed = self._password() not in {"", self._refused}
            except (OSError, UnicodeDecodeError):
                changed = False
            # Empty, half written or taken away: nothing new to try.
            if changed or self._let_go() or self._monotonic_ns() >= until_ns:
                break
        self._refused = self._held = None

    def _let_go(self) -> bool:
        """Tell whether the login that is held back for all has been taken, or may be tried."""
        return self._held is not None and not self._held.holds(known=self._refused == self._taken)

    def _password(self) -> str:
        name = self._config.password_file
        return Path(name).read_text(encoding="utf-8").rstrip("\r\n") if name else ""

    def _asked(
        self,
        where: str,
        password: str,
        stop: threading.Event,
        lives: Callable[[], None] | None,
    ) -> str:
        """Ask a camera what it has; a sentence if it does not give it, else nothing."""
        config = self._config
        if config.is_file:
            return ""
        shared = None
        if self._logins is not None and config.user:
            shared = self._logins.of(place_of(config.source, config.user), password)
        if shared is None:
            return self._judged(where, password, self._answer(password), None)
        known = password == self._taken
        held: Held | None = None
        with shared.turn(stop, lives or _nothing, known=known) as left_alone:
            if left_alone is not None:
                self._leave(password, left_alone, left_alone.left_ns)
                return self._not_tried(where, left_alone)
            if stop.is_set():
                return f"{where} was not asked: its reader ends"
            found = self._answer(password)
            if found.outcome is Outcome.OK:
                shared.taken()
            elif found.outcome is Outcome.LOGIN_REFUSED and found.status == 401:
                held = shared.refused(config.name, found.text, known=known)
        return self._judged(where, password, found, held)

    def _leave(self, password: str, held: Held | None, pause_ns: int) -> None:
        """Leave a login alone; held: as long as the other cameras do, too."""
        self._refused, self._held, self._pause_ns = password, held, pause_ns

    def _not_tried(self, where: str, held: Held) -> str:
        config, note = self._config, held.note
        who = f"it refused it to another camera of this recorder, {note.camera}"
        if note.camera == config.name:
            who = "it refused it before"
        return (
            f"{where} refuses the login of {config.user}: {who} ({note.answer}), so it is not tried"
            f" here; the next attempt is within {_MINUTES} minutes or when {config.password_file}"
            " changes, because recorders lock out whoever goes on trying"
        )

    def _answer(self, password: str) -> Description:
        config = self._config
        login = Login(config.user, password) if config.user else None
        cnonce = secrets.token_hex(16)
        began_ns = self._monotonic_ns()
        found = ask(config.source, login, cnonce=cnonce, timeout_s=self._answers.seconds)
        if found.outcome is Outcome.NO_ANSWER:
            self._answers.waited_in_vain()
        else:
            self._answers.done((self._monotonic_ns() - began_ns) / 1e9)
        return found

    def _judged(self, where: str, password: str, found: Description, held: Held | None) -> str:
        """A sentence if the answer is none that gives a stream."""
        config = self._config
        match found.outcome:
            case Outcome.OK:
                self._taken, self._refusals = password, 0
                time.sleep(SETTLE_S)
                return ""
            case Outcome.LOGIN_REFUSED:
                self._refusals += 1
                tried, known = self._refusals, password == self._taken
                if held is not None:
                    tried, known = held.note.refusals, known or held.note.taken_ns > 0
                again = known and tried < TRIES
                pause_ns = AGAIN_NS if again else LOCKOUT_NS
                self._leave(password, held, pause_ns if held is None else held.left_ns)
                if again:
                    return (
                        f"{where} refuses the login of {config.user} ({found.text}), which it took"
                        f" before: attempt {tried} of {TRIES}"
                    )
                return (
                    f"{where} refuses the login of {config.user} ({found.text}); the next attempt"
                    f" is in {_MINUTES} minutes or when {config.password_file}"
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

    def _opened(self, password: str, patience_s: float) -> Video:
        config = self._config
        if config.is_file and Path(config.source).is_dir():
            return PictureFolder(Path(config.source), config.folder_fps)
        if config.is_file:
            with Path(config.source).open("rb"):
                pass  # the reason why a file cannot be read is lost inside FFmpeg
        patience_ms = round(1e3 * max(self._pictures.seconds, patience_s))
        options = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience_ms),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience_ms),
            *(cv2.CAP_PROP_N_THREADS, 1),
        ]
        source = with_login(config.source, config.user, password)
        if self._raw:  # nothing is decoded: OpenCV refuses packets where a decoder is chosen
            return cv2.VideoCapture(source, cv2.CAP_FFMPEG, [*options, cv2.CAP_PROP_FORMAT, -1])
        return self._decoding.open(source, options)


def _nothing() -> None:
    """Nobody is told."""

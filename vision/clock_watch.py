"""Tells whether the clock that a camera writes on its picture is right. No clock, thread or file.

| state   | when                                                                              |
|---------|-----------------------------------------------------------------------------------|
| RIGHT   | it runs, and differs from the gateway's by at most `wrong_s`                      |
| WRONG   | it runs, and differs by more                                                      |
| STOPPED | one and the same time is read for `stopped_s`, while pictures come                |
| UNREAD  | otherwise: nothing is said of a clock that cannot be read                         |

Guarantees: WRONG needs a clock whose digits have proved themselves. Its last KEPT readings must run
as the gateway's clock runs (all but one in ten within JITTER_S of their median difference), and all
ten digits must have been read in the place of the seconds; a digit that is taken for another breaks
one or the other. No digit of the date may besides look more like another digit of this very clock's
seconds than like the one it was read as. So a picture that is hard to read is silent, not wrong.

Why the picture and no protocol: evidence is the picture. What a camera's or a recorder's protocol
says of its clock (RTCP sender reports, ONVIF GetSystemDateAndTime) is another clock than the one
that is drawn wherever a recorder draws or a platform re-sends, and FFmpeg's reader keeps the former
to itself.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from vision.clock_face import CELL_HIGH, CELL_WIDE, Line, Reading, Search, read
from vision.clock_format import groups
from vision.config import ClockConfig
from vision.frames import Image

READ_NS = 800_000_000
"""Least time between two readings: seconds are what is compared."""
KEPT = 40
KEPT_NS = 600_000_000_000
JITTER_S = 1.5
"""A second is drawn up to 1 s late, and pictures take up to 1 s more or less to come."""
RUNS_SHARE = 0.9
FEWEST_STOPPED = 8
FIND_NS = 5_000_000_000
"""Wait after the line was looked for in vain, doubled each time up to MOST_FIND_NS."""
MOST_FIND_NS = 320_000_000_000
LOST_NS = 60_000_000_000
"""A line that gave nothing for so long is looked for again."""
_OWN_SHARE = 0.2
_APART = 0.2
"""Correlation by which another digit must fit better to be the one that is shown; one that stands a
tenth of a cell off its place loses up to 0.1 (measured)."""

Floats = npt.NDArray[np.float32]


class Clock(enum.Enum):
    """What is known of a clock; the value is a word for events."""

    UNREAD = "unread"
    RIGHT = "right"
    WRONG = "wrong"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ClockChange:
    """The clock on the picture became wrong, stopped, or right.

    shown_s: what it shows, seconds since 1970 UTC by the configured offset.  ahead_s: of the
    gateway's clock.
    """

    state: Clock
    shown_s: int
    ahead_s: float


@dataclass(slots=True)
class _Own:
    """How this clock draws each digit, learned in the place of its seconds."""

    cells: Floats = field(default_factory=lambda: np.zeros((10, CELL_WIDE * CELL_HIGH), np.float32))

    def learn(self, reading: Reading) -> None:
        value = reading.digits[reading.second]
        seen = reading.cells[reading.second]
        if not self.cells[value].any():
            self.cells[value] = seen
        self.cells[value] += np.float32(_OWN_SHARE) * (seen - self.cells[value])

    def agrees(self, reading: Reading) -> bool:
        """Tell whether no digit looks clearly more like another than like itself."""
        if not self.cells.any(axis=1).all():
            return False
        own = self.cells / np.linalg.norm(self.cells, axis=1, keepdims=True)
        seen = reading.cells / np.linalg.norm(reading.cells, axis=1, keepdims=True)
        alike = seen @ own.T
        said = alike[np.arange(len(alike)), np.array(reading.digits)]
        return bool((said >= alike.max(axis=1) - _APART).all())


class ClockWatch:
    """feed() takes each picture that shows the scene; None: nothing has changed."""

    def __init__(self, config: ClockConfig) -> None:
        self._config = config
        self._asked = groups(config.format)
        self._line: Line | None = None
        self._shape: tuple[int, ...] = ()
        self._search: Search | None = None
        self._find_ns = 0
        self._wait_ns = FIND_NS
        self._read_ns: int | None = None
        self._kept: deque[tuple[int, Reading, float]] = deque(maxlen=KEPT)
        self._own = _Own()
        self._found_ns = 0
        self._same, self._same_since_ns = 0, 0
        self.state = Clock.UNREAD
        self.ahead_s: float | None = None

    def reset(self) -> None:
        """Forget what was read: pictures stopped coming, or show something else."""
        self._kept.clear()
        self.ahead_s = None

    def feed(self, image: Image, wall_ns: int, now_ns: int) -> ClockChange | None:
        """Read the clock of a frame that was taken at wall_ns, if it is time to."""
        if self._read_ns is not None and now_ns - self._read_ns < READ_NS:
            return None
        grey = region_of(image, self._config)
        if grey.shape != self._shape:
            self._shape, self._line, self._own = grey.shape, None, _Own()
            self._search = None
            self._find_ns, self._wait_ns = now_ns, FIND_NS
            self.reset()
        if self._line is None and not self._look_for(grey, now_ns):
            return None
        self._read_ns = now_ns
        reading = read(grey, self._line, self._asked) if self._line is not None else None
        if reading is None:
            if now_ns - self._found_ns > LOST_NS:
                self._line, self._own = None, _Own()
                self._find_ns = now_ns
                self.reset()
            return None
        self._found_ns = now_ns
        if not self._kept or self._kept[-1][1].shown_s != reading.shown_s:
            self._same, self._same_since_ns = 0, now_ns
        self._same += 1
        shown_s = reading.shown_s - round(self._config.utc_offset_h * 3600)
        self._kept.append((now_ns, reading, shown_s - wall_ns / 1e9))
        while now_ns - self._kept[0][0] > KEPT_NS:
            self._kept.popleft()
        return self._judge(shown_s)

    def _look_for(self, grey: npt.NDArray[np.uint8], now_ns: int) -> bool:
        """Look for the line a little longer, in the picture it was begun in; True once found."""
        if now_ns < self._find_ns:
            return False
        search = self._search = self._search or Search(grey.copy(), self._asked)
        if search.step():
            return False
        self._search = None
        self._line, self._found_ns = search.line, now_ns
        if self._line is None:
            self._find_ns = now_ns + self._wait_ns
            self._wait_ns = min(MOST_FIND_NS, 2 * self._wait_ns)
            return False
        self._wait_ns = FIND_NS
        return True

    def _judge(self, shown_s: int) -> ClockChange | None:
        state = self._state()
        if state is Clock.UNREAD or state is self.state:
            return None
        self.state = state
        ahead_s = self._kept[-1][2] if state is Clock.STOPPED else self.ahead_s
        return ClockChange(state, shown_s, round(ahead_s or 0.0, 1))

    def _state(self) -> Clock:
        latest_ns, latest, _ = self._kept[-1]
        stood_ns = latest_ns - self._same_since_ns
        if self._same >= FEWEST_STOPPED and stood_ns >= self._config.stopped_s * 1e9:
            return Clock.STOPPED
        ahead = np.array([ahead for _, _, ahead in self._kept])
        middle = float(np.median(ahead))
        runs = np.abs(ahead - middle) <= JITTER_S
        if len(ahead) < KEPT // 2 or runs.mean() < RUNS_SHARE:
            return Clock.UNREAD
        if runs[-1]:
            self._own.learn(latest)
        right = [reading for (_, reading, _), ran in zip(self._kept, runs, strict=True) if ran]
        if len({reading.digits[reading.second] for reading in right}) < 10:
            return Clock.UNREAD
        self.ahead_s = middle
        if abs(middle) <= self._config.wrong_s:
            return Clock.RIGHT
        return Clock.WRONG if self._own.agrees(latest) else Clock.UNREAD


def region_of(image: Image, config: ClockConfig) -> npt.NDArray[np.uint8]:
    """The clock's part of a frame, grey."""
    height, width = image.shape[:2]
    (left, top), (right, bottom) = config.region
    part = image[
        round(top * height) : max(round(bottom * height), round(top * height) + 1),
        round(left * width) : max(round(right * width), round(left * width) + 1),
    ]
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_BGR2GRAY), np.uint8)


__all__ = ["Clock", "ClockChange", "ClockWatch"]

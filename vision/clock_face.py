"""Reads a clock that a camera writes on its picture. No thread, socket or clock of its own.

Guarantees: what is read is a moment that the format can mean, or nothing; a picture of another
size, a covered clock or letters that are not sure give nothing.

How: a small network (vision/train/clock_digits.py) tells which digit a cell of the picture shows,
or none. Digits of a clock are of one width, so a line is known by where it stands, how high and how
wide its cells are, and how far the groups of digits lie apart. `find` looks for the line that the
network is surest of; from then on only the cells of that line are looked at, a tenth of a
millisecond a picture. Nothing is assumed about the letters between the digits.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vision.clock_format import FIELDS, Group

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

DIGITS_FILE = Path(__file__).resolve().parent / "fonts" / "clock_digits.npz"
CELL_WIDE, CELL_HIGH = 12, 18
_MARGIN = 0.16
"""Of its height, how much is seen above and below a digit: what is cut off there is none."""
_STEP = 1.13
_LEAST_LOG = float(np.log(0.25))
"""Mean log of the digits' shares from which a line is worth to be looked at closely."""
_MOST_ROWS = 2
SURE = 0.8
"""Geometric mean of the shares of all digits from which a line is believed."""
_LEAST_SHARE = 0.2
"""No digit may be less likely than this."""
_TENS = {"m": 2, "d": 4, "H": 3, "M": 6, "S": 6, "y": 10}
_NONE = 10
_RATIOS = (0.5, 0.56, 0.62, 0.69, 0.76, 0.84, 0.93, 1.03)
"""Width of a cell over the height of its digits: 0.55 to 1.0 in the faces looked at."""


class Digits:
    """The network: shares float32[n, 11] of ten digits and "none" for cells [n, 216]."""

    def __init__(self, weights: Sequence[Floats]) -> None:
        self._into, self._into_off, self._out, self._out_off = weights

    @staticmethod
    @cache
    def shipped() -> Digits:
        """The one that comes with this package."""
        with np.load(DIGITS_FILE) as stored:
            return Digits([stored[name].astype(np.float32) for name in "abcd"])

    def shares(self, cells: Floats) -> Floats:
        """Judge normalised cells."""
        middle = np.maximum(cells @ self._into + self._into_off, 0)
        raw = middle @ self._out + self._out_off
        share = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(share / share.sum(axis=1, keepdims=True), np.float32)


def cut(grey: Grey, x1: float, y1: float, x2: float, y2: float) -> Floats:
    """One cell float32[18, 12] from the corners of a digit, with its margin; edges repeat."""
    margin = _MARGIN * (y2 - y1)
    wide, high = x2 - x1, y2 - y1 + 2 * margin
    across = np.array([[wide / CELL_WIDE, 0, x1 + wide / CELL_WIDE / 2 - 0.5],
                       [0, high / CELL_HIGH, y1 - margin + high / CELL_HIGH / 2 - 0.5]],
                      np.float32)  # fmt: skip
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if wide / CELL_WIDE > 1.5:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.4 * wide / CELL_WIDE), np.uint8)
    cell = cv2.warpAffine(grey, across, (CELL_WIDE, CELL_HIGH), flags=how,
                          borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    return np.asarray(cell, np.float32)


def normalised(cells: Floats) -> Floats:
    """Cells [n, 18, 12] as the network takes them, [n, 216]: brightness and contrast away."""
    flat = cells.reshape(len(cells), -1)
    middle = flat.mean(axis=1, keepdims=True)
    spread = flat.std(axis=1, keepdims=True)
    return np.asarray((flat - middle) / (spread + 4.0), np.float32)


@dataclass(frozen=True, slots=True)
class Line:
    """Where a clock stands in its region, pixels. starts: left edge of each group."""

    top: float
    bottom: float
    cell: float
    starts: tuple[float, ...]

    def cells(self, grey: Grey, asked: Sequence[Group]) -> Floats:
        """Cells of all digits, normalised, float32[digits, 216]."""
        places = [
            start + number * self.cell
            for start, group in zip(self.starts, asked, strict=True)
            for number in range(group.digits)
        ]
        cells = [cut(grey, x, self.top, x + self.cell, self.bottom) for x in places]
        return normalised(np.stack(cells))


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a clock shows. shown_s: seconds since 1970, as if it showed UTC.

    digits, cells: value and normalised picture of each, in the order written.  second: place of
    the last digit of the seconds among them.  sure: geometric mean of their shares.
    """

    shown_s: int
    digits: tuple[int, ...]
    cells: Floats
    second: int
    sure: float


def read(grey: Grey, line: Line, asked: Sequence[Group]) -> Reading | None:
    """Read a clock whose line is known; None where it is not sure, or is no moment."""
    cells = line.cells(grey, asked)
    share = Digits.shipped().shares(cells)[:, :_NONE]
    share[~_allowed(asked)] = 0.0
    digits, sure = share.argmax(axis=1), share.max(axis=1)
    mean = float(np.exp(np.log(np.maximum(sure, 1e-9)).mean()))
    if mean < SURE or sure.min() < _LEAST_SHARE:
        return None
    shown_s, second = _moment(digits.tolist(), asked)
    if shown_s is None:
        return None
    return Reading(shown_s, tuple(digits.tolist()), cells, second, mean)


class Search:
    """Looks for the line in one picture of a region uint8[h, w], a little at each step()."""

    def __init__(self, grey: Grey, asked: Sequence[Group]) -> None:
        self._grey, self._asked = grey, asked
        least, most = max(7.0, 0.25 * grey.shape[0]), min(64.0, float(grey.shape[0]))
        heights = int(np.log(max(most / least, 1.0)) / np.log(_STEP)) + 1
        self._left = [
            (least * _STEP**number, ratio) for number in range(heights) for ratio in _RATIOS
        ]
        self._best: tuple[float, Line] = (_LEAST_LOG, Line(0, 0, 0, ()))
        self.line: Line | None = None

    def step(self) -> bool:
        """Try one size of letters, some milliseconds of work; False once all were tried.

        `line` is then the line of which the network is sure, if there is one.
        """
        if self._left:
            high, ratio = self._left.pop()
            found = _along(self._grey, high, ratio * high, self._asked)
            if found is not None and found[0] > self._best[0]:
                self._best = found
            return True
        if self._best[0] > _LEAST_LOG:
            line = _refined(self._grey, self._best[1], self._asked)
            if read(self._grey, line, self._asked) is not None:
                self.line = line
        return False


def find(grey: Grey, asked: Sequence[Group]) -> Line | None:
    """Search to the end; None if there is no line of which the network is sure."""
    search = Search(grey, asked)
    while search.step():
        pass
    return search.line


def _along(
    grey: Grey, high: float, cell: float, asked: Sequence[Group]
) -> tuple[float, Line] | None:
    """Best line with digits so high and cells so wide, and the mean log of its digits' shares."""
    width = grey.shape[1]
    margin = round(_MARGIN * high) + 1
    padded = cv2.copyMakeBorder(grey, margin, margin, 0, 0, cv2.BORDER_REPLICATE)
    tall = CELL_HIGH / (high * (1 + 2 * _MARGIN))
    size = (max(1, round(width / cell * CELL_WIDE)), max(1, round(padded.shape[0] * tall)))
    digits = sum(group.digits for group in asked)
    if size[1] < CELL_HIGH or size[0] < digits * CELL_WIDE:
        return None
    small = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    windows = np.lib.stride_tricks.sliding_window_view(small, (CELL_HIGH, CELL_WIDE))[::2]
    rows, places = windows.shape[:2]
    cells = normalised(windows.reshape(-1, CELL_HIGH, CELL_WIDE).astype(np.float32))
    share = Digits.shipped().shares(cells)[:, :_NONE].reshape(rows, places, _NONE)
    logs = np.log(np.maximum(share, 1e-6))
    most = np.sort(logs.max(axis=2), axis=1)[:, -digits:].mean(axis=1)  # no line can be better
    likely = [row for row in np.argsort(most)[-_MOST_ROWS:].tolist() if most[row] > _LEAST_LOG]
    if not likely:
        return None
    score, row, starts = max(_placed(logs[row], asked, row) for row in likely)
    if not starts:
        return None
    scale = cell / CELL_WIDE
    top = row * 2 / tall - margin + _MARGIN * high
    return score / digits, Line(top, top + high, cell, tuple(x * scale for x in starts))


def _placed(logs: Floats, asked: Sequence[Group], row: int) -> tuple[float, int, tuple[int, ...]]:
    """Best places of the groups along one row, by dynamic programming: sum, row, left edges."""
    places = len(logs)
    allowed = _allowed(asked)
    total = np.zeros(places, np.float32)
    back: list[npt.NDArray[np.intp]] = []
    first = 0
    for number, group in enumerate(asked):
        reach = (group.digits - 1) * CELL_WIDE
        if places <= reach:
            return -np.inf, row, ()
        own = np.full(places, -np.inf, np.float32)
        own[: places - reach] = 0.0
        for digit in range(group.digits):
            masked = np.where(allowed[first + digit], logs, -np.inf).max(axis=1)
            shift = digit * CELL_WIDE
            own[: places - reach] += masked[shift : shift + places - reach]
        first += group.digits
        if number == 0:
            total, came = own, np.zeros(places, np.intp)
        else:
            least, most = ((asked[number - 1].digits + gap) * CELL_WIDE for gap in group.gap)
            total, came = _after(total, own, round(least), round(most))
        back.append(came)
    at = int(total.argmax())
    score = float(total[at])
    starts = [at]
    for came in back[:0:-1]:
        starts.append(int(came[starts[-1]]))
    return score, row, tuple(reversed(starts)) if np.isfinite(score) else ()


def _after(
    before: Floats, own: Floats, least: int, most: int
) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Best sum with this group at each place, and where the group before it begins then."""
    places = len(own)
    best = np.full(places, -np.inf, np.float32)
    came = np.zeros(places, np.intp)
    for away in range(least, min(most, places - 1) + 1):
        candidate = before[: places - away]
        better = candidate > best[away:]
        best[away:][better] = candidate[better]
        came[away:][better] = np.flatnonzero(better)
    return np.asarray(best + own, np.float32), came


def _refined(grey: Grey, line: Line, asked: Sequence[Group]) -> Line:
    """Move the line a little, one measure at a time, while the network gets surer."""

    def worth(candidate: Line) -> float:
        share = Digits.shipped().shares(candidate.cells(grey, asked))[:, :_NONE]
        share[~_allowed(asked)] = 0.0
        return float(np.log(np.maximum(share.max(axis=1), 1e-6)).sum())

    best, high = worth(line), line.bottom - line.top
    for step in (0.08, 0.04):
        moved = True
        while moved:
            moved = False
            for candidate in _neighbours(line, step * high, step * line.cell):
                value = worth(candidate)
                if value > best + 1e-3:
                    best, line, moved = value, candidate, True
    return line


def _neighbours(line: Line, down: float, across: float) -> list[Line]:
    found = []
    for sign in (-1, 1):
        found += [
            Line(line.top + sign * down, line.bottom + sign * down, line.cell, line.starts),
            Line(line.top - sign * down / 2, line.bottom + sign * down / 2, line.cell, line.starts),
            Line(line.top, line.bottom, line.cell + sign * across / 3, line.starts),
        ]
        for number in range(len(line.starts)):
            starts = [x + sign * across * (place == number) for place, x in enumerate(line.starts)]
            found.append(Line(line.top, line.bottom, line.cell, tuple(starts)))
    return found


def _allowed(asked: Sequence[Group]) -> npt.NDArray[np.bool_]:
    """Which digits may stand in each place, bool[digits, 10]: no month begins with a 7."""
    rows = []
    for field in "".join(group.fields for group in asked):
        wide = FIELDS[field]
        mask = np.ones((wide, 10), np.bool_)
        if field == "Y":
            mask[0] = np.isin(np.arange(10), (1, 2))
            mask[1] = np.isin(np.arange(10), (0, 9))
        else:
            mask[0] = np.arange(10) < _TENS[field]
        rows.append(mask)
    return np.concatenate(rows)


def _moment(digits: Sequence[int], asked: Sequence[Group]) -> tuple[int | None, int]:
    """Seconds since 1970, None where it is no moment; and the place of the last of the seconds."""
    at, second, values = 0, 0, {}
    for field in "".join(group.fields for group in asked):
        wide = FIELDS[field]
        values[field] = int("".join(map(str, digits[at : at + wide])))
        at += wide
        if field == "S":
            second = at - 1
    year = values["Y"] if "Y" in values else 2000 + values["y"]
    month, day, hour = values["m"], values["d"], values["H"]
    if not (1970 <= year <= 2099 and 1 <= month <= 12 and hour <= 23):
        return None, second
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None, second
    return calendar.timegm((year, month, day, hour, values["M"], values["S"])), second

"""What a round of the RTSP campaign showed, and what of it misses a bar. Pure.

After a fault a camera is *back* with its first good count, *counting again, uncertain* where its
counts are only uncertain for as long as the round waits (a view that it does not know, say), and
*not back* where there is no usable count at all. The three are counted apart: the second is a
camera that sees and says that it doubts, the third one that is lost.

Leaks, by rule stated here: the camera's process is the same from first to last; its open files and
threads after a fault are, in the last quarter, at no time more than the most of the first quarter;
the median of its resident memory grows by at most 4 MB from the second quarter to the last. What a
camera loads the first time that it does something is had before the first round (rtsp_lane.py).
"""

from __future__ import annotations

import enum
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.contract import SEVERITY_MASK, Quality

BAR_S = 10.0
MOST_GROWTH_BYTES = 4_000_000


class Ending(enum.Enum):
    """How a camera was at the end of a round."""

    BACK = "back"
    UNCERTAIN = "counting again, but with uncertain quality"
    NOT_BACK = "not back"


@dataclass(slots=True)
class Return:
    """Follows the counts after a fault that ended at `ended_ns`, wall clock.

    counting_s, good_s: when the first usable and the first good count came, of a picture younger
    than that end; None while there was none.
    """

    ended_ns: int
    counting_s: float | None = None
    good_s: float | None = None

    def feed(self, quality: int, picture_ns: int, *, now_s: float) -> None:
        """Take a count. picture_ns: when its picture was made; now_s: since the fault's end."""
        if picture_ns <= self.ended_ns or quality & SEVERITY_MASK >= Quality.BAD:
            return
        if self.counting_s is None:
            self.counting_s = now_s
        if self.good_s is None and quality == Quality.GOOD:
            self.good_s = now_s


@dataclass(frozen=True, slots=True)
class Round:
    """One fault of one camera (lane).

    seen_s: until quality was bad, None where nothing should be seen; a wait that was given up lasts
    longer than any bar.  counting_s, back_s: as in Return.  open_files, threads, resident_bytes: of
    the camera's process after it.  starts: of that process.  said: quality and events where the
    wait was given up.
    """

    lane: str
    kind: str
    seen_s: float | None
    counting_s: float | None
    back_s: float | None
    open_files: int
    threads: int
    resident_bytes: int
    starts: int
    said: str = ""

    @property
    def ending(self) -> Ending:
        """Tell how it ended."""
        if self.back_s is not None:
            return Ending.BACK
        return Ending.NOT_BACK if self.counting_s is None else Ending.UNCERTAIN


def line(one: Round) -> str:
    """One round on one line."""
    seen = "" if one.seen_s is None else f"seen after {one.seen_s:.1f} s, "
    return f"{one.lane}: {one.kind}: {seen}{_ended(one)}"


def totals(rounds: Sequence[Round]) -> str:
    """How many rounds ended in which way."""
    endings = Counter(one.ending for one in rounds)
    told = ", ".join(f"{endings[ending]} {ending.value}" for ending in Ending)
    return f"{len(rounds)} rounds: {told}"


def table(rounds: Sequence[Round]) -> list[str]:
    """A Markdown table: per kind of fault how many, and how long (median, most)."""
    lines = [
        "| fault | times | seen s, median (most) | back s, median (most) | uncertain | not back |",
        "|---|---|---|---|---|---|",
    ]
    for kind in sorted({one.kind for one in rounds}):
        mine = [one for one in rounds if one.kind == kind]
        seen = _spread([one.seen_s for one in mine if one.seen_s is not None]) or "is no fault"
        back = _spread([one.back_s for one in mine if one.back_s is not None]) or "never"
        endings = Counter(one.ending for one in mine)
        lines.append(
            f"| {kind} | {len(mine)} | {seen} | {back} |"
            f" {endings[Ending.UNCERTAIN]} | {endings[Ending.NOT_BACK]} |"
        )
    return lines


def leaks(rounds: Sequence[Round]) -> list[str]:
    """A Markdown table of what each camera's process had open and used, first and last."""
    lines = [
        "| camera | rounds | open files | threads | MB, 2nd quarter → last |",
        "|---|---|---|---|---|",
    ]
    for name, mine in _by_lane(rounds).items():
        first, second, last = _quarters(mine)
        lines.append(
            f"| {name} | {len(mine)} |"
            f" {_most(first, 'open_files')} → {_most(last, 'open_files')} |"
            f" {_most(first, 'threads')} → {_most(last, 'threads')} |"
            f" {_median(second) / 1e6:.1f} → {_median(last) / 1e6:.1f} |"
        )
    return lines


def wrong(rounds: Sequence[Round]) -> list[str]:
    """What misses a bar, one sentence each."""
    found = []
    for one in rounds:
        if one.seen_s is not None and one.seen_s > BAR_S:
            found.append(f"{one.lane}: {one.kind} seen after {one.seen_s:.1f} s")
        if one.back_s is None or one.back_s > BAR_S:
            found.append(f"{one.lane}: {one.kind} {_ended(one)}")
    for name, mine in _by_lane(rounds).items():
        first, second, last = _quarters(mine)
        if mine[-1].starts != 1:
            found.append(f"{name}: its process was started {mine[-1].starts} times")
        found += [
            f"{name}: more {what} at the end than at the beginning"
            for what in ("open_files", "threads")
            if _most(last, what) > _most(first, what)
        ]
        if _median(last) - _median(second) > MOST_GROWTH_BYTES:
            found.append(f"{name}: resident memory grows")
    return found


def _ended(one: Round) -> str:
    match one.ending:
        case Ending.BACK:
            return f"back after {one.back_s:.1f} s"
        case Ending.UNCERTAIN:
            return f"{one.ending.value} after {one.counting_s:.1f} s: {one.said}"
        case Ending.NOT_BACK:
            return f"{one.ending.value}: {one.said}"


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.1f} ({max(seconds):.1f})" if seconds else ""


def _by_lane(rounds: Sequence[Round]) -> dict[str, list[Round]]:
    lanes: dict[str, list[Round]] = {}
    for one in rounds:
        lanes.setdefault(one.lane, []).append(one)
    return lanes


def _quarters(mine: list[Round]) -> tuple[list[Round], list[Round], list[Round]]:
    size = max(1, len(mine) // 4)
    return mine[:size], mine[size : 2 * size] or mine[:size], mine[-size:]


def _most(mine: Sequence[Round], what: str) -> int:
    return max(int(getattr(one, what)) for one in mine)


def _median(mine: Sequence[Round]) -> float:
    return float(statistics.median(one.resident_bytes for one in mine))

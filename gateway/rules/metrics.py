"""Alarm metrics 报警统计: rates, floods, bad actors, chattering, stale alarms, time to acknowledge.

Guarantees: counts alarms raised (a change into unacknowledged active that is new); alarms under a
declared test or outage are counted apart and in nothing else; every threshold comes from the rule
books (alarm.*), whose names go on the results. Times are the gateway's, so a device's clock moves
nothing; records may come slightly out of order.

`AlarmMetrics.feed` takes changes in order of their records; `report` sums up. `FloodWatch` is the
live part: it tells when a flood starts and ends at an operator position. Pure.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.rulebook import RuleBooks

Key = tuple[str, str]
S = 10**9
TOP = 10


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Numbers of the rule books, in ns and counts."""

    window_ns: int
    flood_above: int
    flood_below: int
    average: float
    chattering: int
    stale_ns: int
    rules: tuple[str, ...]

    @classmethod
    def of(cls, books: RuleBooks, on: dt.date) -> Thresholds:
        """Take what is in force on a local date."""
        ids = ("alarm.flood.window", "alarm.flood.start", "alarm.flood.end", "alarm.rate.average",
               "alarm.chattering", "alarm.stale")  # fmt: skip
        found = [books.get(rule_id, on=on) for rule_id in ids]
        window, start, end, average, chattering, stale = (rule.value for rule in found)
        return cls(
            round(window * 60 * S), round(start), round(end), average, round(chattering),
            round(stale * 3600 * S), tuple(rule.name for rule in found),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flood:
    """A flood 报警泛滥 at one operator position. end_ns 0: not over yet."""

    position: str
    start_ns: int
    end_ns: int
    alarms: int


class FloodWatch:
    """Tells when floods start (more than `flood_above` in the window) and end (too few)."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._t = thresholds
        self._recent: dict[str, deque[int]] = {}
        self._since: dict[str, tuple[int, int]] = {}  # start, alarms so far

    def raised(self, position: str, at_ns: int) -> list[Flood]:
        """Count an alarm; gives the flood that it starts, with end 0."""
        recent = self._recent.setdefault(position, deque())
        recent.append(at_ns)
        while recent and recent[0] <= at_ns - self._t.window_ns:
            recent.popleft()
        if position in self._since:
            start, count = self._since[position]
            self._since[position] = start, count + 1
            return []
        if len(recent) <= self._t.flood_above:
            return []
        self._since[position] = recent[0], len(recent)
        return [Flood(position, recent[0], 0, len(recent))]

    def tick(self, at_ns: int) -> list[Flood]:
        """Give the floods that are over by now: each ends when its window held too few."""
        over = []
        for position, (start, count) in list(self._since.items()):
            ends = self._ends(position)
            if ends <= at_ns:
                del self._since[position]
                over.append(Flood(position, start, ends, count))
        return over

    def next_deadline_ns(self) -> int | None:
        """When the next flood would be over if nothing more came, or None."""
        return min((self._ends(position) for position in self._since), default=None)

    def standing(self) -> list[Flood]:
        """Floods that are not over."""
        return [Flood(p, start, 0, count) for p, (start, count) in self._since.items()]

    def _ends(self, position: str) -> int:
        recent = self._recent[position]
        last = recent[-self._t.flood_below] if len(recent) >= self._t.flood_below else recent[0]
        return last + self._t.window_ns


@dataclass(frozen=True, slots=True)
class Report:
    """What a period was like; see the fields' names. Times in ns, rates in alarms per 10 min."""

    start_ns: int
    end_ns: int
    raised: int
    under_test: int
    positions: dict[str, tuple[float, int]]  # mean and most in one window
    floods: tuple[Flood, ...]
    top: tuple[tuple[str, str, int], ...]
    chattering: tuple[tuple[str, str, int], ...]  # most within one minute
    stale: tuple[tuple[str, str, int], ...]  # standing since
    priorities: dict[int, int]
    acknowledged: int
    acknowledge_median_ns: int
    acknowledge_most_ns: int
    aside: tuple[tuple[str, str, str], ...]  # put aside now: state
    average_limit: float
    rules: tuple[str, ...]


@dataclass(slots=True)
class _Life:
    recent: deque[int] = field(default_factory=deque)
    most_in_a_minute: int = 0
    since_ns: int = 0  # of a condition that stands, else 0
    waits_ns: int = 0  # raised and not acknowledged yet
    state: AlarmState = AlarmState.NORMAL


class AlarmMetrics:
    """Sums up the alarm records of a period."""

    def __init__(self, thresholds: Thresholds, position_of: Callable[[str], str]) -> None:
        """position_of: operator position 操作岗位 of a source; empty where none is known."""
        self._t = thresholds
        self._position_of = position_of
        self._lives: dict[Key, _Life] = {}
        self._count: Counter[Key] = Counter()
        self._priorities: Counter[int] = Counter()
        self._windows: dict[str, Counter[int]] = {}
        self._watch = FloodWatch(thresholds)
        self._floods: list[Flood] = []
        self._waited: list[int] = []
        self._under_test = 0
        self._first_ns = self._last_ns = 0

    def feed(self, change: AlarmChange) -> None:
        """Take one alarm record."""
        at_ns = change.gateway_time_ns
        self._first_ns = self._first_ns or at_ns
        self._last_ns = max(self._last_ns, at_ns)
        new = is_raise(change)
        if change.declaration:
            self._under_test += new
            return
        life = self._lives.setdefault((change.source, change.condition), _Life())
        life.state = change.state
        if new:
            self._raised(change, life, at_ns)
        if change.state is AlarmState.ACKNOWLEDGED_ACTIVE or change.operator:
            if life.waits_ns:
                self._waited.append(at_ns - life.waits_ns)
            life.waits_ns = 0
        if change.state in {AlarmState.NORMAL, AlarmState.RETURNED_UNACKNOWLEDGED,
                            AlarmState.LATCHED}:  # fmt: skip
            life.since_ns = 0

    def _raised(self, change: AlarmChange, life: _Life, at_ns: int) -> None:
        self._count[change.source, change.condition] += 1
        self._priorities[change.priority] += 1
        position = self._position_of(change.source)
        self._windows.setdefault(position, Counter())[at_ns // self._t.window_ns] += 1
        self._floods += self._watch.tick(at_ns)
        self._watch.raised(position, at_ns)
        life.recent.append(at_ns)
        while life.recent[0] <= at_ns - 60 * S:
            life.recent.popleft()
        life.most_in_a_minute = max(life.most_in_a_minute, len(life.recent))
        life.since_ns = life.waits_ns = at_ns

    def report(self, start_ns: int, end_ns: int) -> Report:
        """Sum up a period (wall clock); the records fed are those of this period."""
        floods = [*self._floods, *self._watch.tick(end_ns), *self._watch.standing()]
        windows = max(1.0, (end_ns - start_ns) / self._t.window_ns)
        limit = self._t.stale_ns
        lives = self._lives.items()
        return Report(
            start_ns=start_ns,
            end_ns=end_ns,
            raised=self._count.total(),
            under_test=self._under_test,
            positions={
                position: (counts.total() / windows, max(counts.values()))
                for position, counts in sorted(self._windows.items())
            },
            floods=tuple(sorted(floods, key=lambda flood: flood.start_ns)),
            top=tuple((*key, count) for key, count in self._count.most_common(TOP)),
            chattering=tuple(
                (*key, life.most_in_a_minute)
                for key, life in sorted(lives, key=lambda one: -one[1].most_in_a_minute)
                if life.most_in_a_minute >= self._t.chattering
            ),
            stale=tuple(
                (*key, life.since_ns)
                for key, life in lives
                if life.since_ns and end_ns - life.since_ns >= limit
            ),
            priorities=dict(sorted(self._priorities.items())),
            acknowledged=len(self._waited),
            acknowledge_median_ns=round(statistics.median(self._waited)) if self._waited else 0,
            acknowledge_most_ns=max(self._waited, default=0),
            aside=tuple((*key, life.state.name.lower()) for key, life in lives
                        if life.state in _ASIDE),
            average_limit=self._t.average,
            rules=self._t.rules,
        )  # fmt: skip


_ASIDE = frozenset({AlarmState.SHELVED, AlarmState.SUPPRESSED_BY_DESIGN, AlarmState.OUT_OF_SERVICE})


def is_raise(change: AlarmChange) -> bool:
    """Tell whether a change is a new alarm for people, and not one that goes on."""
    return (
        change.state is AlarmState.UNACKNOWLEDGED_ACTIVE
        and change.previous_state is not AlarmState.UNACKNOWLEDGED_ACTIVE
    )

"""Live facts of the site: newest values, headcounts, positions, views, equipment seen missing.

Guarantees: of each source the newest word holds, by the source's own time, so a late value never
replaces one that came less than LATE_NS before it; a source whose clock was set back, or that once
sent a time far off, is heard again after that. Ages are monotonic (`mono_ns`), so a clock step
neither ages nor renews any. Why a camera cannot be judged is its latest reason, since when its
first one; a camera that delivers again, or whose process has started, may be covered still, and
only pictures end what kept them away.

Pure.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from drivers.contract import Quality

GOOD_SIMULATED = 0x02F0
LATE_NS = 10 * 1_000_000_000
"""Ours, from no document: longer than a message is on its way twice, far shorter than people may be
without a watch because a clock was set back."""
_NOT_FOR_ALARM = frozenset({
    Quality.GOOD_SIMULATED, Quality.UNCERTAIN_INHIBITED, Quality.UNCERTAIN_WARM_UP,
    Quality.UNCERTAIN_CALIBRATING, Quality.UNCERTAIN_UNDER_TEST,
})  # fmt: skip
MOST_CHANGES = 64
Scalar = str | int | float | bool
PPE_WORDS: Mapping[str, str] = {
    "no_helmet": "helmet", "helmet_missing": "helmet", "helmet": "helmet", "未戴安全帽": "helmet",
    "no_vest": "vest", "vest": "vest", "未穿反光衣": "vest",
    "no_uniform": "uniform", "uniform": "uniform", "未穿工作服": "uniform",
    "no_workwear": "uniform", "workwear": "uniform",
}  # fmt: skip
"""Words of vendors' AI boxes and of our own cameras for missing protective equipment."""
ITEM_ZH = {"helmet": "安全帽", "vest": "反光背心", "uniform": "工作服"}


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest value of a point. mono_ns: when it came.  since_ns: since when it is (not) usable.

    usable: neither bad nor uncertain nor simulated, and a number.
    """

    value: float
    quality: int
    time_ns: int
    mono_ns: int
    usable: bool
    since_ns: int

    @property
    def alarming(self) -> bool:
        """Tell whether it may raise an alarm: beyond the range or uncertain, it still may."""
        bad = self.quality & 0x8000
        return not bad and self.quality not in _NOT_FOR_ALARM and not math.isnan(self.value)


@dataclass(frozen=True, slots=True)
class Fix:
    """Where a card was last seen. area: as positioning calls it; x and y may be NaN."""

    area: str
    time_ns: int
    mono_ns: int
    longitude: float = math.nan
    latitude: float = math.nan


@dataclass(frozen=True, slots=True)
class Missing:
    """Protective equipment seen missing. mono_ns: last seen so; active: until it is told over."""

    item: str
    mono_ns: int
    active: bool


@dataclass(slots=True)
class Facts:
    """Everything known now; fed by the monitor only.

    people: by area name of positioning, (people, mono_ns, source time).
    blind: by camera, since when (monotonic) and why it cannot be judged now.
    causes: the same by camera and by what fails: its link, its process, its view.
    missing: by camera, item and zone; a vendor's box names no zone.
    left: cards and areas whose guardian positioning says has left, since when.
    """

    values: dict[str, Reading] = field(default_factory=dict)
    people: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    fixes: dict[str, Fix] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    blind: dict[str, tuple[int, str]] = field(default_factory=dict)
    causes: dict[str, dict[str, tuple[int, str]]] = field(default_factory=dict)
    missing: dict[tuple[str, str, str], Missing] = field(default_factory=dict)
    trails: dict[str, deque[tuple[int, float]]] = field(default_factory=dict)

    def value(self, name: str, value: float, quality: int, time_ns: int, mono_ns: int) -> None:
        """Take a value of a point."""
        before = self.values.get(name)
        if before is not None and _late(time_ns, before.time_ns, mono_ns - before.mono_ns):
            return
        usable = not quality & 0xC000 and quality != GOOD_SIMULATED and not math.isnan(value)
        since_ns = before.since_ns if before and before.usable == usable else mono_ns
        self.values[name] = Reading(value, quality, time_ns, mono_ns, usable, since_ns)
        self._trail(name, value if usable else math.nan, mono_ns)

    def since(self, name: str, holds: Callable[[float], bool]) -> int | None:
        """Monotonic time since which a number has been so without a break; None if it is not so.

        name: a point, or # and an area of positioning. Goes back over the last 64 changes.
        """
        began: int | None = None
        for mono_ns, value in reversed(self.trails.get(name, ())):
            if not holds(value):
                break
            began = mono_ns
        return began

    def last(self, name: str) -> float | None:
        """Newest number that was known; names as for `since`. None if there was none."""
        known = (value for _, value in reversed(self.trails.get(name, ())) if not math.isnan(value))
        return next(known, None)

    def event(
        self, kind: str, source: str, said: Mapping[str, Scalar], time_ns: int, mono_ns: int
    ) -> bool:
        """Take an event of a camera or of positioning; tells whether it meant anything."""
        match kind:
            case "intake.position_count":
                self._count(said, time_ns, mono_ns)
            case "intake.position":
                self._fix(said, time_ns, mono_ns)
            case "intake.position_alarm" if said.get("alarm") == "left_post":
                self._left_post(said, mono_ns)
            case "intake.picture":
                return self._seen(str(said.get("camera", "")), said, mono_ns)
            case "vision.no_helmet" | "vision.no_workwear":
                return self._seen(source, {"alarm": kind.removeprefix("vision."), **said}, mono_ns)
            case _:
                return self._camera(kind, source, said, mono_ns)
        return True

    def _camera(self, kind: str, camera: str, said: Mapping[str, Scalar], mono_ns: int) -> bool:
        """Take what says whether a camera of ours sees; tells whether it meant anything."""
        match kind:
            case "vision.camera_lost":
                self._blinded(camera, "link", mono_ns, str(said.get("reason", "lost")))
            case "vision.worker_lost":
                self._blinded(camera, "process", mono_ns, "its process is lost")
            case "vision.view" if said.get("view") != "clear":
                self._blinded(camera, "view", mono_ns, f"the view is {said.get('view')}")
            case "vision.view" | "vision.delivering" | "vision.camera_recovered":
                clear = said.get("view") == "clear"
                self._sees(camera, {"link", "process", *(["view"] if clear else [])})
            case "vision.started":
                self._stands(camera, str(said.get("standing", "")).split("\n"), mono_ns)
            case _:
                return False
        return True

    def _blinded(self, camera: str, what: str, mono_ns: int, why: str) -> None:
        causes = self.causes.setdefault(camera, {})
        since_ns, _ = causes.pop(what, (mono_ns, ""))
        causes[what] = since_ns, why
        self.blind[camera] = min(since for since, _ in causes.values()), why

    def _sees(self, camera: str, what: Collection[str]) -> None:
        causes = {k: v for k, v in self.causes.pop(camera, {}).items() if k not in what}
        self.blind.pop(camera, None)
        if causes:
            self.causes[camera] = causes
            *_, (_, why) = causes.values()
            self.blind[camera] = min(since for since, _ in causes.values()), why

    def _stands(self, camera: str, standing: Iterable[str], mono_ns: int) -> None:
        """Take what stands of a camera of ours: all that is seen missing by it, and no more."""
        wanted = {}
        for name in standing:
            zone, _, kind = name.rpartition("/")
            if zone and (item := PPE_WORDS.get(kind)) is not None:
                wanted[camera, item, zone] = Missing(item, mono_ns, active=True)
        gone = [key for key in self.missing if key[0] == camera and key[2] and key not in wanted]
        for key in gone:
            del self.missing[key]
        self.missing = wanted | self.missing

    def _count(self, said: Mapping[str, Scalar], time_ns: int, mono_ns: int) -> None:
        area, people = str(said.get("area", "")), said.get("people")
        before = self.people.get(area)
        if isinstance(people, bool | str | None):
            return
        if before is not None and _late(time_ns, before[2], mono_ns - before[1]):
            return
        self.people[area] = (int(people), mono_ns, time_ns)
        self._trail(f"#{area}", float(people), mono_ns)

    def _trail(self, name: str, value: float, mono_ns: int) -> None:
        trail = self.trails.setdefault(name, deque(maxlen=MOST_CHANGES))
        if not trail or trail[-1][1] != value:
            trail.append((mono_ns, value))

    def _fix(self, said: Mapping[str, Scalar], time_ns: int, mono_ns: int) -> None:
        card = str(said.get("card", ""))
        before = self.fixes.get(card)
        if before is not None and _late(time_ns, before.time_ns, mono_ns - before.mono_ns):
            return
        place = (said.get("longitude"), said.get("latitude"))
        numbers = [math.nan if isinstance(n, bool | str | None) else float(n) for n in place]
        self.fixes[card] = Fix(str(said.get("area", "")), time_ns, mono_ns, *numbers)

    def _left_post(self, said: Mapping[str, Scalar], mono_ns: int) -> None:
        for name in (said.get("card"), said.get("area")):
            if not isinstance(name, str) or not name:
                continue
            if said.get("active", True) is True:
                self.left.setdefault(name, mono_ns)
            else:
                self.left.pop(name, None)
            return

    def _seen(self, camera: str, said: Mapping[str, Scalar], mono_ns: int) -> bool:
        word = str(said.get("alarm") or said.get("item") or "")
        item = PPE_WORDS.get(word.strip().lower())
        if item is None or not camera:
            return False
        told = said.get("active")  # a vendor's picture has no end; our own cameras tell it
        key = (camera, item, str(said.get("zone", "")))
        if told is False:
            self.missing.pop(key, None)
        else:
            self.missing[key] = Missing(item, mono_ns, told is True)
        return True


def _late(time_ns: int, newest_ns: int, passed_ns: int) -> bool:
    """Tell whether a word is older than the newest one, which came `passed_ns` before it."""
    return time_ns < newest_ns and passed_ns < LATE_NS

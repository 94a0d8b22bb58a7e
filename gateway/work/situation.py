"""What a check is given, and what it finds.

A check is a pure function from a Situation to Findings. It knows nothing of alarms that stand: the
monitor compares what is found now with what stood before (standing.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.rules.rulebook import Rule
from gateway.work.almanac import Almanac, Reason
from gateway.work.facts import Facts, Reading
from gateway.work.gases import GasTable
from gateway.work.permit import Analysis, Kind, Level, Permit
from gateway.work.site import Area, GasPoint, Holds, PermitDevice

S_NS = 1_000_000_000
MINUTE_NS = 60 * S_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
FAR_NS = 10_000 * DAY_NS


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or will be.

    code: the alarm's condition.  rule: what it breaks.  en, zh: half a sentence each.
    left_ns: how long until it stands; 0 or less: it stands.  subject: tells apart findings of one
    code.  stop: people should stop work.  gate: the work does not count as active because of it.
    begun: it is so already and stands once it has lasted (left_ns); else left_ns says when it will.
    ends_ns: time until it is over by itself.  tells: other words while it stands are news.
    """

    code: str
    rule: Rule
    en: str
    zh: str
    value: float = math.nan
    limit: float = math.nan
    unit: str = ""
    subject: str = ""
    left_ns: int = 0
    priority: int = 2
    stop: bool = False
    gate: bool = False
    begun: bool = False
    ends_ns: int = FAR_NS
    tells: bool = False


def unknown(code: str, rule: Rule, subject: str = "") -> Finding:
    """What cannot be judged now: it raises nothing, and what stands goes on standing."""
    return Finding(code, rule, "", "", subject=subject, begun=True, left_ns=FAR_NS)


@dataclass(frozen=True)
class Situation:
    """One permit, everything about its area, and the time.

    level: grade that applies now, after raising.  special: why it was raised.  devices: those the
    permit names; unknown_codes: named, but not configured.  others: other permits at work.
    elsewhere: headcount points of zones that are another area's.
    now_ns is wall-clock time, mono_ns monotonic.
    """

    permit: Permit
    area: Area | None
    level: Level | None
    special: tuple[Reason, ...]
    analyses: tuple[Analysis, ...]
    devices: tuple[PermitDevice, ...]
    unknown_codes: tuple[str, ...]
    others: Sequence[Permit]
    facts: Facts
    holds: Holds
    gases: GasTable
    almanac: Almanac
    rule: Callable[[str], Rule]
    now_ns: int
    mono_ns: int
    watched_since_ns: int
    last_record_ns: int
    elsewhere: frozenset[str] = frozenset()

    @property
    def kind(self) -> Kind:
        """Kind of work."""
        return self.permit.kind

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras of the area, and the permit's own."""
        own = tuple(device.camera for device in self.devices if device.camera)
        return tuple(dict.fromkeys((*own, *(self.area.cameras if self.area else ()))))

    @property
    def gas_points(self) -> tuple[GasPoint, ...]:
        """Gas points of the area, and the permit's own detectors."""
        own = tuple(point for device in self.devices for point in device.gases)
        return tuple(dict.fromkeys((*own, *(self.area.gases if self.area else ()))))

    @property
    def continuous(self) -> bool:
        """Tell whether gas must be measured without a break: special grade, confined space."""
        hot = self.kind is Kind.HOT_WORK and self.level is Level.SPECIAL
        return hot or self.kind is Kind.CONFINED_SPACE

    def reading(self, name: str) -> Reading | None:
        """Newest value of a point, None if there is none or it is too old to say anything."""
        found = self.facts.values.get(name)
        if found is None or self.mono_ns - found.mono_ns > self.holds.silent_s * S_NS:
            return None
        return found

    def left(self, since_ns: int, hold_s: float) -> int:
        """Time until something that began at a monotonic time has lasted hold_s."""
        return since_ns + round(hold_s * S_NS) - self.mono_ns


Check = Callable[[Situation], Iterator[Finding]]

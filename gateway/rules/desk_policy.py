"""What a site decided about its alarms: which latch, which belong together, what suppresses what.

A pattern is matched against "source:condition", with * and ? as in file names; one without a colon
means every condition. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

MOST_ASIDE_NS = 8 * 3600 * 10**9
"""Longest shelf or outage unless a site says otherwise: one shift."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """While an alarm of source `cause` stands, those that `alarms` name are suppressed."""

    cause: str
    alarms: tuple[str, ...]
    reason: str

    def covers(self, key: tuple[str, str]) -> bool:
        """Tell whether an alarm is named; never the cause itself."""
        return key[0] != self.cause and matches(self.alarms, key)


@dataclass(frozen=True, slots=True)
class FirstOut:
    """Alarms of which the first one is told apart 首出报警."""

    name: str
    alarms: tuple[str, ...]


@dataclass(slots=True)
class DeskPolicy:
    """All of a site's decisions."""

    latching: tuple[str, ...] = ()
    groups: tuple[FirstOut, ...] = ()
    suppressions: tuple[Suppression, ...] = ()
    most_aside_ns: int = MOST_ASIDE_NS
    _group: dict[tuple[str, str], str] = field(default_factory=dict)

    def latches(self, key: tuple[str, str]) -> bool:
        """Tell whether an alarm latches."""
        return bool(self.latching) and matches(self.latching, key)

    def group_of(self, key: tuple[str, str]) -> str:
        """Name of the first-out group of an alarm, or empty."""
        if not self.groups:
            return ""
        if key not in self._group:
            found = (group.name for group in self.groups if matches(group.alarms, key))
            self._group[key] = next(found, "")
        return self._group[key]

    def suppressed_by(self, source: str) -> list[Suppression]:
        """Suppressions whose cause is a source."""
        return [one for one in self.suppressions if one.cause == source]


def matches(patterns: Iterable[str], key: tuple[str, str]) -> bool:
    """Tell whether one of the patterns names an alarm."""
    source, condition = key
    whole = f"{source}:{condition}"
    return any(fnmatchcase(whole if ":" in p else source, p) for p in patterns)

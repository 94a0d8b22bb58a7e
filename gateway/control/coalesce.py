"""What has changed between two looks at the plant, and what a slow watcher is told. Pure.

Guarantees:

- `apply(old, change)` is the new picture: whoever merges every change set holds what `state` says.
- Nothing queues: a watcher that missed a revision gets the newest whole picture, once.
- Equal pictures make no revision.

A picture is `alarms` by key, `counts`, and sections: name → item name → item. Items are compared
with ==; alarms by their mark, so that 10,000 rows are not compared field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Item = object
Sections = Mapping[str, Mapping[str, Item]]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm of a picture. mark: equal while the row is the same."""

    mark: object
    row: Row = field(compare=False)


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is shown, at one moment."""

    alarms: Mapping[str, Alarm] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    sections: Sections = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What leads from one picture to the next; an item of None is gone. counts: None if equal."""

    changed: Mapping[str, Alarm]
    gone: tuple[str, ...]
    counts: Mapping[str, Any] | None
    sections: Sections

    def any(self) -> bool:
        """Tell whether there is anything in it."""
        return bool(self.changed or self.gone or self.sections) or self.counts is not None


def difference(old: Picture, new: Picture) -> Change:
    """Tell what leads from `old` to `new`."""
    changed = {
        key: alarm
        for key, alarm in new.alarms.items()
        if key not in old.alarms or old.alarms[key].mark != alarm.mark
    }
    gone = tuple(key for key in old.alarms if key not in new.alarms)
    sections: dict[str, dict[str, Item]] = {}
    for name in {**old.sections, **new.sections}:
        before, now = old.sections.get(name, {}), new.sections.get(name, {})
        if before is now:
            continue
        items: dict[str, Item] = {k: v for k, v in now.items() if k not in before or before[k] != v}
        items |= dict.fromkeys(k for k in before if k not in now)
        if items:
            sections[name] = items
    counts = new.counts if new.counts != old.counts else None
    return Change(changed, gone, counts, sections)


def apply(old: Picture, change: Change) -> Picture:
    """Give the picture that `change` leads to; what a reader of change sets does."""
    alarms = {k: v for k, v in old.alarms.items() if k not in change.gone} | dict(change.changed)
    sections = {name: dict(items) for name, items in old.sections.items()}
    for name, items in change.sections.items():
        merged = {**sections.get(name, {}), **items}
        sections[name] = {k: v for k, v in merged.items() if v is not None}
    return Picture(alarms, old.counts if change.counts is None else change.counts, sections)


class Revisions:
    """Numbers the pictures and keeps the newest, with the change that led to it."""

    def __init__(self) -> None:
        self.number = 0
        self.picture = Picture()
        self.change = Change({}, (), None, {})

    def take(self, picture: Picture) -> bool:
        """Take what there is now; tells whether that is a new revision."""
        change = difference(self.picture, picture)
        if not change.any():
            return False
        self.number += 1
        self.picture, self.change = picture, change
        return True

    def owed(self, seen: int) -> Change | Picture | None:
        """Give what a watcher that has seen revision `seen` (-1: none) is to be told now."""
        if seen == self.number:
            return None
        return self.change if 0 <= seen == self.number - 1 else self.picture

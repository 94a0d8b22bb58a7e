"""What the gateway last said, and what of it a browser has not seen. Pure; time is monotonic.

Guarantees: a browser is a number, the revision it has seen, so that a slow one costs nothing and
gets, whenever it can take something, all that changed since then in one piece and in its newest
form, never a queue. Whoever is too far behind, or comes anew, gets the whole picture. The same
revision means the same picture. At most MOST_ROWS alarms and MOST_ITEMS items are held, and as many
names of those that are gone.

Revisions are of this view: the gateway's begin anew when it restarts. Without a line for STALE_NS,
or with the link lost, the picture is stale: the gateway sends at least a heartbeat every 5 s.

A line of the gateway is a whole state (`alarms` is a list of rows, `sections` holds all items) or a
change (`alarms` has `changed` rows and `gone` keys, `sections` the changed items, null for a gone
one); `alarm_count` and the rest are as the gateway says them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

STALE_NS = 12_000_000_000
MOST_ROWS = 2_000
MOST_ITEMS = 20_000
NEVER = -1
_OWN = {"ok", "kind", "alarms", "alarm_count", "sections"}
_IN_CHANGES = ("revision", "time_ns")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Frame:
    """What to tell a browser. event: "state" for all, "change" for what changed."""

    event: str
    revision: int
    content: Mapping[str, Any]


class _Table(Generic[K]):
    """Values by key in the order of their last change; a gone one is None."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[K, tuple[int, Any]] = OrderedDict()
        self._gone: OrderedDict[K, int] = OrderedDict()
        self.forgotten = NEVER
        """Whoever has seen less than this may have missed something that is gone."""

    def put(self, key: K, value: Any, revision: int) -> None:  # noqa: ANN401 - JSON of any shape
        """Take a value, None for a gone one."""
        if value is None:
            if self._held.pop(key, None) is not None:
                self._bury(key, revision)
            return
        held = self._held.get(key)
        if held is None or held[1] != value:
            self._gone.pop(key, None)
            self._held[key] = (revision, value)
            self._held.move_to_end(key)
        while len(self._held) > self._most:
            self._bury(self._held.popitem(last=False)[0], revision)

    def only(self, keys: Iterable[K], revision: int) -> None:
        """Let go of everything else."""
        kept = set(keys)
        for key in [key for key in self._held if key not in kept]:
            self.put(key, None, revision)

    def values(self) -> list[tuple[K, Any]]:
        """Everything."""
        return [(key, value) for key, (_, value) in self._held.items()]

    def since(self, seen: int) -> tuple[list[tuple[K, Any]], list[K]]:
        """What changed after `seen`, and what has gone after it."""
        changed: list[tuple[K, Any]] = []
        for key in reversed(self._held):
            at, value = self._held[key]
            if at <= seen:
                break
            changed.append((key, value))
        gone: list[K] = []
        for key in reversed(self._gone):
            if self._gone[key] <= seen:
                break
            gone.append(key)
        return changed[::-1], gone[::-1]

    def _bury(self, key: K, revision: int) -> None:
        self._gone[key] = revision
        self._gone.move_to_end(key)
        while len(self._gone) > self._most:
            self.forgotten = self._gone.popitem(last=False)[1]


class View:
    """The newest picture."""

    def __init__(self, most_rows: int = MOST_ROWS, most_items: int = MOST_ITEMS) -> None:
        self.revision = 0
        self.connected = False
        self.said = "the gateway has not answered yet"
        self._heard_ns = 0
        self._whole_from = NEVER
        self._head: dict[str, Any] = {}
        self._counts: tuple[int, Any] = (0, {})
        self._rows: _Table[str] = _Table(most_rows)
        self._items: _Table[tuple[str, str]] = _Table(most_items)

    def stale(self, now_ns: int) -> bool:
        """Tell whether the picture may be old."""
        return not self.connected or now_ns - self._heard_ns > STALE_NS

    def lost(self, text: str) -> None:
        """Take the loss of the link: the picture stays, and is stale."""
        self.connected, self.said = False, text

    def feed(self, line: Mapping[str, Any], *, now_ns: int) -> None:
        """Take a line of the gateway.

        Raises ValueError, KeyError, TypeError or AttributeError for one that makes no sense; the
        link is then to be given up, and the whole state that the next begins with mends the rest.
        """
        whole = isinstance(line.get("alarms"), list)
        if not self.connected and not whole:
            raise ValueError("a link begins with the whole state")
        if whole or any(name in line for name in ("alarms", "alarm_count", "sections")):
            self.revision += 1
            if whole:
                self._whole(line)
            else:
                self._change(line)
            if not self.connected:
                self._whole_from = self.revision
        self._head |= {name: value for name, value in line.items() if name not in _OWN}
        self._heard_ns, self.connected = now_ns, True

    def since(self, seen: int) -> Frame | None:
        """What a browser that has seen `seen` lacks; None for nothing."""
        if self._whole_from == NEVER or seen == self.revision:
            return None
        oldest = max(self._whole_from, self._rows.forgotten, self._items.forgotten)
        if not oldest <= seen < self.revision:
            return self.whole()
        content = {name: self._head[name] for name in _IN_CHANGES if name in self._head}
        changed, gone = self._rows.since(seen)
        if changed or gone:
            content["alarms"] = {"changed": [row for _, row in changed], "gone": gone}
        if self._counts[0] > seen:
            content["alarm_count"] = self._counts[1]
        items, gone_items = self._items.since(seen)
        sections = _nested([*items, *((key, None) for key in gone_items)])
        if sections:
            content["sections"] = sections
        return Frame("change", self.revision, content)

    def whole(self) -> Frame | None:
        """All of it; None before the gateway has said anything."""
        if self._whole_from == NEVER:
            return None
        content = {
            **self._head,
            "alarms": [row for _, row in self._rows.values()],
            "alarm_count": self._counts[1],
            "sections": _nested(self._items.values()),
        }
        return Frame("state", self.revision, content)

    def _whole(self, line: Mapping[str, Any]) -> None:
        rows = {str(row["key"]): row for row in line["alarms"]}
        items = _flat(line.get("sections", {}))
        self._rows.only(rows, self.revision)
        self._items.only((key for key, _ in items), self.revision)
        self._take(rows, items, line)

    def _change(self, line: Mapping[str, Any]) -> None:
        alarms = line.get("alarms", {})
        for key in alarms.get("gone", ()):
            self._rows.put(str(key), None, self.revision)
        rows = {str(row["key"]): row for row in alarms.get("changed", ())}
        self._take(rows, _flat(line.get("sections", {})), line)

    def _take(
        self,
        rows: Mapping[str, Any],
        items: Iterable[tuple[tuple[str, str], Any]],
        line: Mapping[str, Any],
    ) -> None:
        for key, row in rows.items():
            self._rows.put(key, row, self.revision)
        for place, value in items:
            self._items.put(place, value, self.revision)
        counts = line.get("alarm_count", self._counts[1])
        if counts != self._counts[1]:
            self._counts = (self.revision, counts)


def _flat(sections: Mapping[str, Mapping[str, Any]]) -> list[tuple[tuple[str, str], Any]]:
    return [
        ((name, item), value) for name, held in sections.items() for item, value in held.items()
    ]


def _nested(items: Iterable[tuple[tuple[str, str], Any]]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for (name, item), value in items:
        nested.setdefault(name, {})[item] = value
    return nested

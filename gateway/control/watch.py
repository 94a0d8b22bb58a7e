"""`state` and `watch`: the picture of the plant once, or whenever it changes.

Guarantees: all watchers share one picture and its encoding; without a watcher nothing runs. A
watcher is told at most once in STEP_NS, and is asked for room first: one that is slow gets the
newest whole picture, never a queue. While nothing changes it gets a heartbeat every HEARTBEAT_NS.
At most MOST_WATCHERS. It holds no task: each watcher's connection looks for itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from drivers.contract import Clock
from gateway.control.coalesce import Change, Picture, Revisions
from gateway.control.picture import PlantView
from gateway.control.server import Answer, Handler, encoded

STEP_NS = 250_000_000
HEARTBEAT_NS = 5_000_000_000
MOST_WATCHERS = 8


class Watch:
    """Answers `state` and `watch`."""

    def __init__(self, view: PlantView, clock: Clock, begin: Callable[[], object]) -> None:
        """begin: called when somebody begins to watch."""
        self._view = view
        self._begin = begin
        self._clock = clock
        self._revisions = Revisions()
        self._told: tuple[int, dict[bool, bytes]] = (-1, {})
        self.watchers = 0

    def handlers(self) -> dict[str, Handler]:
        """Make the handlers, by what is asked."""
        return {"state": self._state, "watch": self._watch}

    def _state(self, _request: Mapping[str, Any]) -> Answer:
        self._look()
        return self._whole()

    def _watch(self, _request: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        if self.watchers >= MOST_WATCHERS:
            raise ValueError(f"{MOST_WATCHERS} watch already, and that is the most")
        self._begin()
        return self._lines()

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        self.watchers += 1
        try:
            seen, told_ns = -1, 0
            while True:
                self._look()
                now_ns = self._clock.monotonic_ns()
                owed = self._revisions.owed(seen)
                if owed is not None or seen < 0:
                    whole = isinstance(owed, Picture) or seen < 0
                    seen, told_ns = self._revisions.number, now_ns
                    yield self._line(whole=whole)
                elif now_ns - told_ns >= HEARTBEAT_NS:
                    told_ns = now_ns
                    yield encoded(self._head("heartbeat"))
                await self._clock.sleep_until(self._clock.monotonic_ns() + STEP_NS)
        finally:
            self.watchers -= 1

    def _look(self) -> None:
        self._revisions.take(self._view.look())

    def _line(self, *, whole: bool) -> bytes:
        """The line of the present revision, encoded once for all who are owed it."""
        number, lines = self._told
        if number != self._revisions.number:
            lines = {}
            self._told = (self._revisions.number, lines)
        if whole not in lines:
            said = {"ok": True, **self._whole()} if whole else self._changed()
            lines[whole] = encoded(said)
        return lines[whole]

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "kind": kind,
            "revision": self._revisions.number,
            "time_ns": self._clock.wall_ns(),
        }

    def _whole(self) -> dict[str, Any]:
        picture, facts = self._revisions.picture, self._view.facts
        return self._head("state") | {
            "site": {
                "gateway": facts.gateway,
                "enterprise": facts.enterprise,
                "software": facts.software,
                "descriptions": dict(facts.descriptions),
            },
            "alarms": [alarm.row for alarm in picture.alarms.values()],
            "alarm_count": dict(picture.counts),
            "sections": {name: dict(items) for name, items in picture.sections.items()},
        }

    def _changed(self) -> dict[str, Any]:
        change: Change = self._revisions.change
        said = self._head("change")
        if change.changed or change.gone:
            said["alarms"] = {
                "changed": [alarm.row for alarm in change.changed.values()],
                "gone": list(change.gone),
            }
        if change.counts is not None:
            said["alarm_count"] = dict(change.counts)
        if change.sections:
            said["sections"] = {name: dict(items) for name, items in change.sections.items()}
        return said

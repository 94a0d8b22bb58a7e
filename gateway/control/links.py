"""How the sources stand, from their events: connected or not, since when, and why not. Pure.

Guarantees: a source that nobody has said anything of yet is `None`, neither up nor down. Of a line
with several units one that is silent does not make the line silent; it is named. A camera is up
once pictures come: that its process has started says nothing of it, nor, that it delivers again, of
a lens that was covered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

UP = frozenset({"link.up", "vision.delivering", "vision.camera_recovered"})
DOWN = frozenset({"link.down", "vision.camera_lost", "vision.worker_lost", "part.failed"})
VIEW, CLEAR = "vision.view", "clear"
RECORDING: Mapping[str, bool] = {
    "vision.recording_started": True,
    "vision.recording_ended": False,
    "vision.recorder_lost": False,
}
KINDS = UP | DOWN | {VIEW} | RECORDING.keys()


@dataclass(slots=True)
class Link:
    """One source. text: why it is not connected, or empty. view: what is wrong with a picture."""

    connected: bool | None = None
    since_ns: int = 0
    text: str = ""
    view: str = ""
    recording: bool | None = None
    units: dict[str, str] = field(default_factory=dict)


class Links:
    """State of all sources that ever said something."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}

    def feed(
        self, kind: str, source: str, time_ns: int, text: str, attributes: Mapping[str, str]
    ) -> None:
        """Take an event; kinds that say nothing of a link are passed over."""
        if kind not in KINDS:
            return
        link = self._links.setdefault(source, Link())
        if attributes.get("view") == CLEAR:
            link.view = ""
        if kind in RECORDING:
            link.recording = RECORDING[kind]
        elif kind == VIEW:
            view = attributes.get("view", "")
            link.view = "" if view == CLEAR else view
        elif "unit" in attributes:
            self._unit(link, attributes["unit"], text if kind in DOWN else "")
        elif (kind in UP) is not link.connected or kind in DOWN:
            link.since_ns = link.since_ns if link.connected is (kind in UP) else time_ns
            link.connected = kind in UP
            link.text = "" if link.connected else text

    def of(self, name: str) -> Link:
        """State of one source."""
        return self._links.get(name) or Link()

    def _unit(self, link: Link, unit: str, trouble: str) -> None:
        if trouble:
            link.units[unit] = trouble
        else:
            link.units.pop(unit, None)

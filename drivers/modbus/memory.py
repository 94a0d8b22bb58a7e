"""What was learned about a device, kept in a file over restarts.

Guarantees: a file that is missing, torn or of another form is the same as none: the search is made
again. The file is replaced whole, so a power cut leaves the old one or the new one. What is
remembered is only ever left out of requests and asked again rarely; it never makes a value.

    {"version": 2, "units": {"17": {"illegal": [["HOLDING", 30, 1]], "cuts": [["HOLDING", 4, 60]]}}}

An illegal value is area, address, registers; a cut is area, address, seconds until it is tried
again. Version 1 had cuts without seconds; it is still read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from drivers.modbus.codec import Area
from drivers.modbus.learn import Cut, Lessons
from drivers.modbus.plan import Span

_VERSION = 2
_READABLE = frozenset({1, _VERSION})


class Memory:
    """Lessons of the units of one device in `folder`; without a folder it forgets."""

    def __init__(self, folder: Path | None, device: str) -> None:
        name = re.sub(r"[^\w.-]", "_", device)
        self._path = folder / f"modbus-{name}.json" if folder is not None else None
        self._saved: str | None = None

    def recall(self, units: Mapping[int, Lessons], now_ns: int) -> None:
        """Give lessons back what was saved. now_ns: monotonic, for when to ask again."""
        if self._path is None:
            return
        try:
            text = self._path.read_text(encoding="utf-8")
            saved = json.loads(text)
            if saved["version"] not in _READABLE:
                return
            for number, known in saved["units"].items():
                lessons = units.get(int(number))
                if lessons is not None:
                    illegal = [Span(Area[a], int(s), int(c)) for a, s, c in known["illegal"]]
                    cuts = {
                        Cut(Area[area], int(address)): int(*pause_s or (0,)) * 10**9
                        for area, address, *pause_s in known["cuts"]
                    }
                    lessons.recall(illegal, cuts, now_ns)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return  # searched anew

    def save(self, units: Mapping[int, Lessons]) -> None:
        """Write what is known now if it has changed; a disk that refuses is left alone."""
        if self._path is None:
            return
        text = json.dumps({"version": _VERSION, "units": {
            str(number): {
                "illegal": sorted([s.area.name, s.start, s.count] for s in lessons.illegal),
                "cuts": sorted([cut.area.name, cut.address, pause_ns // 10**9]
                               for cut, pause_ns in lessons.pauses_ns.items()),
            }
            for number, lessons in units.items()
            if lessons.probing
        }})  # fmt: skip
        if text == self._saved:
            return
        partial = self._path.with_suffix(".partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(text, encoding="utf-8")
            partial.replace(self._path)
        except OSError:
            return  # the lessons are only a saving of time
        self._saved = text

"""When a file that seems damaged is verified, and when it is repaired while the gateway runs. Pure.

Guarantees: a file is repaired only where a verification found it damaged, or where its writer met
damage again soon after one that found none. One step runs at a time a file. Repairs of a file are
FIRST_WAIT_NS apart, then twice as long each time, up to MOST_WAIT_NS: a dying disk is not filled
with copies that are set aside. What is suspected meanwhile is looked at when that is over.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

FIRST_WAIT_NS = 60 * 10**9
MOST_WAIT_NS = 24 * 3_600 * 10**9
SOUND_NS = 600 * 10**9
"""So long a file that was found sound is believed to be, unless its writer says otherwise."""


class Step(enum.Enum):
    """What is to be done with a file now."""

    NOTHING = enum.auto()
    VERIFY = enum.auto()
    REPAIR = enum.auto()


@dataclass(slots=True)
class _File:
    is_busy: bool = False
    sound_until_ns: int | None = None
    wait_ns: int = FIRST_WAIT_NS
    not_before_ns: int | None = None
    suspected: str = ""


class Mending:
    """Of each file, by name, what is under way. Times are monotonic."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def suspected(self, name: str, why: str, *, by_writer: bool, now_ns: int) -> Step:
        """Take that a file may be damaged; by_writer: because it cannot be written to."""
        file = self._file(name)
        if file.is_busy:
            return Step.NOTHING
        sound = file.sound_until_ns is not None and now_ns < file.sound_until_ns
        if sound and not by_writer:
            return Step.NOTHING
        file.suspected = why
        if file.not_before_ns is not None and now_ns < file.not_before_ns:
            return Step.NOTHING
        file.is_busy = True
        return Step.REPAIR if sound else Step.VERIFY

    def due(self, name: str, now_ns: int) -> Step:
        """Tell what is to be done with a file that had to wait."""
        file = self._files.get(name)
        if file is None or not file.suspected or file.is_busy or file.not_before_ns is None:
            return Step.NOTHING
        return self.suspected(name, file.suspected, by_writer=False, now_ns=now_ns)

    def verified(self, name: str, damage: str, now_ns: int) -> Step:
        """Take what a verification found; "" where the file is sound."""
        file = self._file(name)
        file.suspected = damage
        if damage:
            return Step.REPAIR
        file.is_busy = False
        file.sound_until_ns = now_ns + SOUND_NS
        return Step.NOTHING

    def repaired(self, name: str, now_ns: int, *, failed: bool) -> None:
        """Take that a repair has ended."""
        file = self._file(name)
        file.is_busy, file.sound_until_ns = False, None
        if not failed:
            file.suspected = ""
        file.not_before_ns = now_ns + file.wait_ns
        file.wait_ns = min(2 * file.wait_ns, MOST_WAIT_NS)

    def why(self, name: str) -> str:
        """Why a file is suspected, or what is wrong with it."""
        return self._file(name).suspected

    def _file(self, name: str) -> _File:
        return self._files.setdefault(name, _File())

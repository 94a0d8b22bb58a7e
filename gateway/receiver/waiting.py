"""Telemetry groups that wait for their catalogue. Pure.

A key names its catalogue, its deltas do not; what was held back must take its deltas with it.
Forgetting a group is harmless: its deltas are stored, and wait for their key in the store.
"""

from __future__ import annotations

from collections.abc import Callable

from buffer.contract import Stream
from gateway.receiver.check import Entry

HELD_GROUPS = 4096
"""Groups remembered; 2,000 gateways that all come with a catalogue nobody has seen."""


class WaitingGroups:
    """Decides for each telemetry record whether it must wait, and for which catalogue."""

    def __init__(self, holds: Callable[[bytes], bool]) -> None:
        """holds: tells whether the store has a catalogue (32-byte hash)."""
        self._holds = holds
        self._waiting: dict[tuple[int, int], bytes] = {}

    def needed(self, log: int, stream: Stream, entry: Entry) -> bytes:
        """Hash of the catalogue for want of which a record is held back, or empty."""
        if stream is not Stream.TELEMETRY:
            return b""
        group = (log, entry.group)
        catalogue = entry.catalogue or self._waiting.get(group, b"")
        if not catalogue or self._holds(catalogue):
            if entry.catalogue:
                self._waiting.pop(group, None)
            return b""
        self._waiting[group] = catalogue
        if len(self._waiting) > HELD_GROUPS:
            del self._waiting[next(iter(self._waiting))]
        return catalogue

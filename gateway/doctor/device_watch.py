"""What one device said while it was tried: newest value and quality of each point. Pure.

Guarantees: `settled` only once every point has been told and nothing has changed for some turns of
whoever waits; turns are counted, not seconds, so a machine that stalls ends nothing early.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drivers.contract import SEVERITY_MASK, Batch, Float64Array, Int32Array, SourceEvent

UNTOLD = -1
"""Quality of a point that nothing has been heard of."""
CALM_TURNS = 12
"""Turns without news after which bad points are what they are: a search for refused registers, and
a server's answers, come in pieces."""
_ROUTINE = frozenset({"link.up", "device.period"})


class DeviceWatch:
    """Of a device with `count` points, whose ids are 1 to count."""

    def __init__(self, count: int) -> None:
        self.quality: Int32Array = np.full(count, UNTOLD, np.int32)
        self.values: Float64Array = np.full(count, np.nan)
        self.texts: dict[int, str] = {}
        self.events: list[SourceEvent] = []
        self.lost = ""
        self.ran_out = False
        self._calm = 0

    def feed(self, item: Batch | SourceEvent) -> None:
        """Take what the driver emitted."""
        if isinstance(item, SourceEvent):
            self.events.append(item)
            if item.kind not in _ROUTINE:
                self._calm = 0
            return
        places = item.points - 1
        news = np.array(item.quality, np.int32)
        if not np.array_equal(self.quality[places], news):
            self._calm = 0
        self.quality[places] = news
        if isinstance(item.values, tuple):
            self.texts.update(zip(places.tolist(), item.values, strict=True))
        else:
            self.values[places] = item.values.astype(np.float64)

    def turn(self) -> bool:
        """Count a turn of whoever waits; tells whether more will hardly come."""
        if self.lost:
            return True
        if (self.quality == UNTOLD).any():
            return False
        if ((self.quality & SEVERITY_MASK) == 0).all():
            return True
        self._calm += 1
        return self._calm >= CALM_TURNS

    def places(self, qualities: Sequence[int]) -> list[int]:
        """Places, from 0, of points that have one of these qualities."""
        found: list[int] = np.flatnonzero(np.isin(self.quality, np.array(qualities))).tolist()
        return found


__all__ = ["CALM_TURNS", "UNTOLD", "DeviceWatch"]

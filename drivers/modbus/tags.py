"""Tags of points by id, for the rare sentence that names them, in the room of their letters.

100,000 strings in dictionaries would take 15 MB for the life of the gateway. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from drivers.contract import DriverPoint
from drivers.modbus.config import ModbusAddress

_BETWEEN = "\n"  # no tag holds one: a tag is printable


class Tags:
    """Ids and tags of some points."""

    def __init__(self, points: Sequence[DriverPoint[ModbusAddress]]) -> None:
        self._ids = np.array([point.id for point in points], np.int32)
        self._tags = _BETWEEN.join(point.tag for point in points)

    def of(self, ids: Iterable[int]) -> list[str]:
        """Tags of these ids, in their order; ids that are none of the points have none."""
        wanted = list(ids)
        places = np.flatnonzero(np.isin(self._ids, wanted)).tolist()
        tags = self._tags.split(_BETWEEN)
        found = {int(self._ids[at]): tags[at] for at in places}
        return [found[number] for number in wanted if number in found]

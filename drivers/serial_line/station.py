"""One device on the line: its frames, its one request, and how long it has been silent. Pure.

Guarantees: the request is the same bytes for the life of the driver; a device that is down is asked
again after 1, 2, 4 … 32 polls, so that it costs the others on the line little.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.contract import DriverPoint
from drivers.serial_line.codec import FrameFormat
from drivers.serial_line.columns import Columns
from drivers.serial_line.config import SerialAddress, SerialLineConfig, address_of
from drivers.serial_line.description import Description

_LONGEST_REST_POLLS = 32


class Station:
    """State of one device. heard_ns: monotonic time of its last good frame, or of the start."""

    def __init__(
        self,
        address: str,
        description: Description,
        points: Sequence[DriverPoint[SerialAddress]],
        lost_after: int,
    ) -> None:
        self.address = address
        self.format = FrameFormat(description, address)
        self.columns = Columns(points)
        self.request = b"" if description.listens else description.request_for(address)
        self.heard_ns = 0
        self.told_bad = False
        self.told_down = False
        self.silences = 0
        self._lost_after = lost_after
        self._rest_polls = 0

    def restart(self, now_ns: int) -> None:
        """Begin a run."""
        self.heard_ns = now_ns
        self.told_bad = False
        self.silences = self._rest_polls = 0

    @property
    def down(self) -> bool:
        """Whether it has not answered for too long."""
        return self.silences >= self._lost_after

    def turn(self) -> bool:
        """Whether to ask it in this poll."""
        self._rest_polls -= 1
        return self._rest_polls < 0

    def heard(self, now_ns: int) -> None:
        """Note a good frame."""
        self.heard_ns = now_ns
        self.told_bad = False
        self.silences = self._rest_polls = 0

    def unheard(self) -> None:
        """Note a request without a good answer."""
        self.silences += 1
        if self.down:
            self._rest_polls = min(
                2 ** min(self.silences - self._lost_after, 5), _LONGEST_REST_POLLS
            )


def make_stations(
    config: SerialLineConfig,
    description: Description,
    points: Sequence[DriverPoint[SerialAddress]],
) -> list[Station]:
    """Stations of a device entry, in the order of their addresses."""
    by_address: dict[str, list[DriverPoint[SerialAddress]]] = {}
    for point in points:
        by_address.setdefault(address_of(config, point), []).append(point)
    return [
        Station(address, description, by_address[address], config.lost_after)
        for address in sorted(by_address)
    ]


__all__ = ["Station", "make_stations"]

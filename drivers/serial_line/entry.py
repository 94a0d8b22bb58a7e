"""Makes the driver; pyserial is imported only when a site uses it."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.contract import Clock, Driver, DriverPoint
from drivers.serial_line.config import SerialAddress, SerialLineConfig


def open_driver(
    name: str,
    config: SerialLineConfig,
    points: Sequence[DriverPoint[SerialAddress]],
    clock: Clock,
) -> Driver:
    """Make a driver; `run` opens the port."""
    from drivers.serial_line.driver import SerialLine

    return SerialLine(name, config, points, clock)


__all__ = ["open_driver"]

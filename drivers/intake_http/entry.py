"""Makes the driver; aiohttp is imported only when a site uses it."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.contract import Clock, Driver, DriverPoint
from drivers.intake.settings import ExternalAddress
from drivers.intake_http.config import HttpIntakeConfig


def open_driver(
    name: str,
    config: HttpIntakeConfig,
    points: Sequence[DriverPoint[ExternalAddress]],
    clock: Clock,
) -> Driver:
    """Make a driver; `run` binds the address."""
    from drivers.intake_http.client import HttpIntake

    return HttpIntake(name, config, points, clock)


__all__ = ["open_driver"]

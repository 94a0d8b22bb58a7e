"""Makes the driver; nothing is looked at before `run`."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.contract import Clock, Driver, DriverPoint
from drivers.intake.settings import ExternalAddress
from drivers.intake_folder.config import FolderIntakeConfig


def open_driver(
    name: str,
    config: FolderIntakeConfig,
    points: Sequence[DriverPoint[ExternalAddress]],
    clock: Clock,
) -> Driver:
    """Make a driver; `run` watches the folder."""
    from drivers.intake_folder.driver import FolderIntake

    return FolderIntake(name, config, points, clock)


__all__ = ["open_driver"]

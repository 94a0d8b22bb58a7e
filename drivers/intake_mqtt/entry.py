"""Makes the driver; aiomqtt is imported only when a site uses it."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.contract import Clock, Driver, DriverPoint
from drivers.intake.settings import ExternalAddress
from drivers.intake_mqtt.config import MqttIntakeConfig


def open_driver(
    name: str,
    config: MqttIntakeConfig,
    points: Sequence[DriverPoint[ExternalAddress]],
    clock: Clock,
) -> Driver:
    """Make a driver; `run` connects."""
    from drivers.intake_mqtt.driver import MqttIntake

    return MqttIntake(name, config, points, clock)


__all__ = ["open_driver"]

"""Intake of site systems over MQTT: subscribes and acknowledges, never publishes; see README.md."""

from drivers.contract import DriverType
from drivers.intake.settings import ExternalAddress, kind_of
from drivers.intake_mqtt.config import MqttIntakeConfig, check
from drivers.intake_mqtt.entry import open_driver

DRIVER: DriverType[MqttIntakeConfig, ExternalAddress] = DriverType(
    name="intake_mqtt",
    config=MqttIntakeConfig,
    address=ExternalAddress,
    kind=kind_of,
    check=check,
    open=open_driver,
)

__all__ = ["DRIVER"]

"""Devices with ASCII frames of their own, on a serial line: asks or listens; see README.md."""

from drivers.contract import DriverType
from drivers.serial_line.config import SerialAddress, SerialLineConfig, check, kind_of
from drivers.serial_line.entry import open_driver

DRIVER: DriverType[SerialLineConfig, SerialAddress] = DriverType(
    name="serial_line",
    config=SerialLineConfig,
    address=SerialAddress,
    kind=kind_of,
    check=check,
    open=open_driver,
)

__all__ = ["DRIVER"]

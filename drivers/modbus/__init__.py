"""Modbus TCP driver: reads coils, discrete inputs and registers of one unit; writes nothing."""

from drivers.contract import DriverType
from drivers.modbus.client import ModbusDriver
from drivers.modbus.config import ModbusAddress, ModbusConfig, check, kind

DRIVER: DriverType[ModbusConfig, ModbusAddress] = DriverType(
    name="modbus",
    config=ModbusConfig,
    address=ModbusAddress,
    kind=kind,
    check=check,
    open=ModbusDriver,
)

__all__ = ["DRIVER", "ModbusAddress", "ModbusConfig", "ModbusDriver"]

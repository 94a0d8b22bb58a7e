"""Modbus driver: reads coils, discrete inputs and registers; writes nothing."""

from drivers.contract import DriverType
from drivers.modbus.client import ModbusDriver
from drivers.modbus.config import ModbusAddress, ModbusConfig, check, kind
from drivers.modbus.listen_only import open_driver

DRIVER: DriverType[ModbusConfig, ModbusAddress] = DriverType(
    name="modbus",
    config=ModbusConfig,
    address=ModbusAddress,
    kind=kind,
    check=check,
    open=open_driver,
)

__all__ = ["DRIVER", "ModbusAddress", "ModbusConfig", "ModbusDriver"]

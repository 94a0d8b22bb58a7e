"""OPC UA driver: subscription with batched notifications; see README.md."""

from drivers.contract import DriverType
from drivers.opcua.config import OpcUaAddress, OpcUaConfig
from drivers.opcua.entry import check, kind_of, open_driver

DRIVER = DriverType(
    name="opcua",
    config=OpcUaConfig,
    address=OpcUaAddress,
    kind=kind_of,
    check=check,
    open=open_driver,
)

__all__ = ["DRIVER"]

"""Intake of site systems by files, for one-way gates 单向网闸; see README.md."""

from drivers.contract import DriverType
from drivers.intake.settings import ExternalAddress, kind_of
from drivers.intake_folder.config import FolderIntakeConfig, check
from drivers.intake_folder.entry import open_driver

DRIVER: DriverType[FolderIntakeConfig, ExternalAddress] = DriverType(
    name="intake_folder",
    config=FolderIntakeConfig,
    address=ExternalAddress,
    kind=kind_of,
    check=check,
    open=open_driver,
)

__all__ = ["DRIVER"]

"""Intake of site systems over HTTP: permits, positions, samples, pictures; see README.md."""

from drivers.contract import DriverType
from drivers.intake.settings import ExternalAddress, kind_of
from drivers.intake_http.config import HttpIntakeConfig, check
from drivers.intake_http.entry import open_driver

DRIVER: DriverType[HttpIntakeConfig, ExternalAddress] = DriverType(
    name="intake_http",
    config=HttpIntakeConfig,
    address=ExternalAddress,
    kind=kind_of,
    check=check,
    open=open_driver,
)

__all__ = ["DRIVER"]

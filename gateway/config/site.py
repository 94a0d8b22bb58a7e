"""A site as it was configured: validated whole, immutable, nothing opened or connected yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.contract import DriverPoint, DriverType, StrictModel, ValueKind
from drivers.point_table import PointRow, PointRows
from gateway.config.alarms import AlarmsConfig
from gateway.config.model import (
    BufferSettings,
    EquipmentConfig,
    GatewayConfig,
    HazardConfig,
    LogConfig,
    MetricsConfig,
    PlaceConfig,
    RecordingConfig,
    UplinkConfig,
)
from gateway.config.problems import ConfigProblem
from gateway.model.point import Limits, Point
from gateway.rules.area_count import AreaSpec
from gateway.rules.condition_spec import AlarmSpec
from gateway.rules.gathering import GatheringSpec
from gateway.rules.rulebook import RuleBooks
from vision.tags import ANALYSED_FPS, LONGEST_STAY, RECORDING, all_tags

if TYPE_CHECKING:
    from gateway.config.console import ConsoleConfig
    from gateway.config.notify import NotifyParts
    from gateway.config.work import WorkParts
    from vision.config import CameraConfig


STATE_DIR = "state_dir"  # the key by which a driver's configuration asks for a folder
DEVICES = "devices"


@dataclass(frozen=True, slots=True)
class Device:
    """One [[device]]: its driver, the driver's own configuration, its point table."""

    name: str
    driver: DriverType[Any, Any]
    config: StrictModel
    rows: PointRows[Any]
    table: str

    def names(self) -> list[str]:
        """Point names, `device/tag`, in table order."""
        return [f"{self.name}/{tag}" for tag in self.rows.tags]

    def driver_points(self, ids: Mapping[str, int]) -> list[DriverPoint[Any]]:
        """Points as the driver takes them; ids by point name (KeyError if one is missing)."""
        return [
            DriverPoint(ids[name], row.tag, row.address, row.row)
            for name, row in zip(self.names(), self.rows, strict=True)
        ]

    def points(self, ids: Mapping[str, int]) -> list[Point]:
        """Points as the gateway knows them; ids by point name (KeyError if one is missing)."""
        return [
            _point(ids[name], name, row, self.driver.kind(row.address))
            for name, row in zip(self.names(), self.rows, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Site:
    """Everything of one site file. `folder` is what its relative paths are relative to."""

    path: Path
    gateway: GatewayConfig
    devices: tuple[Device, ...]
    cameras: tuple[CameraConfig, ...]
    uplinks: tuple[UplinkConfig, ...]
    hazards: tuple[HazardConfig, ...]
    places: tuple[PlaceConfig, ...]
    equipment: tuple[EquipmentConfig, ...]
    metrics: MetricsConfig
    recording: RecordingConfig
    buffer: BufferSettings
    log: LogConfig
    alarms: AlarmsConfig
    rules: RuleBooks
    alarm_specs: tuple[AlarmSpec, ...]
    areas: tuple[AreaSpec, ...]
    gatherings: tuple[GatheringSpec, ...]
    work: WorkParts | None = None
    notify: NotifyParts | None = None
    console: ConsoleConfig | None = None
    warnings: tuple[ConfigProblem, ...] = ()

    @property
    def folder(self) -> Path:
        """The site file's folder, absolute."""
        return self.path.absolute().parent

    def point_names(self) -> list[str]:
        """Names of all points in the order of the file, devices before cameras."""
        return point_names(self.devices, self.cameras)

    def points(self, ids: Mapping[str, int]) -> list[Point]:
        """All points; ids by point name, as `assign_ids(known, site.point_names())` gives them."""
        points = [point for device in self.devices for point in device.points(ids)]
        for camera in self.cameras:
            for tag in all_tags(camera):
                name = f"{camera.name}/{tag}"
                unit = {ANALYSED_FPS: "1/s", RECORDING: ""}.get(tag, "persons")
                unit = "s" if tag.endswith(LONGEST_STAY) else unit
                points.append(Point(ids[name], name, unit=unit))
        return points


def point_names(devices: Iterable[Device], cameras: Iterable[CameraConfig]) -> list[str]:
    """Names of the points of devices and cameras, in their order."""
    names = [name for device in devices for name in device.names()]
    return names + [f"{cam.name}/{tag}" for cam in cameras for tag in all_tags(cam)]


def with_state_dir(device: Device, data_dir: Path) -> Device:
    """Give a driver that remembers things a folder in the data directory, unless it has one."""
    if getattr(device.config, STATE_DIR, data_dir) is not None:
        return device
    config = device.config.model_copy(update={STATE_DIR: data_dir / DEVICES})
    return replace(device, config=config)


def without_state_dir(device: Device, data_dir: Path) -> Device:
    """Take away the folder that `with_state_dir` gave in a data directory."""
    if getattr(device.config, STATE_DIR, None) != data_dir / DEVICES:
        return device
    return replace(device, config=device.config.model_copy(update={STATE_DIR: None}))


def in_full(name: str, alarm_of: str) -> str:
    """Name of the alarm that a bit called `name` is: a bare tag is of the same device."""
    here = name.partition("/")[0]
    return alarm_of if not alarm_of or "/" in alarm_of else f"{here}/{alarm_of}"


def _point(number: int, name: str, row: PointRow[Any], kind: ValueKind) -> Point:
    settings = row.settings
    return Point(
        id=number,
        name=name,
        kind=kind,
        unit=settings.unit,
        description=settings.description,
        scale=settings.scale,
        offset=settings.offset,
        range_low=settings.range_low,
        range_high=settings.range_high,
        limits=Limits(
            low_low=settings.low_low,
            low=settings.low,
            high=settings.high,
            high_high=settings.high_high,
            deadband=settings.deadband,
            on_delay_s=settings.on_delay_s,
            off_delay_s=settings.off_delay_s,
        ),
        priority=settings.priority,
        gas=settings.gas,
        place=settings.place,
        hazard=settings.hazard,
        equipment=settings.equipment,
        indicator=settings.indicator,
        operator_position=settings.operator_position,
        alarm_source=settings.alarm_source,
        alarm_of=in_full(name, settings.alarm_of),
    )


__all__ = ["Device", "Site"]

"""[work], [[permit_area]], [[permit_device]]: special work 特殊作业, checked against the site.

Guarantees: every name that these sections use (points, cameras, zones, places) is looked up, every
mistake is reported at its key; the calendar and the gas table are read and checked here. A site
without these sections imports nothing of gateway/work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from drivers.wording import shown, suggestion
from gateway.config.model import Name, Section
from gateway.config.problems import Report
from gateway.config.site import Device
from gateway.config.toml_lines import TomlPath
from gateway.work.almanac import Almanac, CalendarError, parse_almanac
from gateway.work.gases import GasError, GasTable, parse_gases, shipped_gases
from gateway.work.site import Area, GasPoint, Holds, PermitDevice, WorkSite
from vision.tags import RECORDING

if TYPE_CHECKING:
    from vision.config import CameraConfig

Names = Annotated[tuple[str, ...], Field(max_length=100)]
Seconds = Annotated[float, Field(ge=0.0, le=86_400.0, allow_inf_nan=False)]
MAX_BYTES = 1 << 20
WIND_UNITS = ("m/s", "Beaufort")


class WorkConfig(Section):
    """[work].

    calendar: TOML of nights, holidays and make-up workdays (gateway/work/almanac.py).  gases: a
    gas table of the site's own (gateway/work/gases.toml).  *_s: how long something must last, in
    seconds (gateway/work/site.py, Holds).
    """

    calendar: Path | None = None
    gases: Path | None = None
    guardian_s: Seconds = 30.0
    people_s: Seconds = 3.0
    camera_s: Seconds = 5.0
    device_s: Seconds = 60.0
    silent_s: Annotated[float, Field(ge=1.0, le=3600.0)] = 30.0
    gas_s: Seconds = 0.0
    ppe_s: Annotated[float, Field(ge=1.0, le=3600.0)] = 10.0
    merge_s: Seconds = 60.0

    def holds(self) -> Holds:
        """Give the monitor's own form."""
        return Holds(**{name: getattr(self, name) for name in Holds.__slots__})


class PermitAreaConfig(Section):
    """[[permit_area]]: a place where permits apply, and what sees and measures it.

    names: what permits and positioning call it.  zones: camera/zone whose people count.  guardian:
    camera/zone where the guardian 监护人 stands.  gas, wind, recording: points, device/tag; the
    last is `CAMERA/recording` of its first camera that has `record`, unless given.
    explosive: a place with a danger of fire or explosion 火灾爆炸危险场所.
    """

    name: Name
    place: str = ""
    names: Names = ()
    cameras: Names = ()
    zones: Names = ()
    guardian: str = ""
    gas: Names = ()
    wind: str = ""
    recording: str = ""
    max_people: int | None = Field(default=None, ge=1, le=1000)
    running_unit: bool = False
    oxygen_rich: bool = False
    explosive: bool = False
    outdoor: bool = True


class PermitDeviceConfig(Section):
    """[[permit_device]]: what a permit names by a code: mobile camera 布控球, portable detector."""

    code: str = Field(min_length=1, max_length=64, pattern=r"^[^\s,;，]+$")
    camera: str = ""
    gas: Names = ()


@dataclass(frozen=True, slots=True)
class WorkParts:
    """Special work as it was configured, ready for the monitor."""

    site: WorkSite
    gases: GasTable
    almanac: Almanac

    def cameras(self) -> frozenset[str]:
        """Names of the cameras that watch some permit's work; such are recorded."""
        watching = {camera for area in self.site.areas for camera in area.cameras}
        watching |= {device.camera for device in self.site.devices.values()}
        return frozenset(watching - {""})

    def point_names(self) -> frozenset[str]:
        """Names of all points that are bound."""
        names: set[str] = set()
        for area in self.site.areas:
            names |= {*area.counts, area.guardian, area.wind, area.recording}
            names |= {point.name for point in area.gases}
            names |= {f"{camera}/analysed_fps" for camera in area.cameras}
        for device in self.site.devices.values():
            names |= {point.name for point in device.gases}
            names |= {f"{device.camera}/analysed_fps"} if device.camera else set()
        return frozenset(names - {""})


@dataclass(frozen=True, slots=True)
class WorkSections:
    """The sections as they were read, each with its place in the file."""

    work: WorkConfig
    areas: Sequence[tuple[TomlPath, PermitAreaConfig]]
    devices: Sequence[tuple[TomlPath, PermitDeviceConfig]]


class WorkLoader:
    """Looks up what the sections name; reports what is wrong."""

    def __init__(
        self,
        devices: Iterable[Device],
        cameras: Iterable[CameraConfig],
        places: frozenset[str],
        report: Report,
    ) -> None:
        self._rows = {
            f"{device.name}/{row.tag}": row.settings for device in devices for row in device.rows
        }
        self._recorded = {
            camera.name: f"{camera.name}/{RECORDING}"
            for camera in cameras
            if camera.record != "never"
        }
        self._zones: dict[str, tuple[str, ...]] = {
            camera.name: tuple(zone.name for zone in camera.zones) for camera in cameras
        }
        self._places = places
        self._report = report
        self._gases = shipped_gases()

    def parts(self, sections: WorkSections, now_ns: int) -> WorkParts:
        """Make the parts; what is wrong is reported and left out."""
        work = sections.work
        self._gases = self._gas_table(work.gases)
        almanac = self._almanac(work.calendar, now_ns)
        self._twice(((path, "name", one.name) for path, one in sections.areas), "permit area")
        self._twice(((path, "code", one.code) for path, one in sections.devices), "device code")
        areas = tuple(self._area(path, one) for path, one in sections.areas)
        devices = {
            one.code: PermitDevice(
                one.code,
                self._camera(path, "camera", one.camera),
                self._gas_points(path, one.gas),
            )
            for path, one in sections.devices
        }
        for path, one in sections.devices:
            if not one.camera and not one.gas:
                self._report.wrong(path, "names neither a camera nor a gas point")
        return WorkParts(WorkSite(areas, devices, work.holds()), self._gases, almanac)

    def _area(self, path: TomlPath, one: PermitAreaConfig) -> Area:
        if one.place and one.place not in self._places:
            advice = suggestion(one.place, self._places) if self._places else "none is declared"
            self._report.wrong(
                (*path, "place"), f"no [[place]] is called {shown(one.place)}; {advice}"
            )
        wind_unit = "m/s"
        if one.wind and self._known((*path, "wind"), one.wind):
            wind_unit = self._rows[one.wind].unit
            if wind_unit not in WIND_UNITS:
                self._report.wrong(
                    (*path, "wind"),
                    f"{one.wind} has the unit {shown(wind_unit)}: it must be m/s or Beaufort",
                )
        recorded = [self._recorded[name] for name in one.cameras if name in self._recorded]
        if one.recording and one.recording not in self._recorded.values():
            self._known((*path, "recording"), one.recording)
        return Area(
            name=one.name,
            place=one.place,
            names=one.names,
            cameras=tuple(self._camera(path, "cameras", name) for name in one.cameras),
            counts=tuple(self._zone(path, "zones", name) for name in one.zones),
            guardian=self._zone(path, "guardian", one.guardian) if one.guardian else "",
            gases=self._gas_points(path, one.gas),
            wind=one.wind,
            wind_unit=wind_unit,
            recording=one.recording or next(iter(recorded), ""),
            max_people=one.max_people,
            running_unit=one.running_unit,
            oxygen_rich=one.oxygen_rich,
            explosive=one.explosive,
            outdoor=one.outdoor,
        )

    def _gas_points(self, path: TomlPath, names: Iterable[str]) -> tuple[GasPoint, ...]:
        points = []
        for name in names:
            where = (*path, "gas")
            if not self._known(where, name):
                continue
            settings = self._rows[name]
            if not settings.gas:
                self._report.wrong(
                    where, f"{name} has no gas in its point table: a %LEL or %vol of what?"
                )
                continue
            try:
                self._gases.find(settings.gas).vol_percent(0.0, settings.unit)
            except GasError as error:
                self._report.warn(where, f"{name}: {error}")
            points.append(GasPoint(name, settings.gas, settings.unit))
        return tuple(points)

    def _known(self, where: TomlPath, name: str) -> bool:
        if name in self._rows:
            return True
        self._report.wrong(
            where, f"no point is called {shown(name)}; {suggestion(name, self._rows)}"
        )
        return False

    def _camera(self, path: TomlPath, key: str, name: str) -> str:
        if name and name not in self._zones:
            advice = suggestion(name, self._zones) if self._zones else "none is configured"
            self._report.wrong((*path, key), f"no [[camera]] is called {shown(name)}; {advice}")
        return name

    def _zone(self, path: TomlPath, key: str, name: str) -> str:
        camera, _, zone = name.partition("/")
        known = [f"{own}/{one}" for own, zones in self._zones.items() for one in zones]
        if zone not in self._zones.get(camera, ()):
            advice = suggestion(name, known) if known else "no camera has a zone"
            self._report.wrong(
                (*path, key), f"{shown(name)} is no camera/zone of this site; {advice}"
            )
        return f"{name}.headcount"

    def _twice(self, named: Iterable[tuple[TomlPath, str, str]], what: str) -> None:
        seen: set[str] = set()
        for path, key, name in named:
            if name in seen:
                self._report.wrong((*path, key), f"the {what} {shown(name)} is given a second time")
            seen.add(name)

    def _gas_table(self, path: Path | None) -> GasTable:
        text = self._text(path, "gases")
        if path is None or text is None:
            return shipped_gases()
        try:
            return parse_gases(text, path.name)
        except GasError as error:
            self._report.wrong(("work", "gases"), str(error))
            return shipped_gases()

    def _almanac(self, path: Path | None, now_ns: int) -> Almanac:
        text = self._text(path, "calendar")
        almanac = Almanac()
        try:
            if path is not None and text is not None:
                almanac = parse_almanac(text, path.name)
        except CalendarError as error:
            self._report.wrong(("work", "calendar"), str(error))
            return almanac
        doubt = almanac.doubt(now_ns)
        if doubt:
            self._report.warn(("work", "calendar"), doubt)
        return almanac

    def _text(self, path: Path | None, key: str) -> str | None:
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
            if len(raw) <= MAX_BYTES:
                return raw.decode("utf-8-sig")
            self._report.wrong(("work", key), f"{path.name} is larger than 1 MB")
        except OSError as error:
            self._report.wrong(("work", key), f"{path.name} cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self._report.wrong(("work", key), f"{path.name} is not UTF-8 text")
        return None

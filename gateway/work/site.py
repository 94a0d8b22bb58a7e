"""What a site tells the work monitor: areas, devices that permits name, and hold times. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.work.permit import Permit


@dataclass(frozen=True, slots=True)
class GasPoint:
    """A point that measures a gas. unit: %LEL, %vol, ppm or mg/m3, of its table."""

    name: str
    gas: str
    unit: str


@dataclass(frozen=True, slots=True)
class Area:
    """A place where permits apply, and what sees and measures it. Configured as [[permit_area]].

    names: its name and those by which permits and positioning call it.  cameras: names.
    counts: points with a headcount.  guardian: point that counts people in the guardian's zone.
    gases: points.  wind: point in m/s or Beaufort.  recording: point that is 0 while no recording
    runs.  max_people: the site's own limit.  running_unit: maintenance here is on a running unit.
    explosive: a place with a danger of fire or explosion 火灾爆炸危险场所.
    """

    name: str
    place: str = ""
    names: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    guardian: str = ""
    gases: tuple[GasPoint, ...] = ()
    wind: str = ""
    wind_unit: str = "m/s"
    recording: str = ""
    max_people: int | None = None
    running_unit: bool = False
    oxygen_rich: bool = False
    explosive: bool = False
    outdoor: bool = True

    def called(self, name: str) -> bool:
        """Tell whether a permit or a positioning system means this area."""
        folded = name.strip().casefold()
        return bool(folded) and any(folded == own.casefold() for own in (self.name, *self.names))


@dataclass(frozen=True, slots=True)
class PermitDevice:
    """A device that a permit names by its code: a mobile camera 布控球 or a portable detector."""

    code: str
    camera: str = ""
    gases: tuple[GasPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Holds:
    """Times in seconds for which something must last before it is a violation; all the site's own.

    merge_s: a violation that is gone for less than this is the same one when it comes back.
    ppe_s: how long one picture of missing equipment stands.  device_s: patience with a permit's
    camera and detectors at the start.  silent_s: age from which a value says nothing any more.
    """

    guardian_s: float = 30.0
    people_s: float = 3.0
    camera_s: float = 5.0
    device_s: float = 60.0
    silent_s: float = 30.0
    gas_s: float = 0.0
    ppe_s: float = 10.0
    merge_s: float = 60.0


@dataclass(frozen=True, slots=True)
class WorkSite:
    """All that is configured about special work."""

    areas: tuple[Area, ...] = ()
    devices: Mapping[str, PermitDevice] = field(default_factory=dict)
    holds: Holds = Holds()

    def points_of(self, permit: Permit) -> frozenset[str]:
        """Names of the points that are bound to a permit, by its area and by its devices."""
        area = self.area(permit.text("area"), permit.text("place"))
        codes = (*permit.codes("camera"), *permit.codes("detectors"))
        devices = [self.devices[code] for code in codes if code in self.devices]
        names = [point.name for device in devices for point in device.gases]
        if area is not None:
            names += [point.name for point in area.gases]
            names += [*area.counts, area.guardian, area.wind, area.recording]
        return frozenset(names) - {""}

    def elsewhere(self, area: Area | None) -> frozenset[str]:
        """Headcount points of zones that are another area's, and not this one's as well."""
        if area is None:
            return frozenset()
        points = {
            point for one in self.areas if one is not area for point in (*one.counts, one.guardian)
        }
        return frozenset(points - {*area.counts, area.guardian, ""})

    def area(self, *names: str) -> Area | None:
        """Find the area that the first of these names means."""
        for name in names:
            for area in self.areas:
                if area.called(name):
                    return area
        return None

"""What people must know of a site beside what happens: names, drivers, zones and their limits.

Made when a site is read or applied anew; the site itself is dropped. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.rules.rulebook import RuleBooks

if TYPE_CHECKING:
    from gateway.config.site import Site


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """gateway, enterprise: id and 统一社会信用代码.  sources: driver by device.

    cameras: zones by camera, each with name, most people (or None) and what is to be worn.
    uplinks: target by name.  descriptions: of places, hazards and equipment, by name.
    rules: as the site has them.
    """

    gateway: str
    enterprise: str
    software: str
    sources: Mapping[str, str]
    cameras: Mapping[str, tuple[Mapping[str, Any], ...]]
    uplinks: Mapping[str, str]
    descriptions: Mapping[str, str]
    rules: RuleBooks

    @classmethod
    def of(cls, site: Site, software: str) -> SiteFacts:
        """Take them from a site."""
        named = [(one.name, one.description) for one in site.places]
        named += [(one.name, one.description) for one in site.hazards]
        named += [(one.name, one.description) for one in site.equipment]
        return cls(
            gateway=site.gateway.id,
            enterprise=site.gateway.enterprise,
            software=software,
            sources={device.name: device.driver.name for device in site.devices},
            cameras={
                camera.name: tuple(
                    {"name": zone.name, "most": zone.max_people, "require": sorted(zone.items)}
                    for zone in camera.zones
                )
                for camera in site.cameras
            },
            uplinks={uplink.name: uplink.target for uplink in site.uplinks},
            rules=site.rules,
            descriptions={name: description for name, description in named if description},
        )

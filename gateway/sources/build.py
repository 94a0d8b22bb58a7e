"""Make catalogue, rules and sources of a site: a driver a device, a CameraSource a camera.

Nothing connects yet.

Parts that are not configured are not imported.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial

from drivers.contract import Clock, Driver
from gateway.config.site import Site
from gateway.model.catalogue import Catalogue, assign_ids, decode_ids
from gateway.rules.judge import Judge

ALARM_ID_BYTES = 16


def make_catalogue(site: Site, known_ids: bytes) -> tuple[Catalogue, dict[str, int]]:
    """Give ids to the points, and name them: those that the log knows keep their ids."""
    ids = assign_ids(decode_ids(known_ids), site.point_names())
    return Catalogue.of(site.points(ids)), ids


def make_judge(site: Site, catalogue: Catalogue, state: Callable[[str], bytes]) -> Judge:
    """All rules of the site, with the alarms that stood at the last stop (`state`)."""
    zones = [
        f"{camera.name}/{zone.name}"
        for camera in site.cameras
        for zone in camera.zones
        if zone.max_people is not None
    ]
    new_id = partial(secrets.token_bytes, ALARM_ID_BYTES)
    return Judge(catalogue.points, zones, new_id=new_id, state=state)


def open_sources(site: Site, catalogue: Catalogue, judge: Judge, clock: Clock) -> dict[str, Driver]:
    """Sources by name, in the order of the site file."""
    ids = {point.name: point.id for point in catalogue.points}
    sources: dict[str, Driver] = {
        device.name: device.driver.open(
            device.name, device.config, device.driver_points(ids), clock
        )
        for device in site.devices
    }
    if site.cameras:
        from gateway.sources.camera import CameraSource

        for camera in site.cameras:
            prefix = f"{camera.name}/"
            tags = {n.removeprefix(prefix): i for n, i in ids.items() if n.startswith(prefix)}
            standing = judge.standing_zones(camera.name)
            sources[camera.name] = CameraSource(camera, tags, clock, active=standing)
    return sources

"""Make catalogue, rules and sources of a site: a driver a device, a CameraSource a camera.

Nothing connects yet.

Parts that are not configured are not imported.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from buffer.contract import BufferPathError, Signer
from buffer.unusable import passes
from drivers.contract import Clock, Driver
from gateway.config.expressions import compile_expression
from gateway.config.site import Site
from gateway.model.catalogue import Catalogue, assign_ids, decode_ids
from gateway.rules.authority import one_alarm_each
from gateway.rules.gas import gas_specs
from gateway.rules.judge import Judge
from gateway.rules.metrics import Thresholds
from gateway.rules.rulebook import local_date
from gateway.runtime.clock import SystemClock
from gateway.runtime.signing import SigningKeyError, load_signer, own_signer

if TYPE_CHECKING:
    from buffer.contract import Log
    from gateway.notify.service import DutyService
    from gateway.pipeline import Pipeline
    from gateway.sources.camera_groups import CameraGroups
    from gateway.work.monitor import WorkMonitor
    from gateway.workflow import WorkFlow

ALARM_ID_BYTES = 16
GIB, DAY_NS = 1 << 30, 86_400_000_000_000
AREA_KINDS = ("high_risk", "running_maintenance")
POINT_IDS_STATE = "point_ids"
"""Name of the id table in the state of the log."""
LOGINS = "logins"
"""Folder in the data directory: which logins of cameras were refused."""


def make_ids(site: Site, known_ids: bytes) -> dict[str, int]:
    """Give ids to the points by name: those that the log knows keep theirs."""
    return assign_ids(decode_ids(known_ids), site.point_names())


def make_judge(site: Site, catalogue: Catalogue, state: Mapping[str, bytes]) -> Judge:
    """All rules of the site, with the alarms that stood at the last stop (`state`)."""
    zones = [
        f"{camera.name}/{zone.name}"
        for camera in site.cameras
        for zone in camera.zones
        if zone.max_people is not None
    ]
    zones += [
        f"{camera.name}/{zone.name}/empty"
        for camera in site.cameras
        for zone in camera.zones
        if zone.min_people
    ]
    zones += [
        f"{camera.name}/{zone.name}/{alarm}"
        for camera in site.cameras
        for zone in camera.zones
        for alarm in ("running", "gathering")
        if getattr(zone, alarm) is not None
    ]
    zones += [
        f"{camera.name}/{zone.name}/no_{item}"
        for camera in site.cameras
        for zone in camera.zones
        for item in zone.items
    ]
    zones += [
        f"{camera.name}/{one.where}/{one.alarm}"
        for camera in site.cameras
        for one in camera.detectors
    ]
    today = local_date(SystemClock().wall_ns())
    points, disagreements = one_alarm_each(catalogue.points)
    new_id = partial(secrets.token_bytes, ALARM_ID_BYTES)
    return Judge(
        points,
        zones,
        new_id=new_id,
        state=state,
        policy=site.alarms.policy(),
        specs=[*site.alarm_specs, *gas_specs(points), *disagreements],
        compile_expression=compile_expression,
        thresholds=Thresholds.of(site.rules, today),
        areas=site.areas,
        area_rules={kind: site.rules.get(f"headcount.{kind}", on=today) for kind in AREA_KINDS},
        gatherings=site.gatherings,
        gathering_rules=(
            site.rules.get("gathering.radius", on=today),
            site.rules.get("gathering.duration", on=today),
        ),
    )


def make_work(
    site: Site, catalogue: Catalogue, state: Callable[[str], bytes], clock: Clock
) -> tuple[WorkFlow | None, str]:
    """Make what watches special work, and follows alarms of work and cameras until closed 消警.

    None where a site has neither. With it: why its past is not known, or nothing.
    """
    if site.work is None and not site.cameras:
        return None, ""
    from gateway.rules.open_alarm import StateError
    from gateway.work.closing import Closing
    from gateway.workflow import CLOSING_STATE, WorkFlow

    lost: list[str] = []
    monitor = _monitor(site, catalogue, state, lost)
    try:
        closing = Closing(state(CLOSING_STATE))
    except StateError as error:
        closing = Closing()
        lost.append(f"How alarms were handled is not known: {error}")
    return WorkFlow(monitor, clock, closing), " ".join(lost)


def _monitor(
    site: Site, catalogue: Catalogue, state: Callable[[str], bytes], lost: list[str]
) -> WorkMonitor | None:
    if site.work is None:
        return None
    from gateway.rules.open_alarm import StateError
    from gateway.work.monitor import WorkMonitor
    from gateway.workflow import STATE

    names = site.work.point_names()
    points = {point.id: point.name for point in catalogue.points if point.name in names}
    new_id = partial(secrets.token_bytes, ALARM_ID_BYTES)
    tables, books = (site.work.gases, site.work.almanac), site.rules
    try:
        return WorkMonitor(site.work.site, books, tables, points, new_id, state(STATE))
    except StateError as error:
        lost.append(f"Permits and their violations are not known: {error}")
        return WorkMonitor(site.work.site, books, tables, points, new_id)


def make_duty(site: Site, log: Log, pipeline: Pipeline, clock: Clock) -> DutyService | None:
    """Make who tells people of alarms, going on from the log; it listens to the pipeline."""
    if site.notify is None:
        return None
    from gateway.notify.build import STATE, make_service

    code, folder = site.gateway.enterprise, site.gateway.data_dir
    service = make_service(site.notify, code, folder, clock)
    service.begin(pipeline, log.states(STATE))
    pipeline.listener = service
    return service


def open_devices(
    site: Site, ids: Mapping[str, int], clock: Clock, only: Collection[str] | None = None
) -> dict[str, Driver]:
    """Drivers of all devices, or of those in `only`, in the order of the site file.

    ids: by point name.
    """
    return {
        device.name: device.driver.open(
            device.name, device.config, device.driver_points(ids), clock
        )
        for device in site.devices
        if only is None or device.name in only
    }


def open_cameras(
    site: Site,
    catalogue: Catalogue,
    judge: Judge,
    groups: CameraGroups,
    only: Collection[str] | None = None,
) -> dict[str, Driver]:
    """All cameras, or those in `only`; each is told which of its alarms stand by `judge`."""
    cameras = [camera for camera in site.cameras if only is None or camera.name in only]
    if not cameras:
        return {}
    from gateway.sources.camera import CameraSource, camera_tags

    sources: dict[str, Driver] = {}
    ids = {point.name: point.id for point in catalogue.points}
    for camera in cameras:
        tags = {tag: ids[f"{camera.name}/{tag}"] for tag in camera_tags(camera)}
        standing = judge.standing_zones(camera.name)
        start = groups.of(camera.group).member if camera.group else None
        memory = site.gateway.data_dir / "views" / f"{camera.name}.npz"
        sources[camera.name] = CameraSource(
            camera,
            tags,
            groups.clock,
            active=standing,
            memory=memory,
            logins=site.gateway.data_dir / LOGINS,
            start=start,
        )
    return sources


def open_recordings(
    site: Site,
    catalogue: Catalogue,
    recorded: Callable[[], Collection[str]] | None,
    clock: Clock,
    only: Collection[str] | None = None,
) -> dict[str, Driver]:
    """Recordings of cameras with `record`. recorded: which the work wants now, if there is any."""
    cameras = [camera for camera in site.cameras if camera.record != "never"]
    if not cameras:
        return {}
    from gateway.sources.recording import RecordingRules, RecordingSource
    from vision.shelf import Shelf
    from vision.tags import RECORDING

    ids = {point.name: point.id for point in catalogue.points}
    asked = site.recording
    folder = site.folder / asked.folder if asked.folder else site.gateway.data_dir / "recordings"
    shelf = Shelf(folder, round(asked.quota_gb * GIB), round(asked.retention_days * DAY_NS))
    rules = RecordingRules(asked.segment_s, round(asked.reserve_gb * GIB))

    def wanted(name: str, always: bool) -> bool:
        return always or (recorded is not None and name in recorded())

    return {
        f"{camera.name}/{RECORDING}": RecordingSource(
            camera, ids[f"{camera.name}/{RECORDING}"], clock, shelf, rules,
            partial(wanted, camera.name, camera.record == "always"),
            site.gateway.data_dir / LOGINS,
        )
        for camera in cameras
        if only is None or camera.name in only
    }  # fmt: skip


def rule_notes(site: Site) -> list[tuple[str, str, dict[str, str]]]:
    """Say which rules the site has a value of its own for: kind, text, attributes of an event."""
    return [
        (
            "rule.loosened" if rule.loosened else "rule.tightened",
            f"Rule {rule.id} is {rule.value:g} {rule.unit} at this site; {rule.citation} says"
            f" {rule.book_value:g}." + (f" Reason: {rule.reason}" if rule.reason else ""),
            {
                "rule": rule.name,
                "value": f"{rule.value:g}",
                "book_value": f"{rule.book_value:g}",
                "unit": rule.unit,
                "clause": rule.citation,
                "source_state": rule.state.value,
                "reason": rule.reason,
            },
        )
        for rule in site.rules.changed()
    ]


def start_notes(
    site: Site, repaired: Sequence[str], work_lost: str
) -> list[tuple[str, str, str, dict[str, str]]]:
    """What is to be said at start: kind, source, text, attributes of an event."""
    nothing: dict[str, str] = {}
    return [
        *([("work.state_lost", "gateway", work_lost, nothing)] if work_lost else []),
        *(("buffer.repaired", "buffer", note, nothing) for note in repaired),
        *((kind, "rules", text, attributes) for kind, text, attributes in rule_notes(site)),
    ]


def make_signer(site: Site) -> Signer:
    """Make the signer of heads: the key of the first uplink that has one, else the gateway's.

    Raises BufferPathError.
    """
    keys = [uplink.key for uplink in site.uplinks if uplink.key is not None]
    try:
        return load_signer(keys[0]) if keys else own_signer(site.gateway.data_dir)
    except SigningKeyError as error:
        cause = error.__cause__
        may_pass = cause is not None and isinstance(cause, OSError) and passes(cause)
        text = f"Heads of the log cannot be signed: {error}."
        raise BufferPathError(text, passes=may_pass) from error

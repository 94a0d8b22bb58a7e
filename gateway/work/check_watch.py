"""Checks of what watches the work: cameras, recording, the permit's own devices, wind. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.work.permit import Kind, Level
from gateway.work.situation import Finding, Situation, unknown
from gateway.work.words import number

BEAUFORT = "Beaufort"
VIEW_ZH = {
    "black": "画面全黑", "frozen": "画面冻结", "covered": "镜头被遮挡", "over_exposed": "画面过曝",
    "blurred": "画面模糊", "moved": "摄像机被移动", "dark": "画面过暗",
}  # fmt: skip
"""Words of vision's view events; a camera that is lost has no picture at all."""
WINDY = {Kind.HOT_WORK: "hot_work.wind", Kind.HEIGHT: "height.wind", Kind.LIFTING: "lifting.wind"}


def devices(situation: Situation) -> Iterator[Finding]:
    """Mobile camera and portable detectors that the permit names must deliver before it counts."""
    if not situation.permit.state.working:
        return
    rule = situation.rule("work.devices")
    left_ns = situation.left(situation.watched_since_ns, situation.holds.device_s)
    for code in situation.unknown_codes:
        yield Finding(
            "device_unknown", rule,
            f"the permit names device {code}, which no [[permit_device]] has",
            f"作业票所列设备{code}未配置", subject=code, priority=3,
        )  # fmt: skip
    for device in situation.devices:
        lacking = [point.name for point in device.gases if not _delivers(situation, point.name)]
        if device.camera and not camera_delivers(situation, device.camera):
            lacking.append(device.camera)
        for name in lacking:
            yield Finding(
                "device_missing", rule,
                f"device {device.code} of the permit does not deliver ({name})",
                f"作业票所列设备{device.code}无数据({name})",
                subject=f"{device.code}/{name}", begun=True,
            left_ns=left_ns, gate=True,
            )  # fmt: skip


def cameras(situation: Situation) -> Iterator[Finding]:
    """A camera of the work area that is lost, covered, black or frozen."""
    if not situation.permit.state.working:
        return
    for camera in situation.cameras:
        if camera in situation.facts.blind:
            since_ns, why = situation.facts.blind[camera]
            yield Finding(
                "camera_blind",
                situation.rule("work.camera"),
                f"camera {camera} does not see the work: {why}",
                f"摄像机{camera}无法监视作业:{VIEW_ZH.get(why.rpartition(' ')[2], '无画面')}",
                subject=camera,
                begun=True,
                tells=True,
            left_ns=situation.left(max(since_ns, situation.watched_since_ns),
                                       situation.holds.camera_s),
            )  # fmt: skip


def recording(situation: Situation) -> Iterator[Finding]:
    """Special-grade hot work is recorded from beginning to end (5.2.11)."""
    special = situation.kind is Kind.HOT_WORK and situation.level is Level.SPECIAL
    if not special or not situation.permit.state.working:
        return
    rule, area = situation.rule("hot_work.video"), situation.area
    runs = area is not None and bool(area.recording) and _recorded(situation, area.recording)
    if area is not None and area.recording and not runs:
        why, zh = f"{area.recording} does not say that a recording runs", "录像状态异常"
    elif area is None or not (area.recording or situation.cameras):
        why, zh = "neither a recording point nor a camera is bound to the area", "未绑定摄录设备"
    elif not area.recording and not any(camera_delivers(situation, c) for c in situation.cameras):
        why, zh = "no camera of the area delivers", "摄像机无画面"
    else:
        return
    yield Finding(
        "recording_stopped", rule,
        f"special-grade hot work is not recorded: {why}", f"特级动火作业未进行全过程录像:{zh}",
        begun=True,
            left_ns=situation.left(_silent_since(situation), situation.holds.camera_s), stop=True,
    )  # fmt: skip


def wind(situation: Situation) -> Iterator[Finding]:
    """Outdoor hot work, work at height and lifting end at a wind force (5.2.15, 8, 9)."""
    area = situation.area
    rule_id = WINDY.get(situation.kind)
    if rule_id is None or area is None or not area.wind or not area.outdoor:
        return
    reading = situation.reading(area.wind)
    if not situation.permit.state.working:
        return
    if reading is None or not reading.usable:
        yield unknown("wind", situation.rule(rule_id))
        return
    rule, force = situation.rule(rule_id), wind_force(situation, reading.value, area.wind_unit)
    if not rule.holds(force):
        yield Finding(
            "wind",
            rule,
            f"the wind has force {force}, work outdoors needs less than {number(rule.value)}",
            f"风力{force}级,达到{number(rule.value)}级,禁止露天作业",
            value=force,
            limit=rule.value,
            unit=BEAUFORT,
            stop=True,
        )


def wind_force(situation: Situation, value: float, unit: str) -> int:
    """Wind force of a speed in m/s; a value in Beaufort is taken as it is.

    Only the steps that a rule asks for are in the rule book (forces 5 and 6); more is told as 6,
    less as 4.
    """
    if unit == BEAUFORT:
        return int(value)
    if situation.rule("wind.force6").holds(value):
        return 6
    return 5 if situation.rule("wind.force5").holds(value) else 4


def camera_delivers(situation: Situation, camera: str) -> bool:
    """Tell whether a camera is being analysed now."""
    reading = situation.reading(f"{camera}/analysed_fps")
    alive = reading is not None and reading.usable and reading.value > 0
    return alive and camera not in situation.facts.blind


def _delivers(situation: Situation, name: str) -> bool:
    reading = situation.reading(name)
    return reading is not None and reading.usable


def _recorded(situation: Situation, name: str) -> bool:
    reading = situation.reading(name)
    return reading is not None and reading.usable and reading.value != 0


def _silent_since(situation: Situation) -> int:
    """Since when the recording may be missing; the start of the watch where nothing is known."""
    area, facts = situation.area, situation.facts
    since = [situation.watched_since_ns]
    if area is not None and area.recording:
        stopped = facts.since(area.recording, lambda value: not value)
        since += [stopped] if stopped is not None else []
    else:
        since += [facts.blind[camera][0] for camera in situation.cameras if camera in facts.blind]
    return max(since)

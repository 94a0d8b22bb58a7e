"""Reads a site file and everything it names; gives a Site, or all mistakes at once.

Guarantees: `load` raises ConfigError and nothing else for whatever the files hold; it opens no
connection and changes nothing (the data directory is tried and left as it was); drivers and vision
are imported only where the site uses them.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from drivers import registry
from drivers.contract import Clock
from drivers.wording import suggestion
from gateway.config import sources
from gateway.config.alarm_of import check_alarm_of
from gateway.config.alarm_rules import AlarmConfig, alarm_specs
from gateway.config.alarms import AlarmsConfig
from gateway.config.areas import AreaConfig, GatheringConfig, area_specs, gathering_specs
from gateway.config.audit import audit_set_points
from gateway.config.checks import (
    check_equipment,
    check_filter,
    check_gateway,
    check_names,
    check_recorded,
    check_same_address,
    declared_names,
)
from gateway.config.files import check_data_dir, check_uplink
from gateway.config.model import (
    BufferSettings,
    EquipmentConfig,
    GatewayConfig,
    HazardConfig,
    LogConfig,
    MetricsConfig,
    PlaceConfig,
    RecordingConfig,
    RuleConfig,
    Section,
    UplinkConfig,
)
from gateway.config.problems import ConfigError, ConfigProblem, Report
from gateway.config.rules import site_rules
from gateway.config.sections import entries, section
from gateway.config.site import Device, Site, point_names, with_state_dir
from gateway.config.toml_advice import advice, foreign_signs
from gateway.config.toml_lines import TomlPath, locate
from gateway.rules.condition_spec import AlarmSpec
from gateway.runtime.clock import SystemClock

if TYPE_CHECKING:
    from gateway.config.console import ConsoleConfig
    from gateway.config.notify import NotifyParts
    from gateway.config.work import WorkParts
    from vision.config import CameraConfig

MAX_BYTES = 16 << 20
"""Largest site file read: 1,000 devices take some 200 KB; more is a wrong file."""

WORK_SECTIONS = ("work", "permit_area", "permit_device")
SECTIONS = ("gateway", "device", "camera", "uplink", "hazard", "place", "equipment", "metrics",
            "buffer", "recording", "log", "rule", "alarms", "alarm", "area", "gathering", "notify",
            "notifier", "console", *WORK_SECTIONS)  # fmt: skip
_PLACE = re.compile(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", re.DOTALL)

_REASONS = {
    "Illegal character '\\n'": "a text lacks its closing quote",
    "Cannot overwrite a value": "this key was given before",
    "Invalid value": "a value is missing or is not one: texts go in quotes",
}
"""Words of tomllib that say too little to somebody who does not know TOML."""

SectionT = TypeVar("SectionT", bound=Section)


def load(
    path: Path,
    *,
    find_driver: sources.FindDriver = registry.find,
    clock: Clock | None = None,
) -> Site:
    """Load a site file; raises ConfigError with every mistake found."""
    text = _text(path)
    raw = _parsed(path, text)
    lines = locate(text)
    report = Report(str(path), raw, lines)
    loader = _Loader(raw, path, report, find_driver)
    _check_top_level(raw, report)
    check_names(raw, report, lines)
    site = loader.site((clock or SystemClock()).wall_ns())
    if site is None or report.problems:
        ordered = sorted(report.problems, key=lambda p: (p.file != report.file, p.file, p.line))
        raise ConfigError(ordered, report.warnings)
    return site


class _Loader:
    """Goes through the sections in order; what is wrong is reported and left out."""

    def __init__(
        self, raw: dict[str, Any], path: Path, report: Report, find_driver: sources.FindDriver
    ) -> None:
        self._raw = raw
        self._path = path
        self._folder = path.absolute().parent
        self._report = report
        self._find_driver = find_driver
        self._declared = declared_names(raw)

    def site(self, now_ns: int) -> Site | None:
        """Load everything; None when a section that must be there is not."""
        gateway = self._gateway()
        metrics = self._one(MetricsConfig, "metrics")
        recording = self._one(RecordingConfig, "recording")
        buffer = self._one(BufferSettings, "buffer")
        log = self._one(LogConfig, "log")
        alarms = self._one(AlarmsConfig, "alarms")
        uplinks = self._several(UplinkConfig, "uplink")
        for path, uplink in uplinks:
            check_uplink(uplink, gateway.id if gateway else "", path, self._report, now_ns)
            check_filter(uplink, path, self._declared, self._report)
        equipment = self._several(EquipmentConfig, "equipment")
        for path, item in equipment:
            check_equipment(item, path, self._declared, self._report)
        hazards = self._several(HazardConfig, "hazard")
        places = self._several(PlaceConfig, "place")
        rules = self._several(RuleConfig, "rule")
        devices, cameras = self._devices(now_ns), self._cameras()
        own_rules = site_rules(rules, self._report)
        alarm_rules = self._alarm_specs(devices, cameras)
        areas = area_specs(
            self._several(AreaConfig, "area"),
            point_names(devices, cameras),
            self._declared["place"],
            self._report,
        )
        check_alarm_of(devices, self._report)
        audit_set_points(devices, own_rules, self._report, now_ns)
        work = self._work(devices, cameras, now_ns)
        check_recorded(cameras, work.cameras() if work else (), self._raw, self._report)
        notify = self._notify(devices, now_ns)
        console = self._console(gateway, now_ns)
        if gateway is None or metrics is None or buffer is None or log is None or alarms is None:
            return None
        if recording is None:
            return None
        return Site(
            path=self._path,
            gateway=gateway,
            devices=tuple(with_state_dir(device, gateway.data_dir) for device in devices),
            cameras=tuple(cameras),
            uplinks=tuple(uplink for _, uplink in uplinks),
            hazards=tuple(hazard for _, hazard in hazards),
            places=tuple(place for _, place in places),
            equipment=tuple(item for _, item in equipment),
            metrics=metrics,
            recording=recording,
            buffer=buffer,
            log=log,
            alarms=alarms,
            rules=own_rules,
            alarm_specs=alarm_rules,
            work=work,
            notify=notify,
            console=console,
            areas=areas,
            gatherings=gathering_specs(self._several(GatheringConfig, "gathering"), self._report),
            warnings=tuple(self._report.warnings),
        )

    def _gateway(self) -> GatewayConfig | None:
        if "gateway" not in self._raw:
            self._report.wrong((), "[gateway] is missing: it needs id, enterprise and data_dir")
            return None
        gateway = self._one(GatewayConfig, "gateway")
        if gateway is not None:
            check_gateway(gateway, self._report)
        table = self._raw["gateway"]
        data_dir = table.get("data_dir") if isinstance(table, dict) else None
        if isinstance(data_dir, str) and data_dir:
            check_data_dir(self._folder / data_dir, ("gateway", "data_dir"), self._report)
        return gateway

    def _devices(self, now_ns: int) -> list[Device]:
        found: list[tuple[TomlPath, Device]] = []
        for path, table in entries(self._raw, "device", self._report):
            device = sources.device(
                table, path, self._folder, self._report, self._find_driver, self._declared, now_ns
            )
            if device is not None:
                found.append((path, device))
        check_same_address(found, self._report)
        return [device for _, device in found]

    def _cameras(self) -> list[CameraConfig]:
        listed = entries(self._raw, "camera", self._report)
        found = (sources.camera(table, path, self._folder, self._report) for path, table in listed)
        return [camera for camera in found if camera is not None]

    def _alarm_specs(
        self, devices: list[Device], cameras: list[CameraConfig]
    ) -> tuple[AlarmSpec, ...]:
        specs = self._several(AlarmConfig, "alarm")
        listed = [*self._raw.get("device", ()), *self._raw.get("camera", ())]
        if len(devices) + len(cameras) < len(listed):
            return ()  # points are missing because of another mistake
        return alarm_specs(specs, point_names(devices, cameras), self._report)

    def _work(
        self, devices: list[Device], cameras: list[CameraConfig], now_ns: int
    ) -> WorkParts | None:
        """Special work 特殊作业, None where nothing of it is configured."""
        if not any(name in self._raw for name in WORK_SECTIONS):
            return None
        from gateway.config import work

        config = self._one(work.WorkConfig, "work") or work.WorkConfig()
        areas = self._several(work.PermitAreaConfig, "permit_area")
        own = self._several(work.PermitDeviceConfig, "permit_device")
        loader = work.WorkLoader(devices, cameras, self._declared["place"], self._report)
        return loader.parts(work.WorkSections(config, areas, own), now_ns)

    def _notify(self, devices: list[Device], now_ns: int) -> NotifyParts | None:
        """Who hears of alarms, None where nothing of it is configured."""
        if "notify" not in self._raw:
            if "notifier" in self._raw:
                said = "[notify] is missing: a roster says whom a [[notifier]] tells"
                self._report.wrong(("notifier",), said)
            return None
        from gateway.config import notify

        config = self._one(notify.NotifyConfig, "notify")
        listed = entries(self._raw, "notifier", self._report)
        made = [(p, notify.notifier(t, p, self._folder, self._report)) for p, t in listed]
        found = [(path, one) for path, one in made if one is not None]
        if config is None or len(found) < len(listed):
            return None
        return notify.notify_parts(config, found, devices, self._report, now_ns)

    def _console(self, gateway: GatewayConfig | None, now_ns: int) -> ConsoleConfig | None:
        """The web console, None where it is not configured."""
        if "console" not in self._raw:
            return None
        from gateway.config import console

        config = self._one(console.ConsoleConfig, "console")
        if config is not None:
            data_dir = gateway.data_dir if gateway is not None else None
            console.check_console(config, data_dir, ("console",), self._report, now_ns)
        return config

    def _one(self, model: type[SectionT], name: str) -> SectionT | None:
        return section(model, self._raw.get(name, {}), (name,), self._folder, self._report)

    def _several(self, model: type[SectionT], name: str) -> list[tuple[TomlPath, SectionT]]:
        return [
            (path, found)
            for path, table in entries(self._raw, name, self._report)
            if (found := section(model, table, path, self._folder, self._report)) is not None
        ]


def _check_top_level(raw: dict[str, Any], report: Report) -> None:
    for name in raw:
        if name not in SECTIONS:
            report.wrong((name,), f"unknown section; {suggestion(name, SECTIONS)}")


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            what = "is a folder, not a site file" if path.is_dir() else "there is no such file"
            raise _failed(path, what)
        if path.stat().st_size > MAX_BYTES:
            raise _failed(path, f"is larger than {MAX_BYTES >> 20} MB: not a site file")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise _failed(path, f"cannot be read: {reason}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        said = f"is not UTF-8 text from here on{_encoded_as(raw)}: save it as UTF-8"
        raise _failed(path, said, line) from error


def _encoded_as(raw: bytes) -> str:
    """Name the encoding that a Chinese Windows would have written; empty where it is none."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return " but UTF-16 (Unicode of Notepad 记事本)"
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        return ""
    return " but GBK (ANSI of Notepad 记事本)" if re.search("[\u4e00-\u9fff]{2}", text) else ""


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise _failed(path, "is nested too deeply to be a site file") from error
    except ValueError as error:
        found = _PLACE.fullmatch(str(error))
        if found is None:
            raise _failed(path, f"is no TOML: {error}") from error
        line = int(found[2]) if found[2] else text.count("\n") + 1
        raise ConfigError(_no_toml(str(path), text.split("\n"), line, found[1])) from error


def _no_toml(path: str, lines: list[str], line: int, reason: str) -> list[ConfigProblem]:
    """Say why the parser stopped at a line, and which later lines would stop it likewise."""
    sure = reason.startswith("Cannot ")  # the line is TOML, and contradicts another
    advised = "" if sure or line > len(lines) else advice(lines[line - 1])
    problems = [(line, advised or _REASONS.get(reason, reason))]
    if not any(mark in text for text in lines for mark in ('"""', "'''")):
        later = enumerate(lines[line:], start=line + 1)
        problems += [(at, signs) for at, text in later if (signs := foreign_signs(text))]
    return [ConfigProblem(path, at, "", f"is no TOML: {said}") for at, said in problems]


def _failed(path: Path, message: str, line: int = 0) -> ConfigError:
    return ConfigError([ConfigProblem(str(path), line, "", message)])


__all__ = ["ConfigError", "ConfigProblem", "Device", "Site", "load"]

"""Checks between the tables of a site file: names given twice, names nobody declared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from drivers.point_table import PointRow
from drivers.wording import shown, suggestion
from gateway.config.model import EquipmentConfig, GatewayConfig, UplinkConfig, enterprise_doubt
from gateway.config.problems import Report
from gateway.config.site import Device
from gateway.config.toml_lines import TomlPath, line_of

if TYPE_CHECKING:
    from vision.config import CameraConfig

Declared = Mapping[str, frozenset[str]]
"""Names declared by [[hazard]], [[place]] and [[equipment]], by those words."""

REFERENCES = ("hazard", "place", "equipment")
_NAME_SPACES = (("device", "camera"), ("uplink",), ("notifier",), ("hazard",), ("place",),
                ("equipment",))  # fmt: skip


def declared_names(raw: Mapping[str, Any]) -> Declared:
    """Collect what points may refer to, from entries right and wrong alike."""
    return {kind: frozenset(name for _, name in _names(raw, kind)) for kind in REFERENCES}


def check_names(raw: Mapping[str, Any], report: Report, lines: Mapping[TomlPath, int]) -> None:
    """Report names given twice; devices and cameras share theirs, as both name points."""
    for kinds in _NAME_SPACES:
        first: dict[str, TomlPath] = {}
        for kind in kinds:
            for path, name in _names(raw, kind):
                earlier = first.setdefault(name, path)
                if earlier != path:
                    report.wrong(
                        (*path, "name"),
                        f"duplicate name {shown(name)}: [[{earlier[0]}]] in line"
                        f" {line_of(lines, earlier)} has it too",
                    )


def check_rows(
    table: str, rows: Iterable[PointRow[Any]], declared: Declared, report: Report
) -> None:
    """Report hazards, places and equipment that a point table names and nobody declared."""
    for row in rows:
        for kind in REFERENCES:
            name = getattr(row.settings, kind)
            if name and name not in declared[kind]:
                report.wrong_cell(table, row.row, kind, _undeclared(kind, name, declared))


def check_equipment(
    equipment: EquipmentConfig, path: TomlPath, declared: Declared, report: Report
) -> None:
    """Report a place or hazard that an [[equipment]] names and nobody declared."""
    for kind in ("place", "hazard"):
        name = getattr(equipment, kind)
        if name and name not in declared[kind]:
            report.wrong((*path, kind), _undeclared(kind, name, declared))


def check_filter(uplink: UplinkConfig, path: TomlPath, declared: Declared, report: Report) -> None:
    """Report places and hazards that an uplink's filter names and nobody declared."""
    if uplink.filter is None:
        return
    for kind, names in (("place", uplink.filter.places), ("hazard", uplink.filter.hazards)):
        for name in names:
            if name not in declared[kind]:
                report.wrong((*path, "filter", f"{kind}s"), _undeclared(kind, name, declared))


def check_gateway(gateway: GatewayConfig, report: Report) -> None:
    """Warn of an enterprise code that cannot be right."""
    doubt = enterprise_doubt(gateway.enterprise)
    if doubt:
        report.warn(("gateway", "enterprise"), f"{shown(gateway.enterprise)}: {doubt}")


def check_same_address(devices: Sequence[tuple[TomlPath, Device]], report: Report) -> None:
    """Find two devices that are one: same host, port and unit, endpoint, or serial port.

    The last is a mistake, as a serial port is locked by whoever opens it first.
    """
    first: dict[tuple[object, ...], str] = {}
    ports: dict[str, str] = {}
    for path, device in devices:
        config = device.config
        serial = getattr(config, "serial", None)
        if serial and ports.setdefault(serial, device.name) != device.name:
            said = (
                f"{serial} is the port of device {ports[serial]} already: units on one line are"
                " rows of one point table, each with its own address (unit_id 站号)"
            )
            report.wrong((*path, "serial"), said)
            continue
        keys = ("host", "serial", "listen", "port", "unit", "endpoint")
        address = tuple(getattr(config, key, None) for key in keys)
        if not any(address):
            continue
        earlier = first.setdefault((device.driver.name, *address), device.name)
        if earlier != device.name:
            said = " ".join(
                f"{key} {value}"
                for key, value in zip(keys, address, strict=True)
                if value not in {None, ""}
            )
            report.warn(path, f"the same {said} as device {earlier}: is one of them a copy?")


def check_recorded(
    cameras: Iterable[CameraConfig],
    watching: Collection[str],
    raw: Mapping[str, Any],
    report: Report,
) -> None:
    """Warn of cameras that are recorded only while a permit is at work, and watch none's work."""
    paths = {name: path for path, name in _names(raw, "camera")}
    for camera in cameras:
        if camera.record == "work" and camera.name not in watching:
            report.warn(
                (*paths[camera.name], "record"),
                f"no [[permit_area]] or [[permit_device]] names camera {camera.name}, so it is"
                ' never recorded: name it in cameras of an area, or write record = "always"',
            )


def _names(raw: Mapping[str, Any], kind: str) -> Iterable[tuple[TomlPath, str]]:
    entries = raw.get(kind)
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and name:
            yield (kind, index), name


def _undeclared(kind: str, name: str, declared: Declared) -> str:
    if not declared[kind]:
        return f"no [[{kind}]] is declared in the site file, so {shown(name)} is unknown"
    return f"no [[{kind}]] is called {shown(name)}; {suggestion(name, declared[kind])}"

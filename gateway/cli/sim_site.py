"""From a site file to what the simulator serves, and to a site file that points at it. Pure.

Guarantees: what cannot be simulated is said, by name of device and point; nothing is served beyond
loopback. A written site never reaches a real platform and never mixes with real data: uplinks to
other machines are left out, and it has a data directory of its own.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from drivers.contract import ValueKind
from drivers.point_table import PointRow
from drivers.sim.rehearsal import SimDevice
from drivers.sim.site_modbus import Spot, limits
from drivers.sim.site_signals import Form, SimPoint
from gateway.config.site import Device, Site

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
DATA_DIR_SUFFIX = "-rehearsal"

_AREAS = {"COIL": 1, "DISCRETE": 2, "HOLDING": 3, "INPUT": 4}
_WHOLE = 2.0**53
_SECRETS = ("certificate", "key", "server_certificate", "trust", "user", "password_file", "mode",
            "user_certificate", "user_key")  # fmt: skip
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Where:
    """Where devices are served: on the ports of the site plus an offset, or on any free ones."""

    offset: int = 0
    anywhere: bool = False


@dataclass(slots=True)
class Translation:
    """Devices to serve; notes on what is left out; problems that stand in the way."""

    devices: list[SimDevice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def translate(site: Site, where: Where) -> Translation:
    """Find what to serve for the devices of a site."""
    found = Translation()
    for device in site.devices:
        if device.driver.name == "modbus":
            _modbus(device, where, found)
        elif device.driver.name == "opcua":
            _opcua(device, where, found)
        else:
            found.notes.append(f"device {device.name} ({device.driver.name}) is not simulated")
    found.notes += [f"camera {camera.name} is not simulated" for camera in site.cameras]
    servers: dict[int, str] = {}
    for served in found.devices:
        other = servers.setdefault(served.port, served.server)
        if served.port and other != served.server:
            found.problems.append(
                f"device {served.name}: port {served.port} of this machine is taken by another"
                " server of the site: use --write-site"
            )
    if not found.devices and not found.problems:
        found.problems.append("the site has no Modbus TCP or OPC UA device to simulate")
    return found


def rewritten(raw: Mapping[str, Any], ports: Mapping[str, int]) -> tuple[dict[str, Any], list[str]]:
    """Change a site file's content so that it points at the simulator; and say what is left out.

    ports: where each simulated device is served, by name.
    """
    new = {key: value for key, value in raw.items() if key != "uplink"}
    new["gateway"] = {**raw["gateway"], "data_dir": raw["gateway"]["data_dir"] + DATA_DIR_SUFFIX}
    new["device"] = [
        _pointed(entry, ports[entry["name"]]) if entry["name"] in ports else entry
        for entry in raw.get("device", [])
    ]
    near = [u for u in raw.get("uplink", []) if u["target"].rpartition(":")[0] in LOOPBACK]
    if near:
        new["uplink"] = near
    notes = [
        f"uplink {uplink['name']} to {uplink['target']} is left out:"
        " simulated values must not reach a platform"
        for uplink in raw.get("uplink", [])
        if uplink not in near
    ]
    return new, notes


def toml(content: Mapping[str, Any]) -> str:
    """Write TOML that reads as `content`: tables of the top level, all below inline."""
    lines = [f"{_key(k)} = {_value(v)}" for k, v in content.items() if not _is_section(v)]
    for name, value in content.items():
        if not _is_section(value):
            continue
        tables = [value] if isinstance(value, Mapping) else value
        heading = f"[{_key(name)}]" if isinstance(value, Mapping) else f"[[{_key(name)}]]"
        for table in tables:
            lines += [
                "",
                heading,
                *(f"{_key(key)} = {_value(held)}" for key, held in table.items()),
            ]
    return "\n".join(lines).lstrip("\n") + "\n"


def _modbus(device: Device, where: Where, found: Translation) -> None:
    from drivers.modbus.config import ModbusAddress, ModbusConfig, resolve
    from gateway.cli.sim_profile import at_rest

    config = device.config
    assert isinstance(config, ModbusConfig)  # noqa: S101  # the driver's own model
    if config.transport != "tcp" or not config.host:
        if not where.anywhere:
            found.problems.append(
                f"device {device.name} is at {config.place} by {config.transport}:"
                " use --write-site, which plays it as Modbus TCP"
            )
            return
        found.notes.append(
            f"device {device.name}: {config.place} by {config.transport} is played as Modbus TCP"
        )
    port = _port(device.name, config.host, config.port, where, found)
    points: list[SimPoint] = []
    spots: list[tuple[int, Spot]] = []
    for row in device.rows:
        assert isinstance(row.address, ModbusAddress)  # noqa: S101  # likewise
        target = resolve(row.address, config.base)
        unit = config.unit if row.address.unit_id is None else row.address.unit_id
        area = _AREAS[target.span.area.name]
        spots.append((unit, Spot(len(points), area, target.span.start, target.type, target.order)))
        low, high = limits(target.type)
        two_states = (low, high) == (0, 1)
        points.append(_point(row, target.type not in {"f32", "f64"}, two_states, low, high))
    if port is not None:
        quiet = tuple(at_rest(device.rows, points))
        found.devices.append(
            SimDevice(device.name, port, quiet, spots=tuple(spots), server=config.place)
        )


def _opcua(device: Device, where: Where, found: Translation) -> None:
    from drivers.opcua.config import OpcUaAddress, OpcUaConfig
    from drivers.sim.site_opcua import MOST_NAMESPACES, NodeSpot

    config = device.config
    assert isinstance(config, OpcUaConfig)  # noqa: S101  # likewise
    if config.security != "None" and not where.anywhere:
        found.problems.append(
            f"device {device.name}: the simulator has no certificate of the server's:"
            " use --write-site, which leaves encryption out"
        )
        return
    endpoint = urlsplit(config.endpoint or getattr(config, "endpoints", [""])[0])
    wanted = endpoint.port or 4840  # registered for opc.tcp
    host = endpoint.hostname or ""
    port = _port(device.name, host, wanted, where, found)
    points: list[SimPoint] = []
    nodes: list[NodeSpot] = []
    for row in device.rows:
        assert isinstance(row.address, OpcUaAddress)  # noqa: S101  # likewise
        if getattr(row.address, "index", "") or getattr(row.address, "field", ""):
            found.notes.append(f"point {device.name}/{row.tag}: no array or structure is simulated")
            continue
        node = row.address.target()
        word = {ValueKind.INT: "int", ValueKind.UINT: "uint", ValueKind.TEXT: "text"}.get(
            row.address.kind(), row.address.type
        )
        named = node.identifier
        identifier = (
            tuple((step.namespace, step.name) for step in named)
            if isinstance(named, tuple)
            else named
        )
        indices = (
            [node.namespace, *(name for name, _ in identifier)]
            if isinstance(identifier, tuple)
            else [node.namespace]
        )
        if any(isinstance(index, int) and index > MOST_NAMESPACES for index in indices):
            found.notes.append(f"point {device.name}/{row.tag}: its namespace index is too high")
            continue
        nodes.append(NodeSpot(len(points), row.tag, node.namespace, identifier, word))
        two_states = word in {"bool", "text"}
        low, high = (0.0, 1.0) if two_states else (0.0 if word == "uint" else -_WHOLE, _WHOLE)
        points.append(_point(row, word != "float", two_states, low, high))
    if port is not None:
        served = SimDevice(
            device.name, port, tuple(points), nodes=tuple(nodes), path=endpoint.path,
            server=f"{host}:{wanted}",
        )  # fmt: skip
        found.devices.append(served)


def _port(name: str, host: str, wanted: int, where: Where, found: Translation) -> int | None:
    if where.anywhere:
        return 0
    if host not in LOOPBACK and not where.offset:
        found.problems.append(
            f"device {name} is at {host}, not on this machine: use --write-site OUT.toml,"
            " or --port-offset"
        )
        return None
    if wanted + where.offset > 65_535:
        found.problems.append(f"device {name}: port {wanted} + {where.offset} is above 65535")
        return None
    return wanted + where.offset


def _point(
    row: PointRow[Any], whole: bool, two_states: bool, raw_low: float, raw_high: float
) -> SimPoint:
    said = row.settings
    return SimPoint(
        tag=row.tag,
        form=Form.TWO_STATES if two_states else Form.NUMBER,
        scale=said.scale,
        offset=said.offset,
        whole=whole,
        raw_low=raw_low,
        raw_high=raw_high,
        low=said.low if said.low is not None else said.low_low,
        high=said.high if said.high is not None else said.high_high,
        range_low=said.range_low,
        range_high=said.range_high,
    )


def _pointed(entry: Mapping[str, Any], port: int) -> dict[str, Any]:
    """Turn one [[device]] to the simulator."""
    if entry["driver"] == "modbus":
        from drivers.modbus.transport_keys import TransportKeys

        kept = {key: value for key, value in entry.items() if key not in TransportKeys.model_fields}
        return {**kept, "host": "127.0.0.1", "port": port}
    path = urlsplit(entry.get("endpoint") or entry["endpoints"][0]).path
    kept = {k: v for k, v in entry.items() if k not in _SECRETS and k != "endpoints"}
    endpoint = f"opc.tcp://127.0.0.1:{port}{path}"
    return {**kept, "endpoint": endpoint, "security": "None", "insecure": True}


def _is_section(value: object) -> bool:
    if isinstance(value, list) and value:
        return all(isinstance(entry, Mapping) for entry in value)
    return isinstance(value, Mapping)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return repr(value)


__all__ = ["LOOPBACK", "Translation", "Where", "rewritten", "toml", "translate"]

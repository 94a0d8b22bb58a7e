"""`plantgate check SITE.toml`: judge a site file and everything it names; start nothing.

Prints every problem on one line (`file:line: key: message`), then warnings; or the facts of the
site and OK. Exit 0 when the gateway would start, 2 when it would not. With --connect everything
named is tried once as well (gateway/doctor): exit 1 where something of it is not well. No bad input
ends in a traceback.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.output import counted, print_json
from gateway.config.capacity import Forecast, forecast, shortfall
from gateway.config.load import ConfigError, ConfigProblem, Device, Site, load
from gateway.runtime.clock import SystemClock
from vision.tags import all_tags

if TYPE_CHECKING:
    from vision.config import CameraConfig

EXAMPLE = """\b
Example:
  plantgate check site.toml
  plantgate check site.toml --json | jq .problems
  plantgate check site.toml --connect          # on site: 现场逐项试连
"""

NOT_CHECKED = (
    "whether the devices, cameras and receivers answer, and whether registers and nodes exist"
    " (--connect tries that)"
)


@click.command("check", epilog=EXAMPLE)
@click.argument("site", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@click.option("--plan", is_flag=True, help="Say what each device will be asked in one poll.")
@click.option("--connect", is_flag=True,
              help="Then try all once: devices, cameras, receivers, disk, clock.")  # fmt: skip
@click.option("--beside", is_flag=True,
              help="With --connect: connect also while a gateway runs here.")  # fmt: skip
@click.option("--patience-s", default=20.0, show_default=True, type=click.FloatRange(1, 600),
              help="With --connect: longest for one device or picture.")  # fmt: skip
def command(
    site: Path, *, as_json: bool, plan: bool, connect: bool, beside: bool, patience_s: float
) -> None:
    """Check SITE (a TOML file), its point tables, certificates, models and data directory.

    With --connect, try once what it names; nothing is changed on the plant and no alarm raised.
    """
    if beside and not connect:
        raise click.UsageError("--beside goes with --connect")
    try:
        loaded = load(site)
    except ConfigError as error:
        _failed(site, error, as_json)
        sys.exit(2)
    expected = forecast(loaded)
    problem, doubt = shortfall(loaded, expected)
    if problem is not None:
        _failed(site, ConfigError([problem], loaded.warnings), as_json)
        sys.exit(2)
    warnings = (*loaded.warnings, doubt) if doubt is not None else loaded.warnings
    warnings = (*warnings, *_without_provider(loaded))
    if connect:
        sys.exit(_connect(loaded, warnings, patience_s, as_json=as_json, beside=beside))
    if as_json:
        _print_json(True, (), warnings, _facts(loaded, expected))
        return
    for warning in warnings:
        print(f"warning: {warning}")
    print(_summary(loaded, expected))
    if plan:
        for device in loaded.devices:
            print(f"plan: {device.name}: {_plan(device)}")


def _connect(
    site: Site,
    warnings: Sequence[ConfigProblem],
    patience_s: float,
    *,
    as_json: bool,
    beside: bool,
) -> int:
    """Try everything, print what came of it, give the exit code."""
    from gateway.cli import check_connect
    from gateway.doctor.finding import all_good

    if not as_json:
        for warning in warnings:
            print(f"warning: {warning}")
        print(check_connect.beginning(site, patience_s), flush=True)
    found = check_connect.tried(site, patience_s, beside=beside)
    if as_json:
        print_json({"warnings": [asdict(one) for one in warnings], **check_connect.facts(found)})
    else:
        for line in check_connect.lines(found, shutil.get_terminal_size((160, 24)).columns):
            print(line)
    return 0 if all_good(found) else 1


def _without_provider(site: Site) -> list[ConfigProblem]:
    """What cameras ask of onnxruntime that this machine's build of it does not have."""
    asking = [camera for camera in site.cameras if camera.provider != "cpu"]
    if not asking:
        return []
    from vision.detector import PROVIDERS, missing_provider

    missing = ((camera.name, missing_provider(PROVIDERS[camera.provider])) for camera in asking)
    return [
        ConfigProblem(str(site.path), 0, f"camera.{name}.provider", text)
        for name, text in missing
        if text
    ]


def _failed(site: Path, error: ConfigError, as_json: bool) -> None:
    if as_json:
        _print_json(False, error.problems, error.warnings, {})
        return
    for problem in error.problems:
        print(problem)
    for warning in error.warnings:
        print(f"warning: {warning}")
    print(f"FAILED: {counted(len(error.problems), 'problem')} in {site}")


def _summary(site: Site, expected: Forecast) -> str:
    points = len(site.point_names())
    parts = [counted(len(site.devices), "device"), counted(points, "point")]
    parts += [
        counted(len(found), word)
        for found, word in ((site.cameras, "camera"), (site.uplinks, "uplink"))
        if found
    ]
    lines = [f"OK: {', '.join(parts)}"]
    for device in site.devices:
        lines.append(f"  {device.name}: {_device_line(device)}")
        lines += [f"    {line}" for line in _own_lines(device)]
    lines += [
        f"  {camera.name}: camera, {counted(len(all_tags(camera)), 'point')},"
        f" {counted(len(camera.zones), 'zone')}, {camera.analyse_fps:g} frames/s analysed"
        + _ground_words(camera)
        for camera in site.cameras
    ]
    lines += [
        f"  {uplink.name}: uplink to {uplink.target}, "
        + ("insecure (this machine only)" if uplink.insecure else "mutual TLS")
        for uplink in site.uplinks
    ]
    lines += [f"  console: {line}" for line in _console_lines(site)]
    if expected.telemetry_days is not None:
        lines.append(
            f"  buffer: about {expected.values_per_s:,.0f} values/s,"
            f" some {_round(expected.telemetry_bytes_per_day / 1e6)} MB a day;"
            f" {site.buffer.telemetry_quota_gb:g} GB hold {expected.telemetry_days:,.0f} days,"
            f" {site.buffer.retention_days:g} are asked for"
        )
    if expected.unknown:
        lines.append(f"  not judged against the quota: the rate of {', '.join(expected.unknown)}")
    lines.append(f"Not checked: {NOT_CHECKED}.")
    return "\n".join(lines)


def _console_lines(site: Site) -> list[str]:
    if site.console is None:
        return []
    from gateway.config.users import UsersError, read
    from gateway.console.certificate import CertificateError, files_of, fingerprint_of

    try:
        people = counted(len(read(site.gateway.data_dir).users), "user")
    except UsersError:
        people = "no user"
    if site.console.insecure:
        return [f"http://{site.console.listen}/ (plain HTTP, this machine only), {people}"]
    own = " of its own" if site.console.certificate is None else ""
    try:
        known = fingerprint_of(files_of(site.console, site.gateway.data_dir)[0])
    except CertificateError:
        known = "made at its first start"
    return [f"https://{site.console.listen}/, {people}", f"certificate{own}, SHA-256 {known}"]


def _device_line(device: Device) -> str:
    limits = sum(
        any(
            getattr(row.settings, name) is not None
            for name in ("low_low", "low", "high", "high_high")
        )
        for row in device.rows
    )
    requests = _requests_per_poll(device)
    return (
        f"{device.driver.name}, {counted(len(device.rows), 'point')} from {device.table},"
        f" {limits} with limits" + (f", {counted(requests, 'request')} a poll" if requests else "")
    )


def _own_lines(device: Device) -> list[str]:
    """What the driver's own keys say of the points they bring, as a device profile does."""
    say: Callable[[], list[str]] | None = getattr(device.config, "own_lines", None)
    return say() if say is not None else []


def _requests_per_poll(device: Device) -> int:
    return int(_statistics(device).get("requests_per_poll", 0))


def _plan(device: Device) -> str:
    """Requests, registers and points of one poll, where the driver polls."""
    planned = _statistics(device)
    points = counted(len(device.rows), "point")
    if "registers_per_poll" not in planned:
        return f"{points}, {device.driver.name} has no plan of requests"
    requests, registers = int(planned["requests_per_poll"]), int(planned["registers_per_poll"])
    units = f" of {int(planned['units'])} units" if "units" in planned else ""
    return (
        f"{counted(requests, 'request')} touching {counted(registers, 'register')}{units}"
        f" for {points}"
    )


def _statistics(device: Device) -> Mapping[str, float]:
    """Ask a driver for its plan; nothing is connected by making it."""
    ids = {name: number for number, name in enumerate(device.names(), start=1)}
    driver = device.driver.open(
        device.name, device.config, device.driver_points(ids), SystemClock()
    )
    return driver.statistics()


def _facts(site: Site, expected: Forecast) -> dict[str, Any]:
    return {
        "gateway": site.gateway.id,
        "devices": [
            {
                "name": device.name,
                "driver": device.driver.name,
                "points": len(device.rows),
                "table": device.table,
                "requests_per_poll": _requests_per_poll(device),
                "profile": _own_lines(device),
            }
            for device in site.devices
        ],
        "cameras": [
            {"name": camera.name, "points": len(all_tags(camera)), "zones": len(camera.zones)}
            for camera in site.cameras
        ],
        "uplinks": [
            {"name": uplink.name, "target": uplink.target, "insecure": uplink.insecure}
            for uplink in site.uplinks
        ],
        "console": _console_lines(site),
        "points": len(site.point_names()),
        "values_per_s": expected.values_per_s,
        "telemetry_bytes_per_day": expected.telemetry_bytes_per_day,
        "telemetry_days": expected.telemetry_days,
        "not_checked": NOT_CHECKED,
    }


def _print_json(
    good: bool,
    problems: tuple[ConfigProblem, ...],
    warnings: tuple[ConfigProblem, ...],
    facts: dict[str, Any],
) -> None:
    result = {
        "ok": good,
        "problems": [asdict(problem) for problem in problems],
        "warnings": [asdict(warning) for warning in warnings],
        **facts,
    }
    print_json(result)


def _round(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _ground_words(camera: CameraConfig) -> str:
    """How well the measured points of a camera's ground fit."""
    if camera.ground is None:
        return ""
    from vision.ground import LEAST_POINTS

    count = len(camera.ground.points)
    if count == LEAST_POINTS:
        return f", ground by {count} points (they always fit: a fifth tells an error)"
    off_m = float(camera.ground.fitted().fit.off_m.max())
    return f", ground by {count} points, at most {off_m:.2f} m off"

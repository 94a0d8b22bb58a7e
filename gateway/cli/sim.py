"""`plantgate sim SITE.toml`: the plant's side of a site, so that it can be rehearsed at a desk.

Serves every Modbus TCP and OPC UA device of the site on loopback until SIGTERM or Ctrl-C. Once all
listen it prints one line such as `ready gds-1=127.0.0.1:1502 dcs=127.0.0.1:4840`. Exit 0 after a
signal, 2 for a mistake in a file, 1 if a port is taken.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from drivers.sim.faults import Fault
    from drivers.sim.rehearsal import Ports, Rehearsal, SimDevice
    from gateway.cli.sim_site import Translation
    from gateway.config.site import Site

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXAMPLE = """\b
Examples:
  plantgate sim site.toml
  plantgate sim site.toml --write-site desk.toml --faults faults.toml
  plantgate sim site.toml --port-offset 10000 --seed 7
\b
faults.toml:
  [[fault]]
  device = "gds-1"
  kind = "dead"       # dead, illegal, slow, drift, stuck or calibration
  at_s = 60
  for_s = 120
"""


@click.command("sim", epilog=EXAMPLE)
@click.argument("site", type=click.Path(path_type=Path))
@click.option("--faults", type=click.Path(path_type=Path), help="TOML file of faults to rehearse.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True,
              help="Equal seeds give equal signals.")  # fmt: skip
@click.option("--port-offset", type=click.IntRange(1, 65_000), help="Serve on port + offset.")
@click.option(
    "--write-site",
    "out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Serve on free ports and write a site file that points there, beside SITE.",
)
def command(
    site: Path, faults: Path | None, seed: int, port_offset: int | None, out: Path | None
) -> None:
    """Serve the Modbus and OPC UA side of SITE (a TOML file) on this machine."""
    from drivers.sim.rehearsal import Rehearsal
    from gateway.cli.sim_site import Where, translate
    from gateway.config.load import ConfigError, load
    from gateway.runtime.loop import loop_factory

    if port_offset is not None and out is not None:
        _end("--port-offset and --write-site exclude each other")
    if out is not None:
        _check_out(site, out)
    try:
        loaded = load(site)
    except ConfigError as error:
        _end(str(error))
    found = translate(loaded, Where(port_offset or 0, anywhere=out is not None))
    if found.problems:
        _end("\n".join(f"{site}: {problem}" for problem in found.problems))
    listed = [] if faults is None else _faults(faults, found.devices)
    try:
        rehearsal = Rehearsal(found.devices, listed, seed)
    except ValueError as error:
        _end(f"{site}: {error}")
    _print_notes(found, out, loaded)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            runner.run(_until_stopped(rehearsal, found, loaded, out))
        except OSError as error:
            print(f"{site}: the simulator cannot listen: {error}", file=sys.stderr)
            sys.exit(1)


async def _until_stopped(
    rehearsal: Rehearsal, found: Translation, site: Site, out: Path | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)

    def ready(ports: Ports) -> None:
        if out is not None:
            _write_site(site, out, ports)
        for device in found.devices:
            print(_line(device, ports.by_device[device.name]))
        where = (f"{name}=127.0.0.1:{port}" for name, port in ports.by_device.items())
        print("ready", *where, flush=True)

    await rehearsal.run(stop, ready)


def _line(device: SimDevice, port: int) -> str:
    count = f"{len(device.points)} points"
    if not device.is_modbus:
        return f"{device.name}: OPC UA at opc.tcp://127.0.0.1:{port}{device.path}, {count}"
    units = ", ".join(str(unit) for unit in sorted({unit for unit, _ in device.spots}))
    return f"{device.name}: Modbus at 127.0.0.1:{port}, unit {units}, {count}"


def _print_notes(found: Translation, out: Path | None, site: Site) -> None:
    from gateway.cli.sim_site import rewritten

    notes = list(found.notes)
    if out is not None:
        notes += rewritten(_raw(site.path), {})[1]
    for note in notes:
        print(f"note: {note}")


def _write_site(site: Site, out: Path, ports: Ports) -> None:
    from gateway.cli.sim_site import rewritten, toml

    content, _ = rewritten(_raw(site.path), ports.by_device)
    heading = (
        f"# Written by plantgate sim {site.path.name} --write-site: points at the simulator.\n"
    )
    try:
        out.write_text(heading + toml(content), encoding="utf-8")
    except OSError as error:
        _end(f"{out}: cannot be written: {error.strerror}")


def _check_out(site: Path, out: Path) -> None:
    if out.resolve().parent != site.resolve().parent:
        _end(f"{out}: must lie beside {site}, as the paths in it are relative to their folder")
    if out.resolve() == site.resolve():
        _end(f"{out}: is the site file itself; name another")


def _faults(path: Path, devices: list[SimDevice]) -> list[Fault]:
    """Read the faults; ends with 2 after saying every mistake."""
    from drivers.sim.faults import Fault, complaints
    from drivers.sim.site_signals import SiteSignals
    from gateway.config.problems import Report
    from gateway.config.sections import entries, section
    from gateway.config.toml_lines import locate

    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except OSError as error:
        _end(f"{path}: cannot be read: {error.strerror}")
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError are among them
        _end(f"{path}: is no TOML: {error}")
    report = Report(str(path), raw, locate(text))
    for name in raw:
        if name != "fault":
            report.wrong((name,), "unknown section; known is: fault")
    named = {device.name: device for device in devices}
    found: list[Fault] = []
    for at, table in entries(raw, "fault", report):
        fault = section(Fault, table, at, path.parent, report)
        if fault is None:
            continue
        device = named.get(fault.device)
        signals = SiteSignals(device.name, device.points, 0) if device is not None else None
        is_modbus = device is not None and device.is_modbus
        for complaint in complaints(fault, signals, is_modbus):
            report.wrong(at, complaint)
        found.append(fault)
    if report.problems:
        _end("\n".join(map(str, report.problems)))
    return found


def _raw(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8-sig"))


def _end(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(2)

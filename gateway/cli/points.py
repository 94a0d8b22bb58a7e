"""`plantgate points`: a vendor's point table in, a checked one out; and a workbook to fill in.

Guarantees: every mistake is one line that names the cell, all of them at once, with exit code 2;
nothing is written then. A file that exists is replaced only with --force, and never the one that is
read.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gateway.cli.group import Group
from gateway.cli.output import print_json
from gateway.cli.points_browse import command as browse
from gateway.config.problems import ConfigProblem

if TYPE_CHECKING:
    from drivers.contract import DriverType, Problem, StrictModel
    from drivers.point_table import PointRow, PointTable
    from drivers.point_template import Template
    from drivers.point_writer import Value

_BY_HEADINGS = ("modbus", "opcua", "serial_line", "intake_http")  # all intakes have the same
DRIVERS = (*_BY_HEADINGS, "intake_mqtt", "intake_folder")
EXAMPLE = """\b
Examples:
  plantgate points template gds-1.xlsx --driver modbus
  plantgate points import vendor.xlsx points/gds-1.csv --map '序号=,KKS=name'
  plantgate points export site.toml --device gds-1 gds-1.xlsx
"""
_FORCE = click.option("--force", is_flag=True, help="Replace OUT if it exists.")
_OUT = click.argument("out", type=click.Path(path_type=Path, dir_okay=False))


@click.group("points", cls=Group, epilog=EXAMPLE)
def command() -> None:
    """Convert and check point tables 点表, and make one to fill in or from a server."""


command.add_command(browse)


@command.command("template", epilog=EXAMPLE)
@_OUT
@click.option("--driver", type=click.Choice(DRIVERS), required=True, help="Whose columns.")
@_FORCE
def template(out: Path, driver: str, *, force: bool) -> None:
    """Write OUT.xlsx: headings in Chinese and English, two example rows, every column explained."""
    if out.suffix.lower() != ".xlsx":
        _end(f"{out}: a template is a workbook: name it .xlsx")
    from drivers.point_template import template_bytes

    _write(out, template_bytes(_template(driver)), force)
    print(f"wrote {out}: replace the two example rows, then name the file in points of [[device]]")


@command.command("import", epilog=EXAMPLE)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@_OUT
@click.option("--driver", type=click.Choice(DRIVERS), help="Else found by the headings.")
@click.option("--sheet", default="", help="Of a workbook; else the first with headings.")
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="THEIRS=OURS,…",
    help="What headings mean that are not known; 'THEIRS=' leaves a column out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@_FORCE
def import_(
    source: Path,
    out: Path,
    driver: str | None,
    sheet: str,
    maps: tuple[str, ...],
    *,
    as_json: bool,
    force: bool,
) -> None:
    """Read a vendor's table IN (CSV or XLSX), check it, and write it as OUT (.csv or .xlsx)."""
    from drivers.point_table import TableError

    mapping = _mapping(maps)
    if out.exists() and source.exists() and out.samefile(source):
        _end(f"{out}: is the file that is read; name another")
    try:
        name, table = _read(source, driver, sheet, mapping)
    except TableError as error:
        _failed([ConfigProblem(str(source), error.row, "", str(error))], as_json)
    kind = _driver_type(name)
    found, advice = _checked(name, table.rows)
    problems = [*_unused_mapping(mapping, table, kind), *table.problems, *found]
    if problems:
        _failed([_located(source, table, problem) for problem in problems], as_json)
    _write(out, _encoded(out, table.rows, kind.address), force)
    notes = [*(f"{source}: {note.replace('the key sheet', '--sheet')}" for note in table.notes)]
    notes += advice
    if as_json:
        facts = {"ok": True, "driver": name, "points": len(table.rows), "notes": notes}
        print_json(facts)
        return
    for note in notes:
        print(f"note: {note}")
    print(f"OK: {len(table.rows)} points for {name} from {source} to {out}")


@command.command("export", epilog=EXAMPLE)
@click.argument("site", type=click.Path(path_type=Path))
@_OUT
@click.option("--device", required=True, help="Name of the [[device]].")
@_FORCE
def export(site: Path, out: Path, device: str, *, force: bool) -> None:
    """Write the points that SITE (a TOML file) configures for a device as OUT (.csv or .xlsx)."""
    from drivers.wording import shown, suggestion
    from gateway.config.load import ConfigError, load

    try:
        loaded = load(site)
    except ConfigError as error:
        _end(str(error))
    found = next((entry for entry in loaded.devices if entry.name == device), None)
    if found is None:
        names = [entry.name for entry in loaded.devices]
        _end(f"{site}: has no device {shown(device)}; {suggestion(device, names)}")
    _write(out, _encoded(out, found.rows, found.driver.address), force)
    print(f"OK: {len(found.rows)} points of {device} to {out}")


def _read(
    source: Path, driver: str | None, sheet: str, mapping: Mapping[str, str]
) -> tuple[str, PointTable[Any]]:
    """Read a table by the driver asked for, else by the one whose columns are there."""
    from drivers.point_table import read

    if driver is not None:
        table = read(source, _driver_type(driver).address, sheet=sheet, mapping=mapping)
        return driver, table
    tables = {
        name: read(source, _driver_type(name).address, sheet=sheet, mapping=mapping)
        for name in _BY_HEADINGS
    }
    return min(tables.items(), key=lambda item: _strangers(item[1]))  # the first of equals


def _strangers(table: PointTable[Any]) -> int:
    """Count columns that are unknown or missing."""
    words = ("unknown column", "this column is missing")
    return sum(problem.message.startswith(words) for problem in table.problems)


def _checked(name: str, rows: Sequence[PointRow[Any]]) -> tuple[list[Problem], list[str]]:
    """Let the driver judge the rows together; gives its problems, and advice for the site file."""
    from drivers.contract import DriverPoint

    driver = _driver_type(name)
    points = [DriverPoint(at, row.tag, row.address, row.row) for at, row in enumerate(rows, 1)]
    outcomes = []
    for config, advice in _configs(name):
        found = [p for p in driver.check(config, points) if p.row and "warning: " not in p.message]
        outcomes.append((found, advice))
    if not outcomes:
        return [], []
    found, advice = min(outcomes, key=lambda outcome: len(outcome[0]))  # the first of equals
    if name == "modbus" and not found and not advice:
        from drivers.modbus.config import looks_modicon

        advice = [_MODICON] if looks_modicon(row.address for row in rows) else advice
    return found, advice


_HOW_TO_MAP = "say what a column means by --map 'THEIRS=OURS', or leave it out by --map 'THEIRS='"
_MODICON = 'the addresses are in 4xxxx notation: set base = "modicon" in the [[device]]'


def _configs(name: str) -> list[tuple[StrictModel, list[str]]]:
    """Device entries to judge the rows by; the network is never touched.

    None where an entry needs files beside the table; `plantgate check` judges these.
    """
    if name not in {"modbus", "opcua"}:
        return []
    if name == "opcua":
        from drivers.opcua.config import OpcUaConfig

        endpoint = "opc.tcp://localhost:4840"
        return [(OpcUaConfig(endpoint=endpoint, security="None", insecure=True), [])]
    from drivers.modbus.config import ModbusConfig

    return [
        (ModbusConfig(host="localhost"), []),
        (ModbusConfig(host="localhost", base="modicon"), [_MODICON]),
    ]


def _mapping(maps: Sequence[str]) -> dict[str, str]:
    """Read --map; ends with 2 where it is wrong."""
    found: dict[str, str] = {}
    for pair in (pair for text in maps for pair in text.split(",") if pair.strip()):
        theirs, equals, ours = pair.partition("=")
        if not equals or not theirs.strip():
            _end(f"--map: {pair.strip()!r} is not like THEIRS=OURS")
        found[theirs.strip()] = ours.strip()
    return found


def _unused_mapping(
    mapping: Mapping[str, str], table: PointTable[Any], driver: DriverType[Any, Any]
) -> list[Problem]:
    """Mistakes of --map: headings that the table lacks, columns that we lack."""
    from drivers.contract import Problem
    from drivers.point_columns import Columns, folded
    from drivers.point_table import PointSettings
    from drivers.wording import shown, suggestion

    fields = Columns(PointSettings, driver.address).fields
    headings = {folded(heading): heading for heading in table.columns}
    problems = []
    for theirs, ours in mapping.items():
        if folded(theirs) not in headings:
            advice = suggestion(theirs, headings.values())
            problems.append(Problem(0, "", f"--map: has no column {shown(theirs)}; {advice}"))
        if ours and ours not in fields:
            advice = suggestion(ours, fields)
            problems.append(Problem(0, "", f"--map: {shown(ours)} is no column of ours; {advice}"))
    return problems


def _located(source: Path, table: PointTable[Any], problem: Problem) -> ConfigProblem:
    place = table.place(problem.row, problem.column) if problem.row else ""
    return ConfigProblem(
        str(source), problem.row, problem.column, problem.message, cell=True, place=place
    )


def _encoded(out: Path, rows: Sequence[PointRow[Any]], address: type[StrictModel]) -> bytes:
    from drivers.point_records import TableError
    from drivers.point_writer import csv_bytes, workbook_bytes

    kind = out.suffix.lower()
    if kind == ".csv":
        return csv_bytes(rows, address)
    if kind != ".xlsx":
        _end(f"{out}: the name must end with .csv or .xlsx")
    try:
        return workbook_bytes(rows, address)
    except TableError as error:
        _end(f"{out}: {error}")


def _write(out: Path, content: bytes, force: bool) -> None:
    if out.exists() and not force:
        _end(f"{out}: exists; name another file, or replace it with --force")
    try:
        out.write_bytes(content)
    except OSError as error:
        _end(f"{out}: cannot be written: {error.strerror}")


def _driver_type(name: str) -> DriverType[Any, Any]:
    from drivers.registry import find

    return find(name)


def _template(driver: str) -> Template:
    """Columns, choices and examples of a driver's template."""
    from drivers.point_template import Template

    address = _driver_type(driver).address
    level: dict[str, Value] = {
        "unit": "%", "low": 20, "high": 80, "deadband": 1, "range_low": 0, "range_high": 100,
    }  # fmt: skip
    gas: dict[str, Value] = {
        "unit": "%LEL", "high": 25, "high_high": 50, "deadband": 1, "range_low": 0,
        "range_high": 100, "priority": 1, "gas": "CH4",
    }  # fmt: skip
    first = {"name": "AT-101", **gas, "description": "罐区东 combustible gas"}
    second = {"name": "LI-102", **level, "scale": 0.1, "description": "V-101 level 液位"}
    del second["scale"]
    if driver == "opcua":
        nodes = [{"node": f"nsu=urn:plant:dcs;s={tag}.PV"} for tag in ("AT-101", "LI-102")]
        types = ("float", "int", "uint", "bool", "text")
        examples = [{**point, **node} for point, node in zip((first, second), nodes, strict=True)]
        return Template(address, examples, {"type": types})
    if driver.startswith("intake"):
        ids = [{"id": f"DCS1.{tag}.PV"} for tag in ("AT-101", "LI-102")]
        return Template(address, [{**p, **i} for p, i in zip((first, second), ids, strict=True)])
    if driver == "serial_line":
        fields = [{"field": "gas"}, {"field": "level"}]
        return Template(address, [{**p, **f} for p, f in zip((first, second), fields, strict=True)])
    from drivers.modbus.config import TYPE_REGISTERS

    second["scale"] = 0.1
    examples = [
        {**first, "area": "holding", "address": "0", "type": "f32", "order": "ABCD"},
        {**second, "area": "input", "address": "10", "type": "u16", "order": "ABCD"},
    ]
    choices = {"type": tuple(TYPE_REGISTERS), "order": ("ABCD", "CDAB", "BADC", "DCBA")}
    return Template(address, examples, choices)


def _failed(problems: Sequence[ConfigProblem], as_json: bool) -> NoReturn:
    if as_json:
        facts = {"ok": False, "problems": [asdict(problem) for problem in problems]}
        print_json(facts)
    else:
        for problem in problems:
            print(problem, file=sys.stderr)
        if any(problem.message.startswith("unknown column") for problem in problems):
            print(_HOW_TO_MAP, file=sys.stderr)
    sys.exit(2)


def _end(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(2)

"""`plantgate declare`: span-gas tests, calibrations and outages of a gateway that runs here.

While one runs, values and alarms flow on, marked and counted apart. Exit 0; 1 if no gateway answers
or it refuses; 2 for a mistake in the options.
"""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from gateway.cli.group import Group
from gateway.cli.output import AS_JSON, counted, print_json
from gateway.cli.running import DATA_DIR, answered, plant_time

_PERSON = click.option("--person", default=getpass.getuser, help="Who declares; else your login.")


@click.group("declare", cls=Group, epilog="\b\nExample:\n  plantgate declare list data")
def command() -> None:
    """Declare a span-gas test 标气测试, a calibration 校准 or an outage 停用检修."""


@command.command(
    "begin",
    epilog="""\b
Example:
  plantgate declare begin data point gds-1/AT-101 --kind span_gas --minutes 30 \\
      --person 王芳 --reason 月度标定
""",
)
@DATA_DIR
@click.argument("scope", type=click.Choice(["point", "device", "place"]))
@click.argument("name")
@click.option("--kind", required=True, help="What it is.",
              type=click.Choice(["span_gas", "calibration", "maintenance"]))  # fmt: skip
@click.option("--minutes", required=True, type=click.FloatRange(min=0, min_open=True),
              help="How long; it ends by itself.")  # fmt: skip
@click.option("--after-minutes", default=0.0, type=click.FloatRange(min=0), help="Begin later.")
@_PERSON
@click.option("--reason", required=True, help="Why; it goes on record.")
def begin(
    data_dir: Path, scope: str, name: str, *, kind: str, minutes: float, after_minutes: float,
    person: str, reason: str,
) -> None:  # fmt: skip
    """Declare a test or an outage of a point, a device or a place."""
    answer = answered(
        data_dir,
        {"ask": "declare.begin", "scope": scope, "name": name, "kind": kind, "minutes": minutes,
         "after_minutes": after_minutes, "person": person, "reason": reason},
    )  # fmt: skip
    print(answer["id"])


@command.command("end", epilog="\b\nExample:\n  plantgate declare end data 5d41402abc4b")
@DATA_DIR
@click.argument("declaration")
@_PERSON
def end(data_dir: Path, declaration: str, person: str) -> None:
    """End a declaration early; what still stands is announced as real."""
    answered(data_dir, {"ask": "declare.end", "id": declaration, "person": person})
    print(f"{declaration} has ended")


@command.command("list", epilog="\b\nExample:\n  plantgate declare list data --json")
@DATA_DIR
@AS_JSON
def listed(data_dir: Path, as_json: bool) -> None:
    """List what is declared and has not ended, with what was counted under it."""
    answer = answered(data_dir, {"ask": "declare.list"})
    if as_json:
        print_json(answer)
        return
    for row in answer["declarations"]:
        state = "runs" if row["running"] else "begins later"
        state += f", until {plant_time(row['end_ns'])}"
        print(
            f"{row['id']} {row['kind']} {row['scope']} {row['name']}: {state},"
            f" {row['person']}: {row['reason']}; {row['values']} values, {row['alarms']} alarms"
        )
    print(counted(len(answer["declarations"]), "declaration"))

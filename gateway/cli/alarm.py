"""`plantgate alarm`: alarms of a gateway that runs here, and what people do with them.

Every command names a person and leaves an audit event. Nothing reaches the control system: an alarm
is acknowledged at the gateway only. Exit 0; 1 if no gateway answers or it refuses; 2 for a mistake
in the options.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.group import Group
from gateway.cli.output import AS_JSON, counted, print_json
from gateway.cli.running import DATA_DIR, answered, plant_time


@click.group("alarm", cls=Group, epilog="\b\nExample:\n  plantgate alarm list data")
def command() -> None:
    """List, acknowledge, shelve and take out of service alarms of a running gateway."""


@command.command(
    "list", epilog="\b\nExample:\n  plantgate alarm list data --json | jq '.alarms[0]'"
)
@DATA_DIR
@click.option(
    "--most",
    type=click.IntRange(1, 1_000_000),
    default=500,
    show_default=True,
    help="How many; in a flood there are thousands.",
)
@AS_JSON
def listed(data_dir: Path, most: int, as_json: bool) -> None:
    """List the alarms that are not plainly normal, highest priority first."""
    answer = answered(data_dir, {"ask": "alarm.list", "most": most})
    if as_json:
        print_json(answer)
        return
    for row in answer["alarms"]:
        print(_line(row))
    shown, total = len(answer["alarms"]), answer["total"]
    print(
        counted(total, "alarm") + (f", the first {shown} shown (--most)" if shown < total else "")
    )


def _verb(name: str, words: str, *, ends: bool, reason: bool) -> None:
    """Add one command; those that put an alarm aside need a reason and an end."""
    example = (
        f"\b\nExample:\n  plantgate alarm {name} data gds-1/AT-101 --condition high --operator 王芳"
    )
    if reason:
        example += " \\\n      --reason 探头更换"
    if ends:
        example += " --minutes 60"

    def run(
        data_dir: Path, source: str, condition: str, operator: str, reason: str = "",
        minutes: float = 0.0,
    ) -> None:  # fmt: skip
        answer = answered(
            data_dir,
            {"ask": "alarm.command", "verb": name, "source": source, "condition": condition,
             "operator": operator, "reason": reason, "minutes": minutes},
        )  # fmt: skip
        for row in answer["changes"]:
            print(f"{row['source']} {row['condition']}: {row['state'].replace('_', ' ')}")

    run.__doc__ = words
    options: list[Any] = [
        DATA_DIR,
        click.argument("source"),
        click.option("--condition", default="", help="Which alarm, where SOURCE has several."),
        click.option("--operator", default=getpass.getuser, help="Who does it; else your login."),
        click.option("--reason", required=reason, default="", help="Why; it goes on record."),
    ]  # fmt: skip
    if ends:
        limit = click.FloatRange(min=0, min_open=True)
        options.append(click.option("--minutes", required=True, type=limit, help="For how long."))
    decorated: Any = run
    for option in reversed(options):
        decorated = option(decorated)
    command.command(name, epilog=example)(decorated)


_verb(
    "ack", "Acknowledge an alarm; SOURCE is a point, or the alarm's id.", ends=False, reason=False
)
_verb("reset", "Reset a latched alarm that has returned.", ends=False, reason=False)
_verb(
    "shelve", "Shelve an alarm for a time: it is recorded and calls nobody.", ends=True, reason=True
)
_verb("unshelve", "End a shelf early.", ends=False, reason=False)
_verb("remove", "Take an alarm out of service for a time.", ends=True, reason=True)
_verb("restore", "Bring an alarm back into service.", ends=False, reason=False)


def _line(row: Mapping[str, Any]) -> str:
    since = plant_time(row["since_ns"])
    value = "" if row["value"] is None else f": {row['value']:g} {row['unit']}".rstrip()
    limit = "" if row["limit"] is None else f" (limit {row['limit']:g})"
    marks = [row["state"].replace("_", " ")]
    marks += ["still active"] if row["active"] and row["until_ns"] else []
    marks += ["first out"] if row["first_out"] else []
    marks += [f"TEST {row['declaration']}"] if row["declaration"] else []
    by = f" by {row['operator']}" if row["operator"] else ""
    called = f" ({row['description']})" if row["description"] else ""
    name = f"{row['priority']} {since} {row['source']}{called} {row['condition']}"
    return f"{name}{value}{limit} [{', '.join(marks)}]{by}" + (
        f": {row['reason']}" if row["reason"] else ""
    )

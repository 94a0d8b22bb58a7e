"""`plantgate handling`: what people do about alarms of vision and special work 消警.

Each step names a person and goes on record. Exit 0; 1 if no gateway answers or it refuses; 2 for a
mistake in the options.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import click

from gateway.cli.group import Group
from gateway.cli.output import AS_JSON, counted, print_json
from gateway.cli.running import DATA_DIR, answered

_VERBS = {
    "push": "Say that somebody was told.",
    "confirm": "Confirm that it is so.",
    "reject": "Say that it was false; needs --note.",
    "handle": "Say that something is being done about it.",
    "close": "Close it; needs --note.",
}


@click.group("handling", cls=Group, epilog="\b\nExample:\n  plantgate handling list data")
def command() -> None:
    """Follow alarms of vision and special work from new to closed 消警."""


@command.command("list", epilog="\b\nExample:\n  plantgate handling list data --json")
@DATA_DIR
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@AS_JSON
def listed(data_dir: Path, everything: bool, as_json: bool) -> None:
    """List alarms that wait for a person's word."""
    cases = answered(data_dir, {"ask": "handling.list"})["cases"]
    shown = [case for case in cases if everything or case["state"] != "closed"]
    if as_json:
        print_json({"cases": shown})
        return
    for case in shown:
        stands = "returned" if case["returned"] else "stands"
        last = f", {case['steps'][-1]['person']}" if case["steps"] else ""
        print(f"{case['alarm_id'][:12]}  {case['source']} {case['condition']}  {case['state']}"
              f" {case['state_zh']}{last}  {stands}")  # fmt: skip
    print(counted(len(shown), "alarm"))


def _verb(name: str, words: str) -> None:
    def run(data_dir: Path, alarm: str, operator: str, note: str) -> None:
        request = {"ask": "handling.act", "action": name, "alarm": alarm, "operator": operator,
                   "note": note}  # fmt: skip
        case = answered(data_dir, request)
        print(f"{case['source']} {case['condition']}: {case['state']} {case['state_zh']}")

    run.__doc__ = words
    decorated: Any = run
    for option in (
        click.option("--note", default="", help="Why, or what was done."),
        click.option("--operator", default=getpass.getuser, help="Who does it; else your login."),
        click.argument("alarm"),
        DATA_DIR,
    ):
        decorated = option(decorated)
    example = f"\b\nExample:\n  plantgate handling {name} data 3f2a09 --operator 王芳 --note 已核实"
    command.command(name, epilog=example)(decorated)


for _name, _words in _VERBS.items():
    _verb(_name, _words)

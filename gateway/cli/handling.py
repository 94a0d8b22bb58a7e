"""`plantgate handling`: what people do about alarms of vision and special work 消警.

Each step names a person and goes on record. Exit 0; 1 if no gateway answers or it refuses; 2 for a
mistake in the options.
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

_VERBS = {
    "push": "Say that somebody was told.",
    "confirm": "Confirm that it is so.",
    "reject": "Say that it was false; needs --note.",
    "handle": "Say that something is being done about it.",
    "close": "Close it; needs --note.",
}


@click.group("handling", epilog="\b\nExample:\n  plantgate handling list data")
def command() -> None:
    """Follow alarms of vision and special work from new to closed 消警."""


@command.command("list", epilog="\b\nExample:\n  plantgate handling list data --json")
@click.argument("data_dir", type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def listed(data_dir: Path, everything: bool, as_json: bool) -> None:
    """List alarms that wait for a person's word."""
    cases = _ask(data_dir, {"ask": "handling.list"})["cases"]
    shown = [case for case in cases if everything or case["state"] != "closed"]
    if as_json:
        print(json.dumps({"cases": shown}, ensure_ascii=False, indent=2))
        return
    for case in shown:
        stands = "returned" if case["returned"] else "stands"
        last = f", {case['steps'][-1]['person']}" if case["steps"] else ""
        print(f"{case['alarm_id'][:12]}  {case['source']} {case['condition']}  {case['state']}"
              f" {case['state_zh']}{last}  {stands}")  # fmt: skip
    print(f"{len(shown)} alarms")


def _verb(name: str, words: str) -> None:
    def run(data_dir: Path, alarm: str, operator: str, note: str) -> None:
        request = {"ask": "handling.act", "action": name, "alarm": alarm, "operator": operator,
                   "note": note}  # fmt: skip
        case = _ask(data_dir, request)
        print(f"{case['source']} {case['condition']}: {case['state']} {case['state_zh']}")

    run.__doc__ = words
    decorated: Any = run
    for option in (
        click.option("--note", default="", help="Why, or what was done."),
        click.option("--operator", default=getpass.getuser, help="Who does it; else your login."),
        click.argument("alarm"),
        click.argument("data_dir", type=click.Path(path_type=Path)),
    ):
        decorated = option(decorated)
    example = f"\b\nExample:\n  plantgate handling {name} data 3f2a09 --operator 王芳 --note 已核实"
    command.command(name, epilog=example)(decorated)


for _name, _words in _VERBS.items():
    _verb(_name, _words)


def _ask(data_dir: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    from gateway.control.client import NotAnsweredError, RefusedError, ask

    try:
        return ask(data_dir, request)
    except (NotAnsweredError, RefusedError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from error

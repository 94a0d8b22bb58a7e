"""`plantgate notify`: whom alarms are told to, who is on duty, and a message to try a notifier.

Exit 0; 1 if no gateway answers or the message was not delivered; 2 for a mistake in the options or
the site file.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.group import Group
from gateway.cli.output import AS_JSON, counted, print_json
from gateway.cli.period import moment
from gateway.cli.running import DATA_DIR, answered

if TYPE_CHECKING:
    from gateway.config.notify import NotifyParts
    from gateway.config.site import Site


@click.group("notify", cls=Group, epilog="\b\nExample:\n  plantgate notify calls data")
def command() -> None:
    """See who is told of alarms 值班通知."""


@command.command("calls", epilog="\b\nExample:\n  plantgate notify calls data --json")
@DATA_DIR
@AS_JSON
def calls(data_dir: Path, as_json: bool) -> None:
    """List alarms that nobody has acknowledged, and whom they were told."""
    found = answered(data_dir, {"ask": "notify.calls"})["calls"]
    if as_json:
        print_json({"calls": found})
        return
    for row in found:
        print(_line(row))
    print(counted(len(found), "call"))


def _line(row: Mapping[str, Any]) -> str:
    what = row["source"] if row["what"] == "alarm" else f"flood, {row['alarms']} alarms"
    left = f"next step in {row['next_in_s']} s" if row["next_in_s"] >= 0 else "nobody left to tell"
    waiting = f", waiting: {row['waiting']}" if row["waiting"] else ""
    gone = ", returned" if row["returned"] else ""
    return (f"{what}  round {row['round']} step {row['step']}  told: {row['told'] or 'nobody'}"
            f"{waiting}{gone}; {left}")  # fmt: skip


@command.command(
    "roster", epilog="\b\nExample:\n  plantgate notify roster site.toml --at 2026-10-01T20:00+08:00"
)
@click.argument("site", type=click.Path(path_type=Path))
@click.option("--at", "at_ns", metavar="TIME", callback=moment,
              help="Another time than now, ISO 8601; UTC if it names no offset.")  # fmt: skip
@click.option("--priority", type=click.IntRange(1, 4), default=1, show_default=True)
@AS_JSON
def roster(site: Path, at_ns: int | None, priority: int, as_json: bool) -> None:
    """Say who is on duty, by position and step."""
    from gateway.duty.roster import local
    from gateway.runtime.clock import SystemClock

    _, parts = _parts(site)
    time_ns = SystemClock().wall_ns() if at_ns is None else at_ns
    found = {
        position: {
            step: [{"person": one.person, "notifier": one.notifier, "contact": one.contact}
                   for one in who]
            for step, who in parts.roster.on_duty(position, priority, time_ns).items()
        }
        for position in parts.roster.positions()
    }  # fmt: skip
    if as_json:
        print_json({"at": local(time_ns).isoformat(), "positions": found})
        return
    print(f"{local(time_ns):%Y-%m-%d %H:%M} plant time, priority {priority}")
    for position, steps in found.items():
        for step, who in steps.items():
            people = ", ".join(f"{one['person']} ({one['notifier']})" for one in who)
            print(f"{position}  step {step}: {people}")
        if not steps:
            print(f"{position}  nobody 无人值守")


@command.command("test", epilog="\b\nExample:\n  plantgate notify test site.toml sms --person 王芳")
@click.argument("site", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--person", default="test", help="Who is told.")
@click.option("--contact", default="", help="Telephone number or account.")
def test(site: Path, name: str, person: str, contact: str) -> None:
    """Send one message by a notifier, marked as a test; no gateway needs to run."""
    from gateway.notify.build import make_notifier
    from gateway.notify.contract import NotifyError
    from gateway.notify.trial import trial_message
    from gateway.runtime.clock import SystemClock

    found, parts = _parts(site)
    chosen = [one for one in parts.notifiers if one.name == name]
    if not chosen:
        names = ", ".join(one.name for one in parts.notifiers)
        raise click.UsageError(f"no [[notifier]] is called {name}: there are {names or 'none'}")
    clock = SystemClock()
    enterprise = parts.config.enterprise_name or found.gateway.enterprise
    message = trial_message(parts.words, enterprise, (person, contact, name), clock.wall_ns())
    try:
        asyncio.run(make_notifier(chosen[0], found.gateway.data_dir, clock).send(message))
    except NotifyError as error:
        print(f"{name}: not delivered: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    print(f"{name}: delivered: {message.zh}")


def _parts(path: Path) -> tuple[Site, NotifyParts]:
    from gateway.config.load import load
    from gateway.config.problems import ConfigError

    try:
        site = load(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    if site.notify is None:
        raise click.UsageError(f"{path} has no [notify]")
    return site, site.notify

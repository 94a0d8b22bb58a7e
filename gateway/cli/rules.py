"""`plantgate rules`: print the rule books, with the values of a site where one is given.

Exit 0, or 2 for a mistake in the options or the site file.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.output import print_json

if TYPE_CHECKING:
    from gateway.rules.rulebook import Rule, RuleBooks

EXAMPLE = """\b
Example:
  plantgate rules hot_work
  plantgate rules --site site.toml --changed
  plantgate rules --at 2026-07-01 --json | jq '.[] | select(.state != "verified")'
"""


@click.command("rules", epilog=EXAMPLE)
@click.argument("prefix", default="")
@click.option("--site", metavar="SITE", type=click.Path(path_type=Path),
              help="With the values of this site file.")  # fmt: skip
@click.option("--at", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]), default=None,
              help="Rules in force on this date; today unless given.")  # fmt: skip
@click.option("--changed", is_flag=True, help="Only rules whose value the site changed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def command(
    prefix: str, site: Path | None, at: dt.datetime | None, *, changed: bool, as_json: bool
) -> None:
    """Print every legal number the gateway judges by: value, clause, source, state of the source.

    PREFIX chooses rules by the beginning of their id.
    """
    from gateway.rules.rulebook import local_date
    from gateway.runtime.clock import SystemClock

    books = _books(site)
    on = at.date() if at is not None else local_date(SystemClock().wall_ns())
    chosen = [
        rule
        for rule in books.all()
        if rule.id.startswith(prefix)
        and (rule.in_force(on))
        and (rule.book_value is not None or not changed)
    ]
    if not chosen and not changed:
        print(f"no rule in force on {on} begins with {prefix!r}", file=sys.stderr)
        sys.exit(2)
    if as_json:
        print_json([_facts(rule) for rule in chosen])
        return
    for rule in chosen:
        print(_lines(rule))


def _books(site: Path | None) -> RuleBooks:
    from gateway.config.load import ConfigError, load
    from gateway.rules.rulebook import shipped

    if site is None:
        return shipped()
    try:
        return load(site).rules
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _facts(rule: Rule) -> dict[str, object]:
    return {
        "rule": rule.name,
        "value": None if rule.bound.value == "duty" else rule.value,
        "unit": rule.unit,
        "bound": rule.bound.value,
        "document": rule.document,
        "clause": rule.clause,
        "state": rule.state.value,
        "from": rule.since.isoformat() if rule.since else None,
        "until": rule.until.isoformat() if rule.until else None,
        "zh": rule.zh,
        "en": rule.en,
        "note": rule.note,
        "book_value": rule.book_value,
        "reason": rule.reason,
    }


def _lines(rule: Rule) -> str:
    bound = (
        "duty"
        if rule.bound.value == "duty"
        else (f"{rule.bound.value.replace('_', ' ')} {rule.value:g} {rule.unit}")
    )
    lines = [f"{rule.name}  {bound}", f"  {rule.zh}", f"  {rule.en}",
             f"  {rule.citation} [{rule.state.words}]"]  # fmt: skip
    if rule.note:
        lines.append(f"  note: {rule.note}")
    if rule.book_value is not None:
        word = "LOOSENED" if rule.loosened else "tightened"
        lines.append(
            f"  {word} by the site: the book says {rule.book_value:g} {rule.unit}"
            + (f"; reason: {rule.reason}" if rule.reason else "")
        )
    return "\n".join(lines)

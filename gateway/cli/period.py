"""A period on the command line: --from and --to, as times."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import click

SINCE = "Only from this time on, ISO 8601; UTC if it names no offset."


def moment(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """ISO 8601 as ns since 1970 UTC; UTC where no offset is given."""
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        example = "2026-05-01T08:00:00Z or 2026-05-01T16:00+08:00"
        raise click.BadParameter(f"{text!r} is no ISO 8601 time, for example {example}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since // datetime.timedelta(microseconds=1)) * 1000


def period(*, required: bool = False, since: str = SINCE) -> Callable[[Any], Any]:
    """Give a command --from and --to, as from_ns and to_ns. since: what it says of --from."""

    def both(function: Any) -> Any:  # noqa: ANN401  # click's own decorators take anything
        for option in (
            click.option("--to", "to_ns", metavar="TIME", callback=moment, required=required,
                         help="Only before this time."),
            click.option("--from", "from_ns", metavar="TIME", callback=moment, required=required,
                         help=since),
        ):  # fmt: skip
            function = option(function)
        return function

    return both

"""`plantgate request`: ask a gateway, through a receiver that runs here, for what it still holds.

Nothing that can be asked for configures or writes anything, at the gateway or in the plant. The
gateway records each request as an event and takes ten a minute. Exit 0; 1 if nobody answers or the
gateway refuses; 2 for a mistake in the options.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.cli.query import moment

EXAMPLE = """\b
Example:
  plantgate request --store received --gateway SD-370800-000123-01 period telemetry \\
      --from 2026-05-01T08:00Z --to 2026-05-01T09:00Z
"""


@click.group("request", epilog=EXAMPLE)
@click.option("--store", "folder", required=True, metavar="DIR", type=click.Path(path_type=Path),
              help="The receiver's --store, or its --files where that is PostgreSQL.")  # fmt: skip
@click.option("--gateway", required=True, metavar="ID", help="The gateway that is asked.")
@click.option("--destination", default="", metavar="NAME",
              help="Its stream for this destination, where it sends a filtered one.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(
    ctx: click.Context, folder: Path, gateway: str, destination: str, *, as_json: bool
) -> None:
    """Ask a gateway for records, a catalogue, its status, a file or a picture."""

    def ask(**what: str | int) -> None:
        _ask(folder, {"gateway": gateway, "destination": destination, **what}, as_json=as_json)

    ctx.obj = ask


@command.command("status")
@click.pass_obj
def status(ask: Callable[..., None]) -> None:
    """Have it send its status now (`plantgate query --gateways` shows it)."""
    ask(what="status")


_STREAM = click.Choice(["alarm", "event", "telemetry", "evidence"])


@command.command("resend")
@click.argument("stream", type=_STREAM)
@click.argument("first", type=click.IntRange(1))
@click.argument("last", type=click.IntRange(1))
@click.pass_obj
def resend(ask: Callable[..., None], stream: str, first: int, last: int) -> None:
    """Have records FIRST to LAST of a stream sent again."""
    ask(what="resend", stream=stream, first=first, last=last)


@command.command("period")
@click.argument("stream", type=_STREAM)
@click.option("--from", "from_ns", required=True, callback=moment, help="ISO 8601; UTC if it "
              "names no offset.")  # fmt: skip
@click.option("--to", "to_ns", required=True, callback=moment)
@click.pass_obj
def period(ask: Callable[..., None], stream: str, from_ns: int, to_ns: int) -> None:
    """Have what was recorded in a period sent again, in whole groups."""
    ask(what="period", stream=stream, from_ns=from_ns, to_ns=to_ns)


@command.command("catalogue")
@click.argument("sha256")
@click.pass_obj
def catalogue(ask: Callable[..., None], sha256: str) -> None:
    """Have a catalogue of points sent again."""
    ask(what="catalogue", sha256=sha256)


@command.command("evidence")
@click.argument("sha256")
@click.pass_obj
def evidence(ask: Callable[..., None], sha256: str) -> None:
    """Have a picture or clip sent that was withheld, or lost here."""
    ask(what="evidence", sha256=sha256)


@command.command("snapshot")
@click.argument("camera")
@click.pass_obj
def snapshot(ask: Callable[..., None], camera: str) -> None:
    """Have a picture of a camera taken now and sent as evidence."""
    ask(what="snapshot", camera=camera)


def _ask(folder: Path, asked: dict[str, Any], *, as_json: bool) -> None:
    from gateway.control.client import NotAnsweredError, RefusedError, ask

    try:
        answer = ask(folder, {"ask": "request", **asked})
    except NotAnsweredError:
        print(f"plantgate request: no receiver is running over {folder}", file=sys.stderr)
        sys.exit(1)
    except RefusedError as error:
        print(f"plantgate request: {error}", file=sys.stderr)
        sys.exit(1)
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
    elif answer["accepted"]:
        print(answer["message"])
    else:
        print(f"plantgate request: the gateway refused: {answer['message']}", file=sys.stderr)
    if not answer["accepted"]:
        sys.exit(1)

"""`plantgate request`: ask a gateway, through a receiver that runs here, for what it still holds.

Nothing that can be asked for configures or writes anything, at the gateway or in the plant. The
gateway records each request as an event and takes ten a minute. Exit 0; 1 if nobody answers or the
gateway refuses; 2 for a mistake in the options.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.cli.group import Group
from gateway.cli.output import AS_JSON
from gateway.cli.period import period as span
from gateway.receiver.evidence import evidence_path

Command = Callable[..., None]
ARRIVAL_S = 120
"""A picture of 200 kB takes 7 s at 256 kbit/s; a clip of 4 MB takes as long as this there."""


def _asking(function: Command) -> Command:
    """Give a command the options that all of them have."""
    for option in reversed((
        click.option("--store", "folder", required=True, metavar="DIR",
                     type=click.Path(path_type=Path),
                     help="The receiver's --store, or its --files where that is PostgreSQL."),
        click.option("--gateway", required=True, metavar="ID", help="The gateway that is asked."),
        click.option("--destination", default="", metavar="NAME",
                     help="Its stream for this destination, where it sends a filtered one."),
        AS_JSON,
    )):  # fmt: skip
        function = option(function)
    return function


def _example(words: str) -> str:
    return f"\b\nExample:\n  plantgate request {words} \\\n      --store received --gateway SD-01"


@click.group("request", cls=Group, epilog=_example("status"))
def command() -> None:
    """Ask a gateway for records, a catalogue, its status, a file, or a picture of now."""


@command.command("status", epilog=_example("status"))
@_asking
def status(**options: Any) -> None:  # noqa: ANN401  # the options that all commands have
    """Have it send its status now (`plantgate query --gateways` shows it)."""
    _ask(options, what="status")


_STREAM = click.Choice(["alarm", "event", "telemetry", "evidence"])


@command.command("resend", epilog=_example("resend telemetry 100 200"))
@click.argument("stream", type=_STREAM)
@click.argument("first", type=click.IntRange(1))
@click.argument("last", type=click.IntRange(1))
@_asking
def resend(stream: str, first: int, last: int, **options: Any) -> None:  # noqa: ANN401  # as above
    """Have records FIRST to LAST of a stream sent again."""
    _ask(options, what="resend", stream=stream, first=first, last=last)


@command.command(
    "period", epilog=_example("period alarm --from 2026-05-01T08:00Z --to 2026-05-01T09:00Z")
)
@click.argument("stream", type=_STREAM)
@span(required=True)
@_asking
def period(stream: str, from_ns: int, to_ns: int, **options: Any) -> None:  # noqa: ANN401  # as above
    """Have what was recorded in a period sent again, in whole groups."""
    _ask(options, what="period", stream=stream, from_ns=from_ns, to_ns=to_ns)


@command.command(
    "unthinned", epilog=_example("unthinned --from 2026-05-01T08:00Z --to 2026-05-01T09:00Z")
)
@span(required=True)
@_asking
def unthinned(from_ns: int, to_ns: int, **options: Any) -> None:  # noqa: ANN401  # as above
    """Have every sample of a thinned stream sent, of the points it takes, in whole groups."""
    _ask(options, what="unthinned", from_ns=from_ns, to_ns=to_ns)


@command.command("catalogue", epilog=_example("catalogue SHA256"))
@click.argument("sha256")
@_asking
def catalogue(sha256: str, **options: Any) -> None:  # noqa: ANN401  # as above
    """Have a catalogue of points sent again."""
    _ask(options, what="catalogue", sha256=sha256)


_OUTPUT = click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Wait until the whole file is here, and copy it to FILE.",
)  # fmt: skip


@command.command("evidence", epilog=_example("evidence SHA256"))
@click.argument("sha256")
@_OUTPUT
@_asking
def evidence(sha256: str, output: Path | None, **options: Any) -> None:  # noqa: ANN401  # as above
    """Have a picture or clip sent that was withheld, or lost here."""
    _ask(options, output, what="evidence", sha256=sha256)


@command.command("snapshot", epilog=_example("snapshot unit1-east --output now.jpg"))
@click.argument("camera")
@_OUTPUT
@_asking
def snapshot(camera: str, output: Path | None, **options: Any) -> None:  # noqa: ANN401  # as above
    """Have a picture of CAMERA taken now, stored there as evidence, and sent.

    The gateway refuses it where its uplink has evidence = "none", where the day's bytes of files
    are used up, and where the camera delivers nothing. Heads are blurred as in all its evidence.
    """
    _ask(options, output, what="snapshot", camera=camera)


def _ask(options: dict[str, Any], output: Path | None = None, **what: str | int) -> None:
    from gateway.control.client import NotAnsweredError, RefusedError, ask

    folder, as_json = options["folder"], options["as_json"]
    asked = {"gateway": options["gateway"], "destination": options["destination"], **what}
    try:
        answer = ask(folder, {"ask": "request", **asked})
    except NotAnsweredError:
        print(f"plantgate request: no receiver is running over {folder}", file=sys.stderr)
        sys.exit(1)
    except RefusedError as error:
        print(f"plantgate request: {error}", file=sys.stderr)
        sys.exit(1)
    if answer["accepted"] and output is not None:
        digest = str(answer.get("sha256") or what["sha256"]).lower()
        held = folder / "evidence"  # of --store; where that is PostgreSQL, --files itself
        _fetch(evidence_path(held if held.is_dir() else folder, digest), output)
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
    elif answer["accepted"]:
        print(f"written to {output}" if output else answer["message"])
    else:
        print(f"plantgate request: the gateway refused: {answer['message']}", file=sys.stderr)
    if not answer["accepted"]:
        sys.exit(1)


def _fetch(file: Path, output: Path) -> None:
    """Wait for a file of the receiver, and copy it."""
    deadline_s = time.monotonic() + ARRIVAL_S
    while not file.is_file():
        if time.monotonic() > deadline_s:
            print(f"plantgate request: {file.name} has not arrived within {ARRIVAL_S} s; it will be"
                  f" {file}", file=sys.stderr)  # fmt: skip
            sys.exit(1)
        time.sleep(0.1)
    try:
        shutil.copyfile(file, output)
    except OSError as error:
        print(f"plantgate request: {output} cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)

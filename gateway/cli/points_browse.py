"""`plantgate points browse URL OUT.csv`: a first point table from what an OPC UA server holds.

Guarantees: the server is walked slowly, to a bounded depth and count; a file that exists is
replaced only with --force. Exit 0, 1 where the server does not answer, 2 for a mistake.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.probe_opcua import login, login_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.opcua.inspect import Found

EXAMPLE = """\b
Example:
  plantgate points browse opc.tcp://10.1.2.3:4840/UA points/dcs.csv --glob '/Objects/Plant/*'
"""


@click.command("browse", epilog=EXAMPLE)
@click.argument("url")
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--glob", "globs", multiple=True, help="Paths to take, * any text; default all.")
@click.option("--depth", type=click.IntRange(1, 30), default=8, show_default=True)
@click.option("--most", type=click.IntRange(1, 1_000_000), default=100_000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@login_options
def command(  # click's options
    url: str,
    out: Path,
    *,
    globs: tuple[str, ...],
    depth: int,
    most: int,
    as_json: bool,
    force: bool,
    **options: Any,  # noqa: ANN401  # click's options
) -> None:
    """Walk the OPC UA server at URL and write its variables to OUT as a point table."""
    if out.exists() and not force:
        print(f"plantgate points browse: {out} exists; --force replaces it", file=sys.stderr)
        sys.exit(2)
    from drivers.contract import DeviceError
    from drivers.opcua.inspect import Walk, browse
    from gateway.runtime.clock import SystemClock

    config = login(url, **options)
    walk = Walk(globs or ("*",), depth, most)
    try:
        found = asyncio.run(browse(config, walk, SystemClock()))
    except DeviceError as error:
        print(f"plantgate points browse: {error}", file=sys.stderr)
        sys.exit(1)
    out.write_text(table_text(found), encoding="utf-8-sig", newline="")
    if as_json:
        print(json.dumps({"points": len(found), "file": str(out)}, ensure_ascii=False))
    else:
        print(f"wrote {len(found)} points to {out}")


def table_text(found: Sequence[Found]) -> str:
    """Write a point table; names are paths below Objects with dots, numbered where they repeat.

    The columns for structures are there only if one was met.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    further = [c for c in ("field", "index") if any(getattr(one, c) for one in found)]
    writer.writerow(["name", "node", "type", *further])
    taken: dict[str, int] = {}
    for one in found:
        name = one.path.removeprefix("/Objects/").replace("/", ".")
        name = ".".join(word for word in (name, one.field) if word)
        taken[name] = taken.get(name, 0) + 1
        unique = name if taken[name] == 1 else f"{name}.{taken[name]}"
        writer.writerow([unique, one.node, one.type, *(getattr(one, c) for c in further)])
    return text.getvalue()


__all__ = ["command", "table_text"]

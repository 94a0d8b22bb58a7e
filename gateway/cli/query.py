"""`plantgate query`: print what a receiver has stored, also while it runs.

Exit 0, or 2 for a mistake in the options or a place that holds no store.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from gateway.cli.output import opened
from gateway.cli.period import period

if TYPE_CHECKING:
    from gateway.receiver.contract import Reader
    from gateway.receiver.query import Query
    from gateway.receiver.samples import Unread

EXAMPLE = """\b
Example:
  plantgate query --store received --gateway SD-370800-000123-01 \\
      --point gds-1/AT-101 --from 2026-05-01 --to 2026-05-02 --format csv
  plantgate query --store received --alarms --json
  plantgate query --store postgresql://reader@db1,db2/plant --gateways
"""


@click.command("query", epilog=EXAMPLE)
@click.option("--store", required=True, metavar="DIR|URL",
              help="The receiver's store: its folder, or postgresql://...")  # fmt: skip
@click.option("--gateway", metavar="ID", help="Only this gateway.")
@click.option("--point", metavar="NAME", default="", help="Only this point (device/tag).")
@period()
@click.option("--format", "style", type=click.Choice(["csv", "json", "parquet"]), default="csv",
              show_default=True, help="json is one object a line.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--alarms", is_flag=True, help="Alarm records instead of telemetry.")
@click.option("--events", is_flag=True, help="Event records instead of telemetry.")
@click.option("--faults", is_flag=True, help="Records refused, conflicts, broken chains.")
@click.option("--gateways", is_flag=True, help="Gateways, their last status and their logs.")
@click.option("--recorded-time", is_flag=True,
              help="Times as written, also by a clock that was wrong.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), help="A file instead of the terminal.")
def command(
    store: str,
    gateway: str | None,
    point: str,
    from_ns: int | None,
    to_ns: int | None,
    style: str,
    output: Path | None,
    *,
    as_json: bool,
    recorded_time: bool,
    **kinds: bool,
) -> None:
    """Print what a receiver has stored, in order of sequence.

    Columns: gateway, point, time (of the source, UTC), value, quality, historical. What a gateway
    recorded with a wrong clock is shown at its true time once that is known.
    """
    from drivers.wording import unknown_point
    from gateway.receiver.contract import StorePathError
    from gateway.receiver.parquet import NoParquetError, require_pyarrow
    from gateway.receiver.query import Query
    from gateway.receiver.samples import Wanted
    from gateway.receiver.stores import open_reader

    asked = [kind for kind, is_asked in kinds.items() if is_asked]
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(f'--{kind}' for kind in asked)} exclude each other")
    if style == "parquet" and asked:
        raise click.UsageError(f"--{asked[0]} come as csv or json")
    what = asked[0] if asked else style
    query = Query(gateway, Wanted(point, from_ns, to_ns, recorded_time), as_json or style == "json")
    try:
        if style == "parquet":
            require_pyarrow()
        with contextlib.closing(open_reader(store)) as reader, opened(output) as file:
            unread, lines = _print(reader, query, what, file)
            _report(unread)
            nothing = what in {"csv", "json"} and lines <= (not query.as_json)
            if gateway is not None and not reader.logs(gateway):
                there = ", ".join(sorted({log.gateway for log in reader.logs()})) or "none"
                print(f"nothing came from a gateway {gateway!r}; from: {there}", file=sys.stderr)
            elif point and nothing and (said := unknown_point(point, _names(reader, gateway))):
                print(said, file=sys.stderr)
    except (StorePathError, NoParquetError) as error:
        print(f"plantgate query: {error}", file=sys.stderr)
        sys.exit(2)


def _print(reader: Reader, query: Query, what: str, file: IO[bytes]) -> tuple[Unread | None, int]:
    """Print; what could not be read, and how many lines of text there are."""
    from gateway.receiver.parquet import write_parquet
    from gateway.receiver.query import NOTICES, print_notices, print_telemetry

    if what == "parquet":
        return write_parquet(reader, query, file), 0
    lines = 0

    def write(text: str) -> None:
        nonlocal lines
        lines += text.count("\n")
        file.write(text.encode())

    if what in NOTICES:
        print_notices(reader, query, what, write)
        return None, lines
    return print_telemetry(reader, query, write), lines


def _names(reader: Reader, gateway: str | None) -> set[str]:
    """Names of points in any catalogue of what is held."""
    from buffer.contract import Stream
    from gateway.wire.v1 import uplink_pb2 as wire

    return {
        named.name
        for log in reader.logs(gateway)
        for record in reader.records(log, Stream.EVENT)
        for named in wire.Event.FromString(record.payload).catalogue.points
    }


def _report(unread: Unread | None) -> None:
    if unread is None:
        return
    if unread.waiting:
        print(f"{unread.waiting} records wait for their key", file=sys.stderr)
    if unread.damaged:
        reasons = "; ".join(sorted(unread.reasons)[:3])
        print(f"{unread.damaged} records cannot be decoded: {reasons}", file=sys.stderr)

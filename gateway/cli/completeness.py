"""`plantgate completeness`: what is missing, late or not good, at the platform and at the site.

Exit 0, or 2 for a mistake in the options or a place that holds nothing. Both ends use the same
pure functions (gateway/rules/completeness.py); the site's end asks its own log.
"""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.period import period

if TYPE_CHECKING:
    from gateway.receiver.completeness import Period
    from gateway.receiver.contract import Log, Reader

EXAMPLE = """\b
Example:
  plantgate completeness --store received --gateway SD-370800-000123-01
  plantgate completeness --data data --destination province
  plantgate completeness --data data --points --from 2026-05-01T08:00Z --to 2026-05-01T20:00Z
"""
Row = dict[str, str | int | float | None]


@click.command("completeness", epilog=EXAMPLE)
@click.option("--store", metavar="DIR|URL", help="A receiver's store.")
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path),
              help="A gateway's data directory: the site's own view.")  # fmt: skip
@click.option("--gateway", metavar="ID", help="Only this gateway of the store.")
@click.option("--destination", metavar="NAME", help="With --data: only what this uplink's receiver "
              "has acknowledged, which is the score that it sees.")  # fmt: skip
@period(since="Only what was recorded from this time on is read.")
@click.option("--points", is_flag=True, help="By point instead of by stream and hour.")
@click.option("--hazards", is_flag=True, help="By hazard (重大危险源) instead.")
@click.option("--late-s", default=60, show_default=True, type=click.IntRange(0))
@click.option("--flat-hours", default=24.0, show_default=True, type=click.FloatRange(0))
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
def command(
    store: str | None,
    data: Path | None,
    gateway: str | None,
    destination: str | None,
    from_ns: int | None,
    to_ns: int | None,
    late_s: int,
    flat_hours: float,
    *,
    points: bool,
    hazards: bool,
    as_json: bool,
) -> None:
    """Score what is held: expected, received, explained and unexplained gaps, lateness, quality."""
    from buffer.contract import BufferPathError
    from gateway.receiver.completeness import Period
    from gateway.receiver.contract import StorePathError
    from gateway.rules.completeness import HOUR_NS
    from gateway.runtime.clock import SystemClock

    if (store is None) == (data is None):
        raise click.UsageError("give either --store or --data")
    if destination and data is None:
        raise click.UsageError("--destination goes with --data")
    if from_ns is not None and to_ns is not None and from_ns >= to_ns:
        raise click.UsageError("--to is not after --from")
    now_ns = SystemClock().wall_ns()
    period = Period(from_ns, to_ns, late_s * 10**9, int(flat_hours * HOUR_NS), now_ns)
    try:
        with _sources(store, (data, destination), gateway) as sources:
            rows = _point_rows(sources, period, hazards=hazards) if points or hazards else (
                _hour_rows(sources, period))  # fmt: skip
            _print(rows, as_json=as_json)
    except (StorePathError, BufferPathError) as error:
        print(f"plantgate completeness: {error}", file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def _sources(
    store: str | None, site: tuple[Path | None, str | None], gateway: str | None
) -> Iterator[list[tuple[Reader, Log]]]:
    from gateway.receiver.stores import open_reader

    data, destination = site
    if data is not None:
        from gateway.cli.completeness_site import SiteReader

        with contextlib.closing(SiteReader(data, destination)) as log_here:
            yield [(log_here, log) for log in log_here.logs()]
        return
    with contextlib.closing(open_reader(store or "")) as reader:
        yield [(reader, log) for log in reader.logs(gateway)]


def _hour_rows(sources: list[tuple[Reader, Log]], period: Period) -> Iterator[Row]:
    from gateway.receiver.completeness import stream_hours
    from gateway.receiver.rows import iso_time
    from gateway.rules.completeness import HOUR_NS

    for reader, log in sources:
        for stream, hour in stream_hours(reader, log, period):
            yield {
                "gateway": log.gateway, "log_id": log.log_id.hex(),
                "stream": stream.name.lower(), "hour": iso_time(hour.start_ns),
                "expected": hour.expected, "received": hour.received,
                "gaps_explained": hour.explained, "gaps_unexplained": hour.unexplained,
                "late": hour.late, "late_most_s": round(hour.late_ns / 1e9, 3),
                "score": round(hour.score, 6), "withheld": hour.withheld,
                "filter": log.derived.filter, "silent_s": round(hour.silent_ns / 1e9, 3),
                "running": hour.start_ns + HOUR_NS > period.now_ns,
            }  # fmt: skip


def _point_rows(
    sources: list[tuple[Reader, Log]], period: Period, *, hazards: bool
) -> Iterator[Row]:
    from gateway.receiver.completeness import points
    from gateway.receiver.samples import Unread

    for reader, log in sources:
        unread = Unread()
        found = points(reader, log, period, unread, hazards=hazards)
        if unread.waiting or unread.damaged:
            print(f"{log.gateway or 'this log'}: {unread.waiting} records wait for their key and"
                  f" {unread.damaged} cannot be decoded; they are not counted",
                  file=sys.stderr)  # fmt: skip
        for name, one in sorted(found.items()):
            kinds = dict(one.kinds)
            head: Row = {"gateway": log.gateway, "hazard" if hazards else "point": name}
            plain = ("good", "late", "flat", "under_test", "planned_outage")
            other = {kind: count for kind, count in sorted(kinds.items()) if kind not in plain}
            yield head | {
                "samples": sum(kinds.values()),
                **{kind: kinds.get(kind, 0) for kind in plain},
                "other": sum(other.values()),
                "reasons": " ".join(f"{kind}={count}" for kind, count in other.items()),
                "score": None if one.score is None else round(one.score, 6),
            }


def _print(rows: Iterator[Row], *, as_json: bool) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    heading: list[str] = []
    for row in rows:
        if as_json:
            print(json.dumps(row, ensure_ascii=False))
            continue
        if not heading:
            heading = list(row)
            writer.writerow(heading)
        writer.writerow(map(_text, row.values()))


def _text(value: str | float | None) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)

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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.query import moment

if TYPE_CHECKING:
    from buffer.contract import Stream
    from buffer.ranges import RangeSet
    from gateway.receiver.contract import Log, Reader
    from gateway.rules.completeness import PointScore

EXAMPLE = """\b
Example:
  plantgate completeness --store received --gateway SD-370800-000123-01
  plantgate completeness --data data --points --json
"""
Row = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Asked:
    """Hours [from, to) by the record's time; what counts as late and as flat, ns."""

    from_ns: int
    to_ns: int
    late_ns: int
    flat_ns: int


@click.command("completeness", epilog=EXAMPLE)
@click.option("--store", metavar="DIR|URL", help="A receiver's store.")
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path),
              help="A gateway's data directory: the site's own view.")  # fmt: skip
@click.option("--gateway", metavar="ID", help="Only this gateway of the store.")
@click.option("--from", "from_ns", metavar="TIME", callback=moment, help="Only hours from here on.")
@click.option("--to", "to_ns", metavar="TIME", callback=moment, help="Only hours before.")
@click.option("--points", is_flag=True, help="By point instead of by stream and hour.")
@click.option("--hazards", is_flag=True, help="By hazard (重大危险源) instead.")
@click.option("--late-s", default=60, show_default=True, type=click.IntRange(0))
@click.option("--flat-hours", default=24.0, show_default=True, type=click.FloatRange(0))
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
def command(
    store: str | None,
    data: Path | None,
    gateway: str | None,
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
    from gateway.receiver.contract import StorePathError
    from gateway.rules.completeness import HOUR_NS

    if (store is None) == (data is None):
        raise click.UsageError("give either --store or --data")
    asked = Asked(-(1 << 62) if from_ns is None else from_ns, 1 << 62 if to_ns is None else to_ns,
                  late_s * 10**9, int(flat_hours * HOUR_NS))  # fmt: skip
    try:
        with _sources(store, data, gateway) as sources:
            rows = _point_rows(sources, asked, hazards=hazards) if points or hazards else (
                _hour_rows(sources, asked))  # fmt: skip
            _print(rows, as_json=as_json)
    except (StorePathError, BufferPathError) as error:
        print(f"plantgate completeness: {error}", file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def _sources(
    store: str | None, data: Path | None, gateway: str | None
) -> Iterator[list[tuple[Reader, Log]]]:
    from gateway.receiver.stores import open_reader

    if data is not None:
        from gateway.cli.completeness_site import SiteReader

        with contextlib.closing(SiteReader(data)) as site:
            yield [(site, log) for log in site.logs()]
        return
    with contextlib.closing(open_reader(store or "")) as reader:
        yield [(reader, log) for log in reader.logs(gateway)]


def _hour_rows(sources: list[tuple[Reader, Log]], asked: Asked) -> Iterator[Row]:
    from buffer.contract import Stream
    from gateway.receiver.corrections import Corrections
    from gateway.receiver.rows import iso_time
    from gateway.rules.completeness import StreamScore

    for reader, log in sources:
        true = Corrections(reader)
        for stream in Stream:
            begin = _begin(reader, log, stream)
            score = StreamScore(_explained(reader, log, stream), asked.late_ns, begin)
            for record in reader.records(log, stream):
                made_ns = true.time_ns(log, record)
                received_ns = max(made_ns, record.received_ns)
                score.feed(record.sequence, made_ns, received_ns, first=record.source_first)
            for hour in score.hours(_next(reader, log, stream)):
                if asked.from_ns <= hour.start_ns < asked.to_ns:
                    yield {
                        "gateway": log.gateway, "log_id": log.log_id.hex(),
                        "stream": stream.name.lower(), "hour": iso_time(hour.start_ns),
                        "expected": hour.expected, "received": hour.received,
                        "gaps_explained": hour.explained, "gaps_unexplained": hour.unexplained,
                        "late": hour.late, "late_most_s": round(hour.late_ns / 1e9, 3),
                        "score": round(hour.score, 6), "withheld": hour.withheld,
                        "filter": log.derived.filter,
                    }  # fmt: skip


def _begin(reader: Reader, log: Log, stream: Stream) -> int:
    """First sequence to be expected: 1, or where a derived stream begins."""
    if not log.derived.source_log_id:
        return 1
    return next((record.first for record in reader.records(log, stream)), 1)


def _explained(reader: Reader, log: Log, stream: Stream) -> RangeSet:
    """What was declared gone, and what gap records in the event stream name."""
    from buffer.contract import Stream as Streams
    from gateway.wire.v1 import uplink_pb2 as wire

    found = reader.gaps(log, stream)
    for record in reader.records(log, Streams.EVENT):
        gap = wire.Event.FromString(record.payload).gap
        if gap.stream == int(stream) and gap.first_sequence:
            found.add(gap.first_sequence, gap.last_sequence + 1)
    return found


def _next(reader: Reader, log: Log, stream: Stream) -> int:
    """One past the newest sequence that the gateway said it has; 0 if it said nothing."""
    from gateway.wire.v1 import uplink_pb2 as wire

    status = wire.Status.FromString(log.status or reader.gateway(log).status)
    return max(
        (one.next_sequence for one in status.streams if one.stream == int(stream)), default=0
    )


def _point_rows(sources: list[tuple[Reader, Log]], asked: Asked, *, hazards: bool) -> Iterator[Row]:
    from gateway.receiver.samples import Unread, Wanted, samples
    from gateway.rules.completeness import PointScores, by_hazard

    wanted = Wanted("", asked.from_ns, asked.to_ns)
    for reader, log in sources:
        scores = PointScores(asked.late_ns, asked.flat_ns)
        names: dict[int, str] = {}
        codes: dict[int, str] = {}
        for batch, known, _ in samples(reader, log, wanted, Unread()):
            names, codes = known.names, known.hazards
            scores.feed(batch)
        named: dict[str, PointScore] = (
            by_hazard(scores.points, codes)
            if hazards
            else {names.get(point, f"#{point}"): one for point, one in scores.points.items()}
        )
        for name, one in sorted(named.items()):
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
        writer.writerow(["" if value is None else value for value in row.values()])

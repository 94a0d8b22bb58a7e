"""`plantgate buffer`: look into a gateway's data directory, also while the gateway runs.

Nothing is written to the databases but by `fsck --repair`. Exit 0; 1 where `verify` or `fsck`
found something wrong or a file cannot be read; 2 for a mistake in the options or a directory that
holds no buffer.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.group import Group
from gateway.cli.output import opened
from gateway.cli.period import period

if TYPE_CHECKING:
    from buffer.contract import Stream
    from buffer.inspection import Held, Inspection, Verified

STREAMS = ("alarm", "event", "telemetry", "evidence")
POLL_S = 0.5
GIB = 1 << 30


def _example(text: str) -> str:
    return f"\b\nExample:\n{text}"


def _says_why(work: Callable[..., None]) -> Callable[..., None]:
    """Turn what can go wrong with a directory into one line and an exit code."""

    @wraps(work)
    def run(*arguments: object, **options: object) -> None:
        from buffer.block import BlockError
        from buffer.contract import BufferPathError

        try:
            work(*arguments, **options)
        except BufferPathError as error:
            print(f"plantgate buffer: {error}", file=sys.stderr)
            sys.exit(2)
        except (sqlite3.Error, BlockError) as error:
            text = f"{error}; plantgate buffer verify DIR says more"
            print(f"plantgate buffer: {text}", file=sys.stderr)
            sys.exit(1)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            sys.exit(130)

    return run


def _directory(work: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))(work)


_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group("buffer", cls=Group, epilog=_example("  plantgate buffer stat data\n"))
def command() -> None:
    """Look into the data directory of a gateway: the log, its cursors, its values."""


@command.command("stat", epilog=_example("  plantgate buffer stat data --quota 8\n"))
@_directory
@click.option("--quota", "quota_gib", type=click.FloatRange(min=0, min_open=True), metavar="GIB",
              help="Quota of telemetry, telemetry_quota_gb in the site file.")  # fmt: skip
@_json
@_says_why
def stat(directory: Path, quota_gib: float | None, *, as_json: bool) -> None:
    """Streams, bytes, hours held, hours of capacity, cursors with backlog, repairs."""
    from buffer.inspection import Inspection

    with Inspection(directory) as inspection:
        facts = _facts(inspection, quota_gib)
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    print(f"log id    {facts['log_id'] or '–'}")
    print(f"gateway   {'running' if facts['gateway_running'] else 'not running'}")
    print(f"disk      {facts['free_bytes'] / GIB:,.1f} GiB free")
    print("\nstream     first      next       records    MiB        hours held  capacity h")
    for row in facts["streams"]:
        hours = row["capacity_hours"]
        print(
            f"{row['stream']:<10} {row['first']:<10} {row['next']:<10} {row['records']:<10}"
            f" {row['used_bytes'] / (1 << 20):<10.1f} {row['held_hours']:<11.2f}"
            f" {'–' if hours is None else format(hours, ',.0f')}"
        )
    if facts["cursors"]:
        print("\ndestination          stream     backlog (records not acknowledged)")
    for row in facts["cursors"]:
        print(f"{row['destination']:<20} {row['stream']:<10} {row['backlog']}")
    for text in facts["repairs"]:
        print(f"\nnote: {text}")


def _facts(inspection: Inspection, quota_gib: float | None) -> dict[str, Any]:
    from buffer.contract import Stream
    from buffer.inspection import in_use
    from buffer.policy import HOUR_NS, BufferConfig

    quotas = dict(BufferConfig().quota_bytes)
    if quota_gib is not None:
        quotas[Stream.TELEMETRY] = round(quota_gib * GIB)

    def row(held: Held) -> dict[str, Any]:
        rate = held.bytes_per_hour
        return {
            "stream": held.stream.name.lower(),
            "first": held.first,
            "next": held.next,
            "records": held.records,
            "former_log_records": held.former,
            "used_bytes": held.used_bytes,
            "quota_bytes": quotas[held.stream],
            "held_hours": round((held.last_ns - held.first_ns) / HOUR_NS, 4),
            "bytes_per_hour": None if rate is None else round(rate),
            "capacity_hours": round(quotas[held.stream] / rate, 1) if rate else None,
        }

    status = os.statvfs(inspection.path)
    return {
        "log_id": inspection.log_id().hex(),
        "gateway_running": in_use(inspection.path),
        "free_bytes": status.f_bavail * status.f_frsize,
        "reserve_bytes": _size(inspection.path / "reserve"),
        "streams": [row(inspection.held(stream)) for stream in Stream],
        "cursors": [
            {
                "destination": cursor.destination,
                "stream": cursor.stream.name.lower(),
                "acknowledged": [list(item) for item in cursor.acknowledged],
                "backlog": cursor.backlog,
            }
            for cursor in inspection.cursors()
        ],
        "repairs": inspection.repairs(),
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@command.command("ls", epilog=_example("  plantgate buffer ls data --stream alarm --last 20\n"))
@_directory
@click.option("--stream", type=click.Choice(STREAMS), default="telemetry", show_default=True)
@click.option("--from", "first", type=click.IntRange(min=1), help="First sequence.")
@click.option("--to", "last", type=click.IntRange(min=1), help="Last sequence.")
@click.option("--last", "newest", type=click.IntRange(min=1), default=50, show_default=True,
              help="So many of the newest, unless --from or --to is given.")  # fmt: skip
@_json
@_says_why
def ls(
    directory: Path,
    stream: str,
    first: int | None,
    last: int | None,
    newest: int,
    *,
    as_json: bool,
) -> None:
    """Records of a stream: sequence, time of commit, samples, bytes, key or delta."""
    from buffer.contract import Stream
    from buffer.inspection import Inspection
    from gateway.receiver.rows import iso_time

    with Inspection(directory) as inspection:
        chosen = Stream[stream.upper()]
        if first is None and last is None:
            first = max(1, inspection.held(chosen).next - newest)
        for record in inspection.records(chosen, first or 1, last or 1 << 62):
            kind = "key" if record.group == record.sequence else "delta"
            about = {
                "sequence": record.sequence,
                "time": iso_time(record.time_ns),
                "samples": record.samples,
                "bytes": len(record.payload),
                "kind": kind if chosen is Stream.TELEMETRY else stream,
                "group": record.group,
                "hash": record.hash.hex(),
            }
            if as_json:
                print(json.dumps(about))
            else:
                about["hash"] = record.hash.hex()[:16]
                print("  ".join(str(value) for value in about.values()))


@command.command("tail", epilog=_example("  plantgate buffer tail data -f --point gds-1/AT-101\n"))
@_directory
@click.option("--stream", type=click.Choice(STREAMS), default="telemetry", show_default=True)
@click.option("-n", "newest", type=click.IntRange(min=1), default=10, show_default=True,
              help="So many of the newest records first.")  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on with what is stored from now on.")
@click.option("--point", metavar="NAME", default="", help="Only this point (device/tag).")
@_json
@_says_why
def tail(
    directory: Path, stream: str, newest: int, point: str, *, follow: bool, as_json: bool
) -> None:
    """Newest values with point names and quality in words, or newest alarms and events."""
    from buffer.contract import Stream
    from buffer.inspection import Inspection

    chosen = Stream[stream.upper()]
    if point and chosen is not Stream.TELEMETRY:
        raise click.UsageError("--point is for telemetry")
    with Inspection(directory) as inspection:
        log_id = inspection.log_id()
        stop = inspection.held(chosen).next
        first = max(1, stop - newest)
        heading = True
        while True:
            if first < stop:
                _show(inspection, chosen, (first, stop - 1), point, as_json=as_json, head=heading)
                sys.stdout.flush()
                first, heading = stop, False
            if not follow:
                return
            time.sleep(POLL_S)
            if inspection.log_id() != log_id:
                log_id, first = inspection.log_id(), 1
                print("the log id is new", file=sys.stderr)
            stop = inspection.held(chosen).next


def _show(
    inspection: Inspection,
    stream: Stream,
    span: tuple[int, int],
    point: str,
    *,
    as_json: bool,
    head: bool,
) -> None:
    from gateway.cli.buffer_times import TrueTimes
    from gateway.cli.buffer_values import Wanted, record_line, wanted_batches, write_rows

    if stream.name == "TELEMETRY":
        batches = wanted_batches(inspection, Wanted(point), *span)
        write_rows(batches, sys.stdout.write, as_json=as_json, heading=head)
        return
    times = TrueTimes(inspection)
    for record in inspection.records(stream, *span):
        sys.stdout.write(record_line(record, times.shift_ns(record), as_json=as_json))


@command.command("verify", epilog=_example(
    "  plantgate buffer verify data\n"
    "  plantgate buffer verify data --certificate certs/gateway.pem\n"
))  # fmt: skip
@_directory
@click.option("--certificate", "certificates", multiple=True, metavar="PEM",
              type=click.Path(path_type=Path),
              help="Check signed heads with this certificate or public key; repeat it for keys"
              " of former times. A gateway without certificate: signing.pem in DIR.")  # fmt: skip
@click.option("--stream", type=click.Choice(STREAMS), help="Only this stream.")
@_json
@_says_why
def verify(
    directory: Path, stream: str | None, certificates: tuple[Path, ...], *, as_json: bool
) -> None:
    """Check the chain of hashes of each stream, its signatures, and decode its telemetry.

    A signature vouches for every record before it that is held. Exit 1 and the first bad record
    of each stream where something is wrong, or where a certificate is given and vouches for none.
    """
    from buffer.contract import Stream
    from buffer.inspection import Inspection
    from gateway.runtime.signing import SigningKeyError, checking

    chosen = [Stream[stream.upper()]] if stream else list(Stream)
    wrong = False
    try:
        check = checking(certificates)
    except SigningKeyError as error:
        raise click.UsageError(f"--certificate {error}") from None
    with Inspection(directory) as inspection:
        for one in chosen:
            found = inspection.verify(one, check)
            foreign = bool(certificates and found.unchecked and not found.signatures)
            wrong = wrong or bool(found.why) or foreign
            name = one.name.lower()
            if as_json:
                about = {
                    "stream": name,
                    "records": found.records,
                    "samples": found.samples,
                    "ok": not found.why,
                    "first_bad": found.bad or None,
                    "why": found.why,
                    "signatures": found.signatures,
                    "signatures_of_other_keys": found.unchecked,
                    "signed_from": found.signed_from or None,
                    "signed_to": found.signed_to or None,
                }
                print(json.dumps(about, ensure_ascii=False))
            elif found.why:
                print(f"{name}: record {found.bad} is bad: {found.why} ({found.records} good)")
            else:
                about_heads = _about_heads(found, foreign=foreign)
                print(f"{name}: {found.records} records good, {found.samples} samples{about_heads}")
    sys.exit(1 if wrong else 0)


def _about_heads(found: Verified, *, foreign: bool) -> str:
    if foreign:
        return f"; none of {found.unchecked} signatures is of the certificate's key"
    if found.signatures:
        return f"; signed: {found.signed_from} to {found.signed_to}"
    count = found.unchecked
    return f"; {count} signatures not checked (--certificate)" if count else ""


@command.command("export", epilog=_example(
    "  plantgate buffer export data --point gds-1/AT-101 \\\n"
    "      --from 2026-05-01 --to 2026-05-02 --output at101.csv\n"
    "  plantgate buffer export data --rollup --point gds-1/AT-101\n"
))  # fmt: skip
@_directory
@click.option("--point", metavar="NAME", default="", help="Only this point (device/tag).")
@period()
@click.option("--format", "style", type=click.Choice(["csv", "json", "parquet"]), default="csv",
              show_default=True, help="json: one object a line.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--output", type=click.Path(path_type=Path), help="A file instead of the terminal.")
@click.option("--rollup", "is_rollup", is_flag=True,
              help="One row a minute: low, high, mean, worst quality, used, bad.")  # fmt: skip
@click.option("--recorded-time", "as_recorded", is_flag=True,
              help="Times as they were written, where the clock was not right; else corrected by"
              " what became known of it. A rollup's are always as written.")  # fmt: skip
@_says_why
def export(
    directory: Path,
    point: str,
    from_ns: int | None,
    to_ns: int | None,
    style: str,
    output: Path | None,
    *,
    as_json: bool,
    is_rollup: bool,
    as_recorded: bool,
) -> None:
    """Telemetry as CSV, JSON lines or Parquet: point, time of the source, value, quality."""
    from buffer.inspection import Inspection
    from drivers.wording import unknown_point
    from gateway.cli.buffer_values import (
        Wanted,
        all_names,
        sequences_of,
        wanted_batches,
        write_parquet,
        write_rollup,
        write_rows,
    )
    from gateway.receiver.parquet import NoParquetError, require_pyarrow

    if is_rollup and style == "parquet":
        raise click.UsageError("--rollup is written as csv or json")
    if style == "parquet":
        try:
            require_pyarrow()
        except NoParquetError as error:
            raise click.UsageError(str(error)) from None
    wanted = Wanted(point, from_ns, to_ns, as_recorded)
    with Inspection(directory) as inspection, opened(output) as file:
        numbered = point.startswith("#")
        said = "" if not point or numbered else unknown_point(point, all_names(inspection))
        if said:
            print(said, file=sys.stderr)
        if is_rollup:
            text = as_json or style == "json"
            try:
                write_rollup(inspection, wanted, lambda row: file.write(row.encode()), as_json=text)
            except (FileNotFoundError, ValueError) as failure:
                print(f"plantgate buffer: no rollup in {directory}: {failure}", file=sys.stderr)
                sys.exit(1)
            return
        batches = wanted_batches(inspection, wanted, *sequences_of(inspection, wanted))
        if style == "parquet":
            write_parquet(batches, file)
        else:
            write_rows(
                batches,
                lambda text: file.write(text.encode()),
                as_json=as_json or style == "json",
            )


@command.command("fsck", epilog=_example("  plantgate buffer fsck data --repair\n"))
@_directory
@click.option("--repair", "is_repair", is_flag=True, help="Do it now; no gateway may be running.")
@_json
@_says_why
def fsck(directory: Path, *, is_repair: bool, as_json: bool) -> None:
    """Say what the next start would repair; exit 1 where that is anything."""
    from buffer.fsck import findings, repair
    from gateway.runtime.clock import SystemClock
    from gateway.sources.file_keeper import named_by

    before = findings(directory, named_by)
    done = repair(directory, SystemClock().wall_ns(), named_by) if is_repair else []
    after = findings(directory, named_by) if is_repair else before
    if as_json:
        said = {"findings": before.repairs, "done": done, "left": after.repairs}
        print(json.dumps({**said, "notes": after.notes}, ensure_ascii=False))
    else:
        for text in before.repairs:
            print(text)
        for text in done:
            print(f"done: {text}")
        if not before.repairs:
            print("nothing to repair")
        for text in after.notes:
            print(f"note: {text}")
    sys.exit(1 if after.repairs else 0)

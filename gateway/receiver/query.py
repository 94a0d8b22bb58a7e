"""What a store holds, as text: telemetry, alarms, events.

Order: by gateway, then by log in order of first sight, then by sequence. Everything is written
while it is read; memory is bounded by one page of records and one block.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway.receiver.notices import (
    ALARM_HEADING,
    EVENT_HEADING,
    Field,
    alarm_rows,
    event_rows,
)
from gateway.receiver.read import Log, StoreReader
from gateway.receiver.rows import CSV, JSON, RowWriter, iso_time
from gateway.receiver.samples import Unread, Wanted, samples

Write = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for: a gateway (all if None), and of its telemetry what is `wanted`."""

    gateway: str | None = None
    wanted: Wanted = field(default_factory=Wanted)
    as_json: bool = False


def print_telemetry(reader: StoreReader, query: Query, write: Write) -> Unread:
    """Write telemetry as lines; returns what could not be read."""
    style = JSON if query.as_json else CSV
    write(style.heading)
    unread = Unread()
    for log in reader.logs(query.gateway):
        rows = RowWriter(style, log.gateway)
        for batch, points, historical in samples(reader, log, query.wanted, unread):
            write(rows.lines(batch, points.names, historical=historical))
    return unread


def print_alarms(reader: StoreReader, query: Query, write: Write) -> None:
    """Write alarm records; --point and the times apply to source and time of the alarm."""
    _print(reader, query, write, ALARM_HEADING, alarm_rows)


def print_events(reader: StoreReader, query: Query, write: Write) -> None:
    """Write event records; --point and the times apply to source and time of the event."""
    _print(reader, query, write, EVENT_HEADING, event_rows)


def _print(
    reader: StoreReader,
    query: Query,
    write: Write,
    heading: tuple[str, ...],
    rows_of: Callable[[StoreReader, Log], Iterator[dict[str, Field]]],
) -> None:
    line = io.StringIO()
    fields = csv.writer(line, lineterminator="\n")
    if not query.as_json:
        fields.writerow(heading)
    for log in reader.logs(query.gateway):
        for row in rows_of(reader, log):
            if not _is_wanted(query.wanted, row):
                continue
            if query.as_json:
                line.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                fields.writerow([_text(value) for value in row.values()])
            write(line.getvalue())
            line.seek(0)
            line.truncate()
    write(line.getvalue())


def _is_wanted(wanted: Wanted, row: dict[str, Field]) -> bool:
    # Times of one fixed ISO form sort as they follow each other.
    time = str(row["time"])
    return (
        wanted.point in {"", row["source"]}
        and (wanted.from_ns is None or time >= iso_time(wanted.from_ns))
        and (wanted.to_ns is None or time < iso_time(wanted.to_ns))
    )


def _text(value: Field) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)

"""What a store holds, as text: telemetry, and the flat rows of NOTICES.

Order: by gateway, then by log in order of first sight, then by sequence. Everything is written
while it is read; memory is bounded by one page of records and one block.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.receiver import notices
from gateway.receiver.contract import Log, Reader
from gateway.receiver.corrections import Corrections
from gateway.receiver.rows import CSV, JSON, RowWriter, iso_time
from gateway.receiver.samples import Unread, Wanted, samples

Write = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for: a gateway (all if None), and of its telemetry what is `wanted`."""

    gateway: str | None = None
    wanted: Wanted = field(default_factory=Wanted)
    as_json: bool = False


def print_telemetry(reader: Reader, query: Query, write: Write) -> Unread:
    """Write telemetry as lines; returns what could not be read."""
    style = JSON if query.as_json else CSV
    write(style.heading)
    unread = Unread()
    for log in reader.logs(query.gateway):
        rows = RowWriter(style, log.gateway)
        for batch, points, historical in samples(reader, log, query.wanted, unread):
            write(rows.lines(batch, points.names, historical=historical))
    return unread


@dataclass(frozen=True, slots=True)
class Notice:
    """One kind of flat row: its columns and where its rows come from."""

    heading: tuple[str, ...]
    rows: Callable[[Reader, Log, Corrections], Iterator[dict[str, notices.Field]]]


NOTICES: Mapping[str, Notice] = {
    "alarms": Notice(notices.ALARM_HEADING, notices.alarm_rows),
    "events": Notice(notices.EVENT_HEADING, notices.event_rows),
    "faults": Notice(notices.FAULT_HEADING, notices.fault_rows),
    "gateways": Notice(notices.GATEWAY_HEADING, notices.gateway_rows),
}


def print_notices(reader: Reader, query: Query, kind: str, write: Write) -> None:
    """Write one kind of NOTICES; the wanted point and times apply to the row's source and time."""
    notice = NOTICES[kind]
    line = io.StringIO()
    fields = csv.writer(line, lineterminator="\n")
    if not query.as_json:
        fields.writerow(notice.heading)
    true = Corrections(reader, as_recorded=query.wanted.as_recorded)
    for log in reader.logs(query.gateway):
        for row in notice.rows(reader, log, true):
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


def _is_wanted(wanted: Wanted, row: dict[str, notices.Field]) -> bool:
    # Times of one fixed ISO form sort as they follow each other.
    time = str(row["time"])
    return (
        wanted.point in {"", row.get("source", "")}
        and (wanted.from_ns is None or time >= iso_time(wanted.from_ns))
        and (wanted.to_ns is None or time < iso_time(wanted.to_ns))
    )


def _text(value: notices.Field) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return str(value).lower() if isinstance(value, bool) else str(value)

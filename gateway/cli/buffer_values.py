"""Records of a data directory as people read them: names, values, quality in words.

Guarantees: names come from the catalogue event that the log itself holds; a point that no
catalogue names is printed as #id. Memory is bounded by one record (CSV, JSON) or one row group
(Parquet).
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from buffer.block import ColumnBatch
from buffer.contract import Record, Stream
from buffer.inspection import Inspection
from buffer.rollup import Minute
from buffer.rollup_writer import RollupReader
from drivers.contract import quality_word
from gateway.cli.buffer_times import TrueTimes
from gateway.receiver.corrections import corrected
from gateway.receiver.rows import CSV, JSON, RowWriter, csv_field, iso_time, json_text
from gateway.wire.v1 import uplink_pb2 as wire

POINT_CSV = replace(
    CSV,
    heading="point,time,value,quality\n",
    prefix=lambda _, point: f"{csv_field(point)},",
    suffix=lambda quality, _: f",{quality}\n",
)
POINT_JSON = replace(
    JSON,
    prefix=lambda _, point: f'{{"point": {json_text(point)}, "time": "',
    suffix=lambda quality, _: f', "quality": "{quality}"}}\n',
)
PARQUET_ROWS = 1 << 17
_EXACT = 1 << 53


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which samples: a point's name or "" for all; source time from_ns <= t < to_ns.

    as_recorded: times as the gateway wrote them; else corrected (buffer_times.py).
    """

    point: str = ""
    from_ns: int | None = None
    to_ns: int | None = None
    as_recorded: bool = False


class Names:
    """Point names by catalogue, read from the log when first needed."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._known: dict[bytes, Mapping[int, str]] = {}

    def of(self, catalogue: bytes) -> Mapping[int, str]:
        """Names by point id; empty where the log does not hold that catalogue."""
        names = self._known.get(catalogue)
        if names is None:
            names = self._known[catalogue] = self._read(catalogue)
        return names

    def _read(self, catalogue: bytes) -> Mapping[int, str]:
        row_id = self._inspection.catalogues().get(catalogue)
        event = wire.Event()
        try:
            event.ParseFromString(b"" if row_id is None else self._inspection.event_payload(row_id))
        except DecodeError:
            return {}
        return {point.id: point.name for point in event.catalogue.points}


def all_names(inspection: Inspection) -> set[str]:
    """Names of points in any catalogue that the log holds."""
    names = Names(inspection)
    return {name for held in inspection.catalogues() for name in names.of(held).values()}


def sequences_of(inspection: Inspection, wanted: Wanted) -> tuple[int, int]:
    """Sequences that may hold what is wanted; (1, 0) if none.

    Groups are found by gateway time; a source's clock may be a day off it and is still found.
    """
    day_ns = 86_400 * 10**9
    from_ns = -(1 << 62) if wanted.from_ns is None else wanted.from_ns - day_ns
    to_ns = 1 << 62 if wanted.to_ns is None else wanted.to_ns + day_ns
    if wanted.from_ns is None and wanted.to_ns is None:
        return inspection.sequences_between(Stream.TELEMETRY, from_ns, to_ns)
    return TrueTimes(inspection, as_recorded=wanted.as_recorded).sequences(from_ns, to_ns)


def wanted_batches(
    inspection: Inspection, wanted: Wanted, first: int, last: int
) -> Iterator[tuple[ColumnBatch, Mapping[int, str]]]:
    """Batches cut to what is wanted, with the names of their points."""
    names, times = Names(inspection), TrueTimes(inspection, as_recorded=wanted.as_recorded)
    shift_ns = 0
    for record, batches in inspection.batches(first, last):
        before_ns, shift_ns = shift_ns, times.shift_ns(record)
        known = names.of(record.catalogue)
        ids = [number for number, name in known.items() if name == wanted.point]
        if wanted.point and not ids and wanted.point.startswith("#"):
            ids = [int(wanted.point[1:])] if wanted.point[1:].isdigit() else []
        for batch in batches:
            true = corrected(batch, record.time_ns, (shift_ns, before_ns))
            cut = _cut(true, wanted, np.array(ids, np.int32))
            if cut is not None:
                yield cut, known


def write_rows(
    batches: Iterator[tuple[ColumnBatch, Mapping[int, str]]],
    write: Callable[[str], object],
    *,
    as_json: bool,
    heading: bool = True,
) -> None:
    """CSV with a heading, or one JSON object a line."""
    style = POINT_JSON if as_json else POINT_CSV
    rows = RowWriter(style, "")
    if heading:
        write(style.heading)
    for batch, names in batches:
        write(rows.lines(batch, names, historical=False))


ROLLUP_HEADING = ("point", "minute", "low", "high", "mean", "quality", "used", "bad")


def write_rollup(
    inspection: Inspection, wanted: Wanted, write: Callable[[str], object], *, as_json: bool
) -> None:
    """The one-minute rollup: least, greatest and mean of what was used, the worst quality.

    Raises FileNotFoundError where there is none.
    """
    names: dict[int, str] = {}
    known = Names(inspection)
    for catalogue in inspection.catalogues():
        names |= known.of(catalogue)
    if not as_json:
        write(",".join(ROLLUP_HEADING) + "\n")
    with closing(RollupReader(inspection.path)) as reader:
        for point in reader.points():
            name = names.get(point, f"#{point}")
            if wanted.point not in {"", name}:
                continue
            from_ns = -(1 << 62) if wanted.from_ns is None else wanted.from_ns
            to_ns = 1 << 62 if wanted.to_ns is None else wanted.to_ns
            for row in reader.minutes(point, from_ns, to_ns):
                write(_rollup_line(name, row, as_json=as_json))


def _rollup_line(name: str, row: Minute, *, as_json: bool) -> str:
    values = [None if math.isnan(value) else value for value in (row.low, row.high, row.mean)]
    fields = [
        name, iso_time(row.minute_ns), *values, quality_word(row.quality), row.used, row.bad,
    ]  # fmt: skip
    if as_json:
        about = dict(zip(ROLLUP_HEADING, fields, strict=True))
        return json.dumps(about, ensure_ascii=False) + "\n"
    texts = ["" if value is None else str(value) for value in fields[1:]]
    return ",".join((csv_field(name), *texts)) + "\n"


def write_parquet(
    batches: Iterator[tuple[ColumnBatch, Mapping[int, str]]], file: IO[bytes]
) -> None:
    """Columns point, time (ms, UTC), value, text (where float64 is not exact), quality.

    The caller has asked `gateway.receiver.parquet.require_pyarrow` first.
    """
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    schema = arrow.schema(
        [("point", arrow.string()), ("time", arrow.timestamp("ms", tz="UTC")),
         ("value", arrow.float64()), ("text", arrow.string()), ("quality", arrow.string())]
    )  # fmt: skip
    with parquet.ParquetWriter(file, schema) as writer:
        columns: dict[str, list[object]] = {name: [] for name in schema.names}
        for batch, names in batches:
            _add(columns, batch, names)
            if len(columns["point"]) >= PARQUET_ROWS:
                writer.write_table(arrow.table(columns, schema=schema))
                columns = {name: [] for name in schema.names}
        writer.write_table(arrow.table(columns, schema=schema))


def record_line(record: Record, shift_ns: int = 0, *, as_json: bool) -> str:
    """One line about an alarm, event or evidence record: its content as far as it is known.

    shift_ns: what corrects the time of its commit.
    """
    message = _decoded(record)
    if as_json:
        content: object = {"bytes": len(record.payload)}
        if message is not None:
            content = MessageToDict(message, preserving_proto_field_name=True)
        about = {
            "stream": record.stream.name.lower(),
            "sequence": record.sequence,
            "time": iso_time(record.time_ns + shift_ns),
            "content": content,
        }
        return json.dumps(about, ensure_ascii=False) + "\n"
    said = f"{len(record.payload)} bytes" if message is None else _said(message)
    return f"{record.sequence}  {iso_time(record.time_ns + shift_ns)}  {said}\n"


def _said(message: wire.Alarm | wire.Event | wire.EvidenceFile) -> str:
    if isinstance(message, wire.EvidenceFile):
        size = f"{message.total_bytes} bytes"
        return f"{message.media_type} {size} {message.sha256.hex()} {message.source}"
    kind = message.kind if isinstance(message, wire.Event) else message.condition
    return f"{kind}  {message.source}  {message.text}"


def _decoded(record: Record) -> wire.Alarm | wire.Event | wire.EvidenceFile | None:
    kinds: dict[Stream, type[wire.Alarm | wire.Event | wire.EvidenceFile]] = {
        Stream.ALARM: wire.Alarm,
        Stream.EVENT: wire.Event,
        Stream.EVIDENCE: wire.EvidenceFile,
    }
    message = kinds[record.stream]()
    try:
        message.ParseFromString(record.payload)
    except DecodeError:
        return None
    return message


def _cut(batch: ColumnBatch, wanted: Wanted, ids: npt.NDArray[np.int32]) -> ColumnBatch | None:
    mask = np.ones(len(batch), np.bool_)
    if wanted.point:
        mask &= np.isin(batch.points, ids)
    times = batch.source_time_ns
    if wanted.from_ns is not None:
        mask &= np.asarray(times) >= wanted.from_ns
    if wanted.to_ns is not None:
        mask &= np.asarray(times) < wanted.to_ns
    if mask.all():
        return batch
    if not mask.any():
        return None
    at = np.flatnonzero(mask)
    values = batch.values
    return ColumnBatch(
        batch.points[at],
        tuple(values[index] for index in at) if isinstance(values, tuple) else values[at],
        batch.quality[at],
        times if isinstance(times, int) else times[at],
        batch.gateway_time_ns,
    )


def _add(columns: dict[str, list[object]], batch: ColumnBatch, names: Mapping[int, str]) -> None:
    times = np.broadcast_to(np.asarray(batch.source_time_ns, np.int64), len(batch))
    columns["point"] += [names.get(point) or f"#{point}" for point in batch.points.tolist()]
    columns["time"] += (times // 10**6).tolist()
    values = batch.values if isinstance(batch.values, tuple) else batch.values.tolist()
    for value in values:
        text = isinstance(value, str) or (isinstance(value, int) and abs(value) > _EXACT)
        number = None if isinstance(value, str) or math.isnan(value) else float(value)
        columns["value"].append(number)
        columns["text"].append(str(value) if text else None)
    columns["quality"] += [quality_word(code) for code in batch.quality.tolist()]


__all__ = [
    "Names",
    "Wanted",
    "record_line",
    "sequences_of",
    "wanted_batches",
    "write_parquet",
    "write_rows",
]

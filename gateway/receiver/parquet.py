"""Telemetry as one Parquet file. Needs pyarrow, which plantgate does not install.

Columns: gateway, point, time (ms, UTC), value (float64; null where it is no number), text (exact
text of integers beyond float64 and of texts; else null), quality, historical.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from drivers.contract import Quality, quality_word
from gateway.receiver.contract import Reader
from gateway.receiver.query import Query
from gateway.receiver.samples import Samples, Unread, samples

ROW_GROUP = 1 << 17
_MILLISECOND_NS = 1_000_000
_EXACT = 1 << 53


class NoParquetError(Exception):
    """pyarrow is not installed; the text says so."""


def require_pyarrow() -> None:
    """Raise NoParquetError if pyarrow cannot be imported; ask before a file is opened."""
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        text = "--format parquet needs pyarrow: pip install pyarrow, or use csv or json"
        raise NoParquetError(text) from None


def write_parquet(reader: Reader, query: Query, file: IO[bytes]) -> Unread:
    """Write what is asked for; returns what could not be read. Raises NoParquetError."""
    require_pyarrow()
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    schema = arrow.schema(
        [("gateway", arrow.string()), ("point", arrow.string()),
         ("time", arrow.timestamp("ms", tz="UTC")), ("value", arrow.float64()),
         ("text", arrow.string()), ("quality", arrow.string()), ("historical", arrow.bool_())]
    )  # fmt: skip
    unread = Unread()
    with parquet.ParquetWriter(file, schema) as writer:
        for columns in _row_groups(reader, query, unread):
            writer.write_table(arrow.table(columns, schema=schema))
    return unread


def _row_groups(reader: Reader, query: Query, unread: Unread) -> Iterator[dict[str, list[object]]]:
    columns = _empty()
    for log in reader.logs(query.gateway):
        for item in samples(reader, log, query.wanted, unread):
            _add(columns, log.gateway, item)
            if len(columns["point"]) >= ROW_GROUP:
                yield columns
                columns = _empty()
    if columns["point"]:
        yield columns


def _empty() -> dict[str, list[object]]:
    names = ("gateway", "point", "time", "value", "text", "quality", "historical")
    return {name: [] for name in names}


def _add(columns: dict[str, list[object]], gateway: str, item: Samples) -> None:
    batch, points, historical = item
    count = len(batch)
    names = points.names
    columns["gateway"] += [gateway] * count
    columns["point"] += [names.get(point) or f"#{point}" for point in batch.points.tolist()]
    times = np.broadcast_to(np.asarray(batch.source_time_ns, np.int64), count)
    columns["time"] += (times // _MILLISECOND_NS).tolist()
    codes = batch.quality.tolist()
    for value, code in zip(
        batch.values if isinstance(batch.values, tuple) else batch.values.tolist(),
        codes,
        strict=True,
    ):
        bad = isinstance(value, int) and code >= Quality.BAD
        text = isinstance(value, str) or (isinstance(value, int) and abs(value) > _EXACT)
        number = None if bad or isinstance(value, str) or math.isnan(value) else float(value)
        columns["value"].append(number)
        columns["text"].append(str(value) if text and not bad else None)
    columns["quality"] += [quality_word(code) for code in codes]
    columns["historical"] += [historical] * count

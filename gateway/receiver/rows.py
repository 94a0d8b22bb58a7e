"""Telemetry as lines of text, a column at a time. Pure.

A line is prefix(point) + time + middle + value + suffix(quality, historical); each part is made
once per distinct point, time, value and quality of a batch, so that a line costs one
concatenation. Numbers are exact: a float64 prints as its shortest text that reads back to the same
bits, int64 and uint64 as integers. What is no value prints as nothing (CSV) or null (JSON): a
float64 that is not a number, and an integer of bad quality, which has no other way to say so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from buffer.block import ColumnBatch
from drivers.contract import Quality, quality_word

HEADING = ("gateway", "point", "time", "value", "quality", "historical")
_MILLISECOND_NS = 1_000_000
_QUOTED = frozenset(',"\r\n')

Int64 = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64] | npt.NDArray[np.int64] | npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Style:
    """How one format writes its parts."""

    heading: str
    prefix: Callable[[str, str], str]
    middle: str
    number: Callable[[float], str]
    nothing: str
    text: Callable[[str], str]
    suffix: Callable[[str, bool], str]


def csv_field(text: str) -> str:
    """Quote one field where RFC 4180 asks for it."""
    if _QUOTED.isdisjoint(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def json_text(text: str) -> str:
    """Write a JSON string, Chinese as it is."""
    return json.dumps(text, ensure_ascii=False)


CSV = Style(
    heading=",".join(HEADING) + "\n",
    prefix=lambda gateway, point: f"{csv_field(gateway)},{csv_field(point)},",
    middle=",",
    number=repr,
    nothing="",
    text=csv_field,
    suffix=lambda quality, historical: f",{quality},{'true' if historical else 'false'}\n",
)
JSON = Style(
    heading="",
    prefix=lambda gateway, point: (
        f'{{"gateway": {json_text(gateway)}, "point": {json_text(point)}, "time": "'
    ),
    middle='", "value": ',
    number=lambda value: repr(value) if math.isfinite(value) else f'"{value}"',  # JSON has no inf
    nothing="null",
    text=json_text,
    suffix=lambda quality, historical: (
        f', "quality": "{quality}", "historical": {"true" if historical else "false"}}}\n'
    ),
)


def iso_times(times_ns: Int64) -> list[str]:
    """ISO 8601 in UTC with milliseconds (rounded down) of each time."""
    milliseconds = (times_ns // _MILLISECOND_NS).astype("datetime64[ms]")
    texts: list[str] = np.datetime_as_string(milliseconds, timezone="UTC").tolist()
    return texts


def iso_time(time_ns: int) -> str:
    """ISO 8601 in UTC with milliseconds (rounded down)."""
    return iso_times(np.array([time_ns], np.int64))[0]


class RowWriter:
    """Turns the batches of one gateway into lines; remembers what repeats from batch to batch."""

    def __init__(self, style: Style, gateway: str) -> None:
        self._style = style
        self._gateway = gateway
        self._points: npt.NDArray[np.int32] | None = None
        self._prefixes: list[str] = []
        self._names: Mapping[int, str] = {}
        self._suffixes: dict[tuple[int, bool], str] = {}
        self._last: Numbers | None = None
        self._last_texts: list[str] = []

    def lines(self, batch: ColumnBatch, names: Mapping[int, str], *, historical: bool) -> str:
        """Lines of one batch.

        names: of the catalogue, by point id; the same object as long as the catalogue is the same.
        """
        columns = zip(
            self._prefixes_of(batch.points, names),
            self._times(batch),
            self._values(batch),
            self._suffixes_of(batch.quality, historical=historical),
            strict=True,
        )
        return "".join([f"{p}{t}{v}{s}" for p, t, v, s in columns])

    def _prefixes_of(self, points: npt.NDArray[np.int32], names: Mapping[int, str]) -> list[str]:
        if points is not self._points or names is not self._names:
            self._points, self._names, self._last = points, names, None
            prefix, gateway = self._style.prefix, self._gateway
            self._prefixes = [
                prefix(gateway, names.get(point) or f"#{point}") for point in points.tolist()
            ]
        return self._prefixes

    def _values(self, batch: ColumnBatch) -> list[str]:
        values = batch.values
        if isinstance(values, tuple):
            self._last = None
            return [self._style.text(value) for value in values]
        last = self._last
        if last is None or last.dtype != values.dtype:
            texts = self._texts(values)
        else:
            texts = self._last_texts.copy()
            changed = np.flatnonzero(values.view(np.uint64) != last.view(np.uint64))
            news = self._texts(values[changed])
            for index, text in zip(changed.tolist(), news, strict=True):
                texts[index] = text
        self._last, self._last_texts = values, texts
        if values.dtype.kind != "f":
            bad = np.flatnonzero(batch.quality >= Quality.BAD)
            if len(bad):
                texts = texts.copy()
                for index in bad.tolist():
                    texts[index] = self._style.nothing
        return texts

    def _texts(self, values: Numbers) -> list[str]:
        if values.dtype.kind != "f":
            return list(map(str, values.tolist()))
        texts = list(map(self._style.number, values.tolist()))
        for index in np.flatnonzero(np.isnan(values)).tolist():
            texts[index] = self._style.nothing
        return texts

    def _times(self, batch: ColumnBatch) -> list[str]:
        middle = self._style.middle
        if isinstance(batch.source_time_ns, int):
            return [iso_time(batch.source_time_ns) + middle] * len(batch)
        distinct, index = np.unique(batch.source_time_ns, return_inverse=True)
        texts = [text + middle for text in iso_times(distinct)]
        return [texts[at] for at in index.tolist()]

    def _suffixes_of(self, quality: npt.NDArray[np.uint16], *, historical: bool) -> list[str]:
        if len(quality) and (quality == quality[0]).all():
            return [self._suffix(int(quality[0]), historical=historical)] * len(quality)
        return [self._suffix(code, historical=historical) for code in quality.tolist()]

    def _suffix(self, code: int, *, historical: bool) -> str:
        text = self._suffixes.get((code, historical))
        if text is None:
            text = self._style.suffix(quality_word(code), historical)
            self._suffixes[code, historical] = text
        return text


__all__ = ["CSV", "HEADING", "JSON", "RowWriter", "Style", "csv_field", "iso_time", "iso_times"]

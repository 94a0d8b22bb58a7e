"""Time-series rows with OPC DA quality, for a DCS that has only classic OPC behind a bridge. Pure.

Guarantees: a row of an unknown id, or that its point's type cannot hold, is refused with a reason
while the others become columns; rows of one point are in time order; a value of bad quality is NaN,
0 or ""; nothing but the quality of the row decides what is bad.

Quality is OPC DA's 16 bits: vendor byte, then QQSSSSLL. The table is OPC 10000-8 (v1.05) A.3.2.3,
"Quality mapping"; limit bits and the vendor byte are not kept. COMM_FAILURE, there
Bad_NoCommunication, takes our own bad:comm_failure. 0x80, reserved in OPC DA, is bad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import numpy as np

from drivers.contract import Batch, DriverPoint, Quality, ValueKind, Values
from drivers.intake.mapping import SAMPLE_FIELDS, Table
from drivers.intake.moments import TimeFormat
from drivers.intake.rows import Rejected, shown_id
from drivers.intake.settings import ExternalAddress

GOOD_LOCAL_OVERRIDE = 0x0096
UNCERTAIN_SENSOR_NOT_ACCURATE = 0x4093
UNCERTAIN_SUB_NORMAL = 0x4095

OPC_DA_QUALITY: Mapping[int, int] = {
    0xC0: Quality.GOOD,
    0xD8: GOOD_LOCAL_OVERRIDE,
    0x40: Quality.UNCERTAIN,
    0x44: Quality.UNCERTAIN_STALE,
    0x50: UNCERTAIN_SENSOR_NOT_ACCURATE,
    0x54: Quality.UNCERTAIN_OUT_OF_RANGE,
    0x58: UNCERTAIN_SUB_NORMAL,
    0x00: Quality.BAD,
    0x04: Quality.BAD_CONFIG_ERROR,
    0x08: Quality.BAD_NOT_CONNECTED,
    0x0C: Quality.BAD_DEVICE_EXCEPTION,
    0x10: Quality.BAD_SENSOR_FAULT,
    0x14: Quality.BAD_OUT_OF_SERVICE,  # last known value
    0x18: Quality.BAD_COMM_FAILURE,
    0x1C: Quality.BAD_OUT_OF_SERVICE,
    0x20: Quality.BAD_WAITING,
}
"""By the low byte without its two limit bits."""

_SEVERITY = {0xC0: Quality.GOOD, 0x40: Quality.UNCERTAIN}
_WORDS = {"good": 0xC0, "uncertain": 0x40, "bad": 0x00}
_EMPTY: Mapping[ValueKind, float | int | str] = {ValueKind.FLOAT: float("nan"), ValueKind.TEXT: "",
                                                 ValueKind.INT: 0}  # fmt: skip
_MAX_INT = 1 << 63


def opc_quality(code: int) -> int:
    """Our quality for an OPC DA quality; an unknown sub-status keeps its severity."""
    low = code & 0xFC
    found = OPC_DA_QUALITY.get(low)
    return int(found if found is not None else _SEVERITY.get(low & 0xC0, Quality.BAD))


_Row = Mapping[str, object]
_Four = tuple[object, object, object, object]
_Pick = Callable[[_Row, _Row], _Four]


class _Known(NamedTuple):
    """A point that samples may name."""

    point: int
    kind: ValueKind


class Sample(NamedTuple):
    """One row that is right."""

    point: int
    time_ns: int
    value: float | int | str
    quality: int


@dataclass(frozen=True, slots=True)
class SampleRows:
    """What a document of samples holds. receipts: (id, reason or "") of each row in order."""

    samples: Mapping[ValueKind, list[Sample]]
    receipts: list[tuple[str, str]]

    @property
    def rejected(self) -> list[Rejected]:
        """Rows that were refused."""
        return [Rejected(name, reason) for name, reason in self.receipts if reason]


class SampleReader:
    """Reads samples of the points of one device."""

    def __init__(self, points: Sequence[DriverPoint[ExternalAddress]]) -> None:
        self._points = {point.address.id: point for point in points if not point.address.own}
        self._known_points = {
            name: _Known(point.id, point.address.kind()) for name, point in self._points.items()
        }
        self._sequence = 0

    @property
    def points(self) -> list[DriverPoint[ExternalAddress]]:
        """Points that samples may name."""
        return list(self._points.values())

    def read(self, table: Table, document: object) -> SampleRows:
        """Read all rows; raises DocumentError if there are none to be found."""
        samples: dict[ValueKind, list[Sample]] = {}
        receipts: list[tuple[str, str]] = []
        pick = _picker(table)
        instants = _Instants(table.times)
        qualities: dict[object, int] = {}
        for number, (row, beside) in enumerate(table.rows(document)):
            name: object = f"row {number}"
            try:
                given, when, value, sent = pick(row, beside)
                name = name if given is None else given
                known = self._known(given, when)
                quality = qualities.get(sent) if type(sent) is int else None
                if quality is None:
                    quality = _quality(0xC0 if sent is None else sent)
                    if type(sent) is int:
                        qualities[sent] = quality
                found = _value(known.kind, value, quality)
                samples.setdefault(known.kind, []).append(
                    Sample(known.point, instants.ns(when), found, quality)
                )
                receipts.append((shown_id(name), ""))
            except ValueError as error:
                receipts.append((shown_id(name), str(error)))
        return SampleRows(samples, receipts)

    def _known(self, given: object, when: object) -> _Known:
        if given is None or when is None:
            raise ValueError(f"{'id' if given is None else 'time'} is missing")
        known = self._known_points.get(given if isinstance(given, str) else str(given))
        if known is None:
            known = self._known_points.get(str(given).strip())
        if known is None:
            raise ValueError("id is not in the point table")
        return known

    def batches(self, rows: SampleRows, now_ns: int) -> list[Batch]:
        """Make one batch per column type that has samples."""
        return [self.batch(kind, of, now_ns) for kind, of in rows.samples.items() if of]

    def batch(self, kind: ValueKind, samples: Iterable[Sample], now_ns: int) -> Batch:
        """Columns of samples of one type, in time order."""
        ordered = sorted(samples, key=lambda sample: sample.time_ns)
        batch = Batch(
            points=np.array([sample.point for sample in ordered], np.int32),
            values=_column(kind, [sample.value for sample in ordered]),
            quality=np.array([sample.quality for sample in ordered], np.uint16),
            source_time_ns=np.array([sample.time_ns for sample in ordered], np.int64),
            gateway_time_ns=now_ns,
            sequence=self._sequence,
        )
        self._sequence += 1
        return batch


class _Instants:
    """Reads times; rows of one document mostly carry the same."""

    def __init__(self, times: TimeFormat) -> None:
        self._times = times
        self._before: object = None
        self._ns = 0

    def ns(self, when: object) -> int:
        """Ns since 1970 UTC; raises ValueError."""
        if type(when) is not type(self._before) or when != self._before:
            self._ns = self._times.parse(when).ns
            self._before = when
        return self._ns


def _picker(table: Table) -> _Pick:
    """How id, time, value and quality are taken out of a row; None where there is nothing."""
    defaults = table.config.defaults
    names = [table.paths.get(name) for name in SAMPLE_FIELDS]
    plain = [name for name in names if name is not None and "." not in name and name[0] != "^"]
    if len(plain) == len(names) and not (defaults or table.config.values or table.config.id_from):
        first, second, third, fourth = plain

        def take(row: _Row, _beside: _Row) -> _Four:
            given, when, value, quality = (
                row.get(first), row.get(second), row.get(third), row.get(fourth),
            )  # fmt: skip
            return (None if given == "" else given, None if when == "" else when,
                    None if value == "" else value, None if quality == "" else quality)  # fmt: skip

        return take

    def apply(row: _Row, beside: _Row) -> _Four:
        given = table.apply(row, beside).given
        return given.get("id"), given.get("time"), given.get("value"), given.get("quality")

    return apply


def _quality(sent: object) -> int:
    word = _WORDS.get(str(sent).strip().lower()) if isinstance(sent, str) else None
    if word is not None:
        return opc_quality(word)
    if isinstance(sent, str) and sent.strip().isascii() and sent.strip().isdigit():
        sent = int(sent[:8])
    if isinstance(sent, bool) or not isinstance(sent, int) or not 0 <= sent <= 0xFFFF:
        raise ValueError(
            f"quality must be an OPC DA quality 0 to 65535 (192 is good), not {sent!r:.40}"
        )
    return opc_quality(sent)


def _value(kind: ValueKind, sent: object, quality: int) -> float | int | str:
    if quality & 0x8000:
        return _EMPTY[kind]
    if sent is None:
        raise ValueError("value is missing; only a value of bad quality may be left out")
    if type(sent) is float and kind is ValueKind.FLOAT and isfinite(sent):
        return sent
    if kind is ValueKind.TEXT:
        if not isinstance(sent, str) or len(sent) > 512 or "\0" in sent:
            raise ValueError(f"value must be text of at most 512 characters, not {sent!r:.40}")
        return sent
    what = "a whole number" if kind is ValueKind.INT else "a number"
    found = _read_number(kind, sent)
    if found is None:
        raise ValueError(f"value must be {what}, not {sent!r:.40}")
    return found


def _read_number(kind: ValueKind, sent: object) -> float | int | None:
    """Read a finite number, exact for INT; None if it is none."""
    if not isinstance(sent, str | int | float):
        return None
    try:
        if kind is ValueKind.INT:
            whole = None if isinstance(sent, float) and not sent.is_integer() else int(sent)
            return whole if whole is not None and -_MAX_INT <= whole < _MAX_INT else None
        number = float(sent)
    except (ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def _column(kind: ValueKind, values: list[float | int | str]) -> Values:
    if kind is ValueKind.TEXT:
        return tuple(str(value) for value in values)
    if kind is ValueKind.INT:
        return np.array(values, np.int64)
    return np.array(values, np.float64)

"""Time-series rows with OPC DA quality, for a DCS that has only classic OPC behind a bridge. Pure.

Guarantees: a row of an unknown id, or that its point's type cannot hold, is refused with a reason
while the others become columns; rows of one point are in time order; a value of bad quality is NaN,
0 or ""; nothing but the quality of the row decides what is bad.

Quality is OPC DA's 16 bits: vendor byte, then QQSSSSLL. The table is OPC 10000-8 (v1.05) A.3.2.3,
"Quality mapping"; limit bits and the vendor byte are not kept. COMM_FAILURE, there
Bad_NoCommunication, takes our own bad:comm_failure. 0x80, reserved in OPC DA, is bad.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drivers.contract import Batch, DriverPoint, Quality, ValueKind, Values
from drivers.intake.mapping import Table
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


@dataclass(frozen=True, slots=True)
class Sample:
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
        self._sequence = 0

    @property
    def points(self) -> list[DriverPoint[ExternalAddress]]:
        """Points that samples may name."""
        return list(self._points.values())

    def read(self, table: Table, document: object) -> SampleRows:
        """Read all rows; raises DocumentError if there are none to be found."""
        samples: dict[ValueKind, list[Sample]] = {}
        receipts: list[tuple[str, str]] = []
        for number, (row, beside) in enumerate(table.rows(document)):
            name = f"row {number}"
            try:
                given = table.apply(row, beside).given
                name = shown_id(given.get("id", name))
                kind, sample = self._sample(table, given)
                samples.setdefault(kind, []).append(sample)
                receipts.append((name, ""))
            except ValueError as error:
                receipts.append((name, str(error)))
        return SampleRows(samples, receipts)

    def batches(self, rows: SampleRows, now_ns: int) -> list[Batch]:
        """Make one batch per column type."""
        return [self.batch(kind, samples, now_ns) for kind, samples in rows.samples.items()]

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

    def _sample(self, table: Table, given: Mapping[str, object]) -> tuple[ValueKind, Sample]:
        for name in ("id", "time"):
            if name not in given:
                raise ValueError(f"{name} is missing")
        point = self._points.get(str(given["id"]).strip())
        if point is None:
            raise ValueError("id is not in the point table")
        quality = _quality(given.get("quality", 0xC0))
        kind = point.address.kind()
        if quality & 0x8000:
            value = _EMPTY[kind]
        elif "value" not in given:
            raise ValueError("value is missing; only a value of bad quality may be left out")
        else:
            value = _value(kind, given["value"])
        return kind, Sample(point.id, table.times.parse(given["time"]).ns, value, quality)


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


def _value(kind: ValueKind, sent: object) -> float | int | str:
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

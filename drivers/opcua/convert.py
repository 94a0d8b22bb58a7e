"""Turns arrays of OPC UA built-in types into the columns of a point's kind. Pure.

Guarantees: what cannot be said exactly in an INT or UINT column (a fraction, a negative, a number
too large) is marked as a misfit, never rounded or wrapped. FLOAT takes every number as float64;
integers beyond 2**53 lose their low bits there, so such points are declared int or uint.

    kind   Boolean  integers  Float, Double     DateTime                   Guid  texts
    FLOAT  0, 1     float64   float64           seconds since 1970         -     -
    INT    0, 1     exact     if exactly whole  ns since 1970              -     -
    UINT   0, 1     exact     if exactly whole  ns since 1970              -     -
    TEXT   true     decimal   repr              ISO 8601 UTC, microseconds text  text
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.contract import Float64Array, Int64Array, UInt64Array, ValueKind

Bools = npt.NDArray[np.bool_]
Numbers = Float64Array | Int64Array | UInt64Array
Texts = npt.NDArray[np.object_]

EPOCH_TICKS = 116_444_736_000_000_000
"""DateTime of 1970-01-01, in ticks of 100 ns since 1601 (OPC 10000-6, 5.2.2.5)."""

MAX_TICKS = EPOCH_TICKS + (2**63 - 1) // 100
"""The last DateTime whose ns since 1970 fit int64, in the year 2262."""

BOOLEAN, DATE_TIME, GUID = 1, 13, 14
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def convert(
    raw: npt.NDArray[Any], built_in: int, kind: ValueKind
) -> tuple[npt.NDArray[Any], Bools | None]:
    """Convert raw values of a built-in type of fixed size.

    Returns an array of float64, int64, uint64 or object (str), and which are misfits (None: none).
    Values at misfits are arbitrary.
    """
    if built_in == BOOLEAN:
        raw = raw != 0  # any other byte is true (OPC 10000-6, 5.2.2.1)
    if kind is ValueKind.TEXT:
        return _texts(raw, built_in)
    if built_in == GUID:
        return np.zeros(len(raw), _DTYPES[kind]), np.ones(len(raw), np.bool_)
    if built_in == DATE_TIME:
        return _times(raw.astype(np.int64), kind)
    if kind is not ValueKind.FLOAT and raw.dtype.kind != "f":
        return _integers(raw, kind)
    with np.errstate(invalid="ignore"):  # a signalling NaN of 32 bits becomes a quiet one
        numbers = raw.astype(np.float64)
    return (numbers, None) if kind is ValueKind.FLOAT else _whole(numbers, kind)


_DTYPES = {
    ValueKind.FLOAT: np.dtype(np.float64),
    ValueKind.INT: np.dtype(np.int64),
    ValueKind.UINT: np.dtype(np.uint64),
    ValueKind.TEXT: np.dtype(object),
}
"""numpy type of a column, before texts become a tuple."""


def blank(kind: ValueKind, length: int) -> npt.NDArray[Any]:
    """Give a column of what stands where there is no value: NaN, 0 or an empty text."""
    return np.full(length, BLANKS[kind], _DTYPES[kind])


BLANKS = {ValueKind.FLOAT: np.nan, ValueKind.INT: 0, ValueKind.UINT: 0, ValueKind.TEXT: ""}


def ticks_to_ns(ticks: int) -> int:
    """Ticks since 1601 to ns since 1970; 0 where that is before 1970 or after 2262."""
    return (ticks - EPOCH_TICKS) * 100 if EPOCH_TICKS < ticks <= MAX_TICKS else 0


def _times(ticks: Int64Array, kind: ValueKind) -> tuple[npt.NDArray[Any], Bools | None]:
    misfit = (ticks < EPOCH_TICKS) | (ticks > MAX_TICKS)
    since = np.where(misfit, 0, ticks - EPOCH_TICKS)
    if kind is ValueKind.FLOAT:
        return since / 1e7, misfit
    return (since * 100).astype(_DTYPES[kind]), misfit


def _whole(raw: Float64Array, kind: ValueKind) -> tuple[npt.NDArray[Any], Bools]:
    low, high = (-(2.0**63), 2.0**63) if kind is ValueKind.INT else (0.0, 2.0**64)
    with np.errstate(invalid="ignore"):  # a signalling NaN
        fits = (raw >= low) & (raw < high) & (np.trunc(raw) == raw)
    return np.where(fits, raw, 0.0).astype(_DTYPES[kind]), ~fits


def _integers(raw: npt.NDArray[Any], kind: ValueKind) -> tuple[npt.NDArray[Any], Bools | None]:
    converted = raw.astype(_DTYPES[kind])
    if kind is ValueKind.INT and raw.dtype == np.uint64:
        return converted, converted < 0  # wrapped: 2**63 and more
    if kind is ValueKind.UINT and raw.dtype.kind == "i":
        return converted, raw.astype(np.int64) < 0
    return converted, None


def _texts(raw: npt.NDArray[Any], built_in: int) -> tuple[Texts, Bools | None]:
    misfit = None
    if built_in == BOOLEAN:
        words = ["true" if value else "false" for value in raw.tolist()]
    elif built_in == GUID:
        words = [str(uuid.UUID(bytes_le=bytes(value))) for value in raw.tolist()]
    elif built_in == DATE_TIME:
        ticks = raw.astype(np.int64)
        misfit = (ticks < EPOCH_TICKS) | (ticks > MAX_TICKS)
        words = [_iso(value) for value in np.where(misfit, EPOCH_TICKS, ticks).tolist()]
    else:
        words = [str(value) for value in raw.tolist()]
    return np.array(words, dtype=object), misfit


def _iso(ticks: int) -> str:
    moment = _EPOCH + timedelta(microseconds=(ticks - EPOCH_TICKS) // 10)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


__all__ = ["BLANKS", "EPOCH_TICKS", "MAX_TICKS", "blank", "convert", "ticks_to_ns"]

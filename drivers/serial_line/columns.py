"""Turns the fields of a frame into columns, one for each kind of value. Pure.

Guarantees: the array of points is the same object each time, as drivers/contract.py asks; a bad
value is NaN in a float column, 0 and empty text in the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from drivers.contract import DriverPoint, Int32Array, UInt16Array, ValueKind, Values
from drivers.serial_line.codec import FieldValue, Value
from drivers.serial_line.config import SerialAddress, kind_of

Column = tuple[Int32Array, Values, UInt16Array]
_NOTHING: Mapping[ValueKind, Value] = {
    ValueKind.FLOAT: math.nan,
    ValueKind.INT: 0,
    ValueKind.TEXT: "",
}


class Columns:
    """The points of one device address, grouped by the kind of their values."""

    def __init__(self, points: Sequence[DriverPoint[SerialAddress]]) -> None:
        def kind(point: DriverPoint[SerialAddress]) -> ValueKind:
            return kind_of(point.address)

        self._groups: list[tuple[ValueKind, Int32Array, tuple[str, ...]]] = []
        for one, group in groupby(sorted(points, key=kind), kind):
            members = list(group)
            ids = np.array([point.id for point in members], np.int32)
            self._groups.append((one, ids, tuple(point.address.field for point in members)))

    def of(self, found: Mapping[str, FieldValue]) -> list[Column]:
        """Columns of a frame."""
        return [
            (
                ids,
                _values(kind, [found[name].value for name in names]),
                np.array([found[name].quality for name in names], np.uint16),
            )
            for kind, ids, names in self._groups
        ]

    def bad(self, quality: int) -> list[Column]:
        """Columns of a device that says nothing."""
        return [
            (
                ids,
                _values(kind, [_NOTHING[kind]] * len(names)),
                np.full(len(names), quality, np.uint16),
            )
            for kind, ids, names in self._groups
        ]


def _values(kind: ValueKind, values: list[Value]) -> Values:
    if kind is ValueKind.TEXT:
        return tuple(str(value) for value in values)
    if kind is ValueKind.INT:
        return np.array(values, np.int64)
    return np.array(values, np.float64)


__all__ = ["Column", "Columns"]

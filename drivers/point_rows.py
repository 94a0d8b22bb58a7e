"""Validated rows of a point table, as columns: 100,000 of them as objects would be 80 MB.

Guarantees: a `PointRows` is a sequence of equal rows to those that it was made of, address and
settings with their types and with which fields were given; a row is made anew each time it is
asked for. Equal words (an area, a type, an order) are kept once for all rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast, overload

from drivers.contract import AddressT

if TYPE_CHECKING:
    from drivers.point_table import PointSettings

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class PointRow(Generic[AddressT]):
    """One point: `row` is its line in the file, `tag` its name within the device.

    Both halves are validated. `settings` is one object for all rows that differ in the name only
    (its own name is empty), so that 100,000 points do not cost 100,000 of them.
    """

    row: int
    tag: str
    settings: PointSettings
    address: AddressT


class PointRows(Sequence[PointRow[AddressT]]):
    """Rows in order. `append` while it is filled, and never again."""

    def __init__(self, rows: Iterable[PointRow[AddressT]] = ()) -> None:
        self.tags: list[str] = []
        self._lines = array("q")
        self._settings: _Column[PointSettings] = _Column()
        self._shapes: _Column[tuple[type[AddressT], frozenset[str]]] = _Column()
        self._fields: dict[str, _Column[object]] = {}
        for row in rows:
            self.append(row)

    def append(self, row: PointRow[AddressT]) -> None:
        """Add a row behind the others."""
        address = row.address
        values = dict(address)
        for name in values.keys() - self._fields.keys():
            self._fields[name] = _Column(len(self.tags))
        self.tags.append(row.tag)
        self._lines.append(row.row)
        self._settings.append(id(row.settings), row.settings)
        shape = (type(address), frozenset(address.model_fields_set))
        self._shapes.append(shape, shape)
        for name, column in self._fields.items():
            value = values.get(name)
            column.append(_key(value), value)

    def __len__(self) -> int:
        """Count of rows."""
        return len(self.tags)

    @overload
    def __getitem__(self, at: int) -> PointRow[AddressT]: ...
    @overload
    def __getitem__(self, at: slice) -> PointRows[AddressT]: ...
    def __getitem__(self, at: int | slice) -> PointRow[AddressT] | PointRows[AddressT]:
        """Make the row at a place, or rows of a slice."""
        if isinstance(at, slice):
            return PointRows(self._made(place) for place in range(*at.indices(len(self))))
        return self._made(range(len(self))[at])

    def __iter__(self) -> Iterator[PointRow[AddressT]]:
        """Make the rows one after the other."""
        return map(self._made, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Compare with another sequence of rows."""
        if not isinstance(other, (PointRows, tuple, list)):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(tuple(self.tags))

    def __repr__(self) -> str:
        """Show the rows."""
        return f"PointRows({list(self)!r})"

    def _made(self, at: int) -> PointRow[AddressT]:
        model, given = self._shapes[at]
        names = model.model_fields
        values = {name: column[at] for name, column in self._fields.items() if name in names}
        address = model.model_construct(set(given), **values)
        return PointRow(self._lines[at], self.tags[at], self._settings[at], address)


class _Column(Generic[ItemT]):
    """One item of each row, each different one kept once."""

    def __init__(self, behind: int = 0) -> None:
        """Begin, `behind` so many rows that have no such item."""
        self._numbers = array("L", bytes(behind * array("L").itemsize))
        self._items: list[ItemT] = [cast("ItemT", None)] if behind else []
        self._known: dict[object, int] = {}

    def append(self, key: object, item: ItemT) -> None:
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self._items)
            self._items.append(item)
        self._numbers.append(number)

    def __getitem__(self, at: int) -> ItemT:
        return self._items[self._numbers[at]]


def _key(value: object) -> object:
    """What two values have in common that may stand for each other: 1, 1.0 and True do not."""
    try:
        hash(value)
    except TypeError:
        return object()
    return type(value), repr(value) if isinstance(value, float) else value


__all__ = ["PointRow", "PointRows"]

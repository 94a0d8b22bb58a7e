"""Validated rows of a point table, as columns: 100,000 of them as objects would be 80 MB.

Guarantees: a `PointRows` is a sequence of equal rows to those that it was made of, address and
settings with their types and with which fields were given; a row is made anew each time it is
asked for. Equal words (an area, a type, an order) are kept once for all rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, overload

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
        self._shapes: _Column[_Shape[AddressT]] = _Column()
        self._within = array("q")  # which row of its shape a row is
        for row in rows:
            self.append(row)

    def append(self, row: PointRow[AddressT]) -> None:
        """Add a row behind the others."""
        address = row.address
        given = address.model_fields_set
        shape = self._shapes.add((type(address), *sorted(given)), _Shape(type(address), given))
        self.tags.append(row.tag)
        self._lines.append(row.row)
        self._settings.add(id(row.settings), row.settings)
        self._within.append(shape.add(address))

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
        address = self._shapes[at].made(self._within[at])
        return PointRow(self._lines[at], self.tags[at], self._settings[at], address)


class _Shape(Generic[AddressT]):
    """Addresses of one type with the same fields given, a column a field."""

    def __init__(self, model: type[AddressT], given: AbstractSet[str]) -> None:
        self._model = model
        self._given = frozenset(given)
        self._columns: list[tuple[str, _Column[object]]] = [
            (name, _Column()) for name in model.model_fields
        ]
        self._count = 0

    def add(self, address: AddressT) -> int:
        """Add an address; gives its place."""
        for name, column in self._columns:
            value = getattr(address, name)
            column.add(value if type(value) is str else _key(value), value)
        self._count += 1
        return self._count - 1

    def made(self, at: int) -> AddressT:
        """Make the address at a place again; it was validated when it came."""
        values = {name: column[at] for name, column in self._columns}
        return self._model.model_construct(set(self._given), **values)


class _Column(Generic[ItemT]):
    """One item of each row, each different one kept once."""

    def __init__(self) -> None:
        self._numbers = array("L")
        self._items: list[ItemT] = []
        self._known: dict[object, int] = {}

    def add(self, key: object, item: ItemT) -> ItemT:
        """Add an item behind the others; gives the one that stands for all of that key."""
        number = self._known.setdefault(key, len(self._items))
        if number == len(self._items):
            self._items.append(item)
        self._numbers.append(number)
        return self._items[number]

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

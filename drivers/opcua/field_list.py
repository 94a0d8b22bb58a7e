"""Lists the fields of a structure that can be points, for a first point table. Pure.

Guarantees: every path given can be read by what is given beside it; at most MOST_FIELDS of them,
whatever a type holds (it may hold itself).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product

from drivers.opcua import wire
from drivers.opcua.field_path import MOST_STEPS, FieldStep, field_path_text
from drivers.opcua.structures import STRUCTURE, TEXTS, Field, Structure, TypeBook

MOST_FIELDS = 1000
_MOST_ELEMENTS = 64  # of an array whose size the definition tells


@dataclass(frozen=True, slots=True)
class ListedField:
    """A path as a point table writes it; built_in: type of its values."""

    path: str
    built_in: int


def list_fields(book: TypeBook, structure: Structure) -> list[ListedField]:
    """Give the fields in their order; of an array of open size the first element."""
    return list(islice(_below(book, structure, ()), MOST_FIELDS))


def _below(
    book: TypeBook, structure: Structure, path: tuple[FieldStep, ...]
) -> Iterator[ListedField]:
    if len(path) >= MOST_STEPS:
        return
    for one in structure.fields:
        if one.built_in is None:
            continue
        for index in _elements(one):
            steps = (*path, FieldStep(one.name, index))
            if one.built_in == STRUCTURE:
                yield from _below(book, book.structures[one.structure or (0, 0)], steps)
            elif one.built_in in TEXTS or wire.FIXED_SIZES.get(one.built_in, 0):
                yield ListedField(field_path_text(steps), one.built_in)


def _elements(one: Field) -> list[tuple[int, ...]]:
    """Give the places of an array that are listed; one empty place for what is no array."""
    sized = len(one.sizes) == one.rank and all(one.sizes)
    sizes = one.sizes if sized else (1,) * one.rank
    return list(islice(product(*(range(size) for size in sizes)), _MOST_ELEMENTS))


__all__ = ["MOST_FIELDS", "ListedField", "list_fields"]

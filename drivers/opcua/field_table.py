"""Knows of each client handle whether it is a structure or an element, and how to read it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from drivers.opcua.field_path import FieldStep
from drivers.opcua.quick_fields import QuickReader, quick_reader
from drivers.opcua.structures import FieldReader, Reader, Structure, TypeBook, reader_of


class FieldTable:
    """Which handles stand for structures, and how the fields of each are read.

    A structure is watched once, under the handle of the first point that is a field of it.
    structured: bool[n], by handle.  elements: bool[n], which are read as one element of an array.
    """

    __slots__ = ("_quick", "_readers", "elements", "structured")

    def __init__(self, count: int, elements: Sequence[int] = ()) -> None:
        self.structured: npt.NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.elements: npt.NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.elements[list(elements)] = True
        self._readers: dict[int, tuple[tuple[int, Reader], ...]] = {}
        self._quick: dict[int, QuickReader | None] = {}

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self._readers)

    def readers(self, handle: int) -> tuple[tuple[int, Reader], ...]:
        """Give the handle and reader of every point that is a field of this structure."""
        return self._readers.get(handle, ())

    def quick(self, handle: int) -> QuickReader | None:
        """Give what reads the fields of all `readers` at once, where there is a plan for it."""
        return self._quick.get(handle)

    def set(
        self,
        handle: int,
        readers: tuple[tuple[int, Reader], ...],
        quick: QuickReader | None = None,
    ) -> bool:
        """Know how a structure is read from now on; tells whether that is new."""
        fresh = self._readers.get(handle) != readers
        self._readers[handle] = readers
        self._quick[handle] = quick
        self.structured[handle] = True
        return fresh


def structure_readers(
    book: TypeBook, root: Structure | None, paths: Sequence[tuple[FieldStep, ...]]
) -> tuple[tuple[Reader, ...], QuickReader | None]:
    """Make what reads each path, and what reads them all at once, if a plan can be made.

    root: type of the variable; None where it shows with each value only.
    """
    readers = tuple(reader_of(book, root, path) for path in paths)
    if root is None or not all(isinstance(reader, FieldReader) for reader in readers):
        return readers, None
    return readers, quick_reader(book, root, paths)


__all__ = ["FieldTable", "structure_readers"]

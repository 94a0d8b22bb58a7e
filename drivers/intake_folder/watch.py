"""Which files are complete, and which table they belong to. Pure.

Guarantees: a file is ready when size and time of change were the same in two looks in a row, so a
file that still grows is left alone; names are given in order; hidden files, `*.tmp`, `*.part` and
anything but `*.json` and `*.csv` never are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

SUFFIXES = (".json", ".csv")


class Seen(NamedTuple):
    """One file as a look at the folder found it; bytes, and ns of the file system's clock."""

    name: str
    size: int
    changed_ns: int


def is_wanted(name: str) -> bool:
    """Tell whether a file of that name is ever taken."""
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


class Settled:
    """Remembers the last look at the folder."""

    def __init__(self) -> None:
        self._before: frozenset[Seen] = frozenset()

    def feed(self, look: Iterable[Seen]) -> list[Seen]:
        """Files that are as they were in the look before, in order of name."""
        now = frozenset(seen for seen in look if is_wanted(seen.name))
        ready = sorted(now & self._before)
        self._before = now
        return ready


class FileTables:
    """Tables by the beginning of a file name: those of the site file first, the longest first.

    Behind a table's own name stands no letter or digit, so that `permits.csv` is not `permit`.
    """

    def __init__(self, tables: Iterable[str], files: Mapping[str, str]) -> None:
        self._files = sorted(files.items(), key=_longest_first)
        self._tables = sorted(((name, name) for name in tables), key=_longest_first)

    def table(self, name: str) -> str | None:
        """Name of the table of a file; None if no beginning fits."""
        for prefix, table in self._files:
            if name.startswith(prefix):
                return table
        for prefix, table in self._tables:
            behind = name[len(prefix) : len(prefix) + 1]
            if name.startswith(prefix) and not (behind.isascii() and behind.isalnum()):
                return table
        return None


def _longest_first(item: tuple[str, str]) -> tuple[int, str]:
    return -len(item[0]), item[0]


__all__ = ["FileTables", "Seen", "Settled", "is_wanted"]

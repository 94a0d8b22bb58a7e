"""Configuration mistakes: one line each, all of them at once.

A line is `file:line: key: message`. For a cell of a point table it is `file:row:column: message` in
CSV and `file!sheet!cell: column: message` in a workbook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from drivers.wording import sentence
from gateway.config.toml_lines import TomlPath, line_of

Known = Callable[[TomlPath], Iterable[str]]


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One mistake or warning.

    file: as the person wrote it.  line: 1-based, 0 where there is none.  key: dotted path of the
    key, or the column of a point table.  cell: whether the place is a cell of a point table.
    place: the cell of a workbook as its program names it, "Sheet1!C12"; else empty.
    """

    file: str
    line: int
    key: str
    message: str
    cell: bool = False
    place: str = ""

    def __str__(self) -> str:
        if self.place:
            at = f"{self.file}!{self.place}"
            return f"{at}: {self.key}: {self.message}" if self.key else f"{at}: {self.message}"
        place = f"{self.file}:{self.line}" if self.line else self.file
        if not self.key:
            return f"{place}: {self.message}"
        return (
            f"{place}:{self.key}: {self.message}"
            if self.cell
            else (f"{place}: {self.key}: {self.message}")
        )


class ConfigError(Exception):
    """The configuration is wrong; nothing was started or changed. Holds every problem found."""

    def __init__(
        self, problems: Sequence[ConfigProblem], warnings: Sequence[ConfigProblem] = ()
    ) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(map(str, self.problems)))


class Report:
    """Collects the problems and warnings of one site file, and knows where each key stands."""

    def __init__(self, file: str, raw: Mapping[str, Any], lines: Mapping[TomlPath, int]) -> None:
        self.file = file
        self.problems: list[ConfigProblem] = []
        self.warnings: list[ConfigProblem] = []
        self._raw = raw
        self._lines = lines
        self._places: dict[str, Callable[[int, str], str]] = {}

    def name_cells(self, table: str, place: Callable[[int, str], str]) -> None:
        """Say how cells of a point table are named: (row, column) to "Sheet1!C12" or ""."""
        self._places[table] = place

    def wrong(self, path: TomlPath, message: str) -> None:
        """Add a problem at a key of the site file."""
        self.problems.append(self._at(path, message))

    def has(self, path: TomlPath) -> bool:
        """Tell whether a problem at this very key was reported."""
        at = self._at(path, "")
        return any((p.file, p.line, p.key) == (at.file, at.line, at.key) for p in self.problems)

    def warn(self, path: TomlPath, message: str) -> None:
        """Add a warning at a key of the site file."""
        self.warnings.append(self._at(path, message))

    def wrong_cell(self, table: str, row: int, column: str, message: str) -> None:
        """Add a problem in a cell of a point table, named as the site file names it."""
        self.problems.append(self._cell(table, row, column, message))

    def warn_cell(self, table: str, row: int, column: str, message: str) -> None:
        """Add a warning in a cell of a point table."""
        self.warnings.append(self._cell(table, row, column, message))

    def invalid(self, path: TomlPath, failure: ValidationError, known: Known) -> None:
        """Add the mistakes pydantic found below `path`; one for each key.

        known: gives the keys that are right inside the table at a location below `path`.
        """
        seen: set[TomlPath] = set()
        for error in failure.errors(include_url=False):
            below = error["loc"] if error["type"] == "missing" else self._held(path, error["loc"])
            if below in seen:
                continue  # a union says one mistake once for each of its members
            seen.add(below)
            self.wrong((*path, *below), sentence(error, known(below[:-1])))

    def _held(self, path: TomlPath, below: TomlPath) -> TomlPath:
        """Cut a location to what the file holds: pydantic adds the names of union members."""
        value: Any = self._raw
        for length, part in enumerate((*path, *below)):
            try:
                value = value[part]
            except (LookupError, TypeError):
                return below[: max(0, length - len(path))]
        return below

    def _at(self, path: TomlPath, message: str) -> ConfigProblem:
        return ConfigProblem(self.file, line_of(self._lines, path), self._key(path), message)

    def _cell(self, table: str, row: int, column: str, message: str) -> ConfigProblem:
        name = self._places.get(table)
        place = name(row, column) if name is not None else ""
        return ConfigProblem(table, row, column, message, cell=True, place=place)

    def _key(self, path: TomlPath) -> str:
        """Write a path for people: an entry of a list by its name, else by its number from 1."""
        words: list[str] = []
        value: Any = self._raw
        for part in path:
            try:
                value = value[part]
            except (LookupError, TypeError):
                value = None
            if isinstance(part, str):
                words.append(f".{part}")
                continue
            name = value.get("name") if isinstance(value, dict) else None
            plain = isinstance(name, str) and name.isprintable() and 0 < len(name) <= 64
            words.append(f".{name}" if plain else f"[{part + 1}]")
        return "".join(words).removeprefix(".")

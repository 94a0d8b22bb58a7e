"""Rows of text in a point-table file, whatever its dress; CSV is read here, XLSX in point_sheet.

Guarantees:

- `csv_records` raises TableError and nothing else for whatever the bytes hold.
- A row is the line in the file, 1-based, as editors count; comments and blank lines count too.
- The same bytes always give the same text. UTF-8, UTF-8 with BOM, UTF-16 with BOM, else GB18030
  (what Chinese Excel and WPS write). Short GB18030 text can be valid UTF-8 by accident: it is then
  text in Latin letters with carons, Cyrillic or Arabic, which no point table holds, and is taken
  for what it is.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_ROWS = 200_000
"""Most rows of a table; the largest gateway configuration that is measured has 100,000 points."""

_ASCII_END, _THREE_BYTES = "\x80", "\u0800"
_HANZI = ("\u4e00", "\u9fff")


class TableError(Exception):
    """The file as a whole is no point table; the text is one clear line. `row` is 0 if unknown."""

    def __init__(self, message: str, row: int = 0) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True, slots=True)
class Refused:
    """A cell whose content cannot be taken for text or number; `message` says why."""

    message: str


Cell = str | Refused
Record = tuple[int, list[Cell]]
"""Row in the file, and its cells stripped of white space; never all empty."""


def decoded(raw: bytes) -> tuple[str, str]:
    """Give text and the encoding it was read by; raises TableError."""
    if raw[:4] == b"PK\x03\x04":
        raise TableError("is a spreadsheet or zip file by its content: name it .xlsx")
    if raw[:4] == b"\xd0\xcf\x11\xe0":
        raise TableError("is an old or encrypted spreadsheet by its content: save it as .xlsx")
    marked = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "gb18030"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            raise TableError("holds binary data, not text: save it as CSV UTF-8")
        sure = marked or encoding == "gb18030" or raw.startswith(codecs.BOM_UTF8)
        if not sure and (other := _gb18030_after_all(raw, text)) is not None:
            return other, "gb18030"
        return text, encoding
    raise TableError("is neither UTF-8 nor GB18030 text: save it as CSV UTF-8")


def csv_records(text: str, separator: str) -> Iterator[Record]:
    """Yield the records that are neither blank nor comments (a line that begins with #)."""
    lines = _Lines(io.StringIO(text, newline=None))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        row = reader.line_num + 1
        lines.record_begins = True
        try:
            cells: list[Cell] = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise TableError(f"is no CSV from here on: {error}", row) from error
        if any(cells):
            yield row, cells


class _Lines:
    """Lines for the reader; a comment becomes an empty line, so that lines still count."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.record_begins = True

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if self.record_begins and line.lstrip().startswith("#"):
            return "\n"  # inside a quoted cell a line may begin with #
        self.record_begins = False
        return line


def _gb18030_after_all(raw: bytes, text: str) -> str | None:
    """Read again what cannot be meant as UTF-8; None where UTF-8 is plausible.

    Two-byte UTF-8 is U+0080 to U+07FF. Of it tables hold signs of units (°, ³, µ: below U+0100)
    and Greek letters (U+0370 to U+03FF), nothing else.
    """
    foreign = [letter for letter in text if letter >= _ASCII_END]
    odd = any(not ("\u0080" <= c <= "\u00ff" or "\u0370" <= c <= "\u03ff") for c in foreign)
    if not odd or any(letter >= _THREE_BYTES for letter in foreign):
        return None
    try:
        other = raw.decode("gb18030")
    except UnicodeDecodeError:
        return None
    hanzi = (_HANZI[0] <= letter <= _HANZI[1] for letter in other if letter >= _ASCII_END)
    return other if all(hanzi) else None


__all__ = ["MAX_ROWS", "Cell", "Record", "Refused", "TableError", "csv_records", "decoded"]

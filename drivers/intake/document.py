"""JSON and CSV from outside, read with bounds. Pure.

Guarantees: whatever the bytes hold, the answer is plain Python data or DocumentError with one clear
sentence; nesting, digits and rows are bounded before anything walks through them; NaN and Infinity,
which are no JSON, are refused.
"""

from __future__ import annotations

import csv
import io
import json
from typing import NoReturn

MAX_DEPTH = 8
"""Nesting of a document: the deepest public client sends 4 (data, regions, region, point)."""
MAX_ROWS = 100_000
MAX_DIGITS = 40


class DocumentError(ValueError):
    """The document as a whole cannot be read; the text says why."""


def read_json(raw: bytes) -> object:
    """Read one JSON document; raises DocumentError."""
    try:
        text = raw.decode("utf-8-sig")
        found: object = json.loads(text, parse_constant=_no_constant, parse_int=_bounded)
    except UnicodeDecodeError as error:
        raise DocumentError(f"is not UTF-8 text from byte {error.start} on") from None
    except RecursionError:
        raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DocumentError(f"is no JSON at {where}: {error.msg}") from None
    _check_depth(found)
    return found


def read_csv(raw: bytes) -> list[dict[str, str]]:
    """Read a CSV file with a heading into rows by heading; raises DocumentError.

    UTF-8 (with or without BOM), else GB18030, which Chinese Excel writes. Empty cells are left out.
    """
    lines = csv.reader(io.StringIO(_decoded(raw), newline=""), strict=True)
    rows: list[dict[str, str]] = []
    try:
        heading = [cell.strip() for cell in next(lines, [])]
        if not any(heading):
            raise DocumentError("is empty; the first line names the fields")
        if len(set(heading)) != len(heading):
            raise DocumentError("names a field twice in its first line")
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(heading):
                raise DocumentError(f"line {lines.line_num} has more cells than the first line")
            if len(rows) == MAX_ROWS:
                raise DocumentError(f"has more than {MAX_ROWS} rows: split it")
            rows.append({k: c.strip() for k, c in zip(heading, cells, strict=False) if c.strip()})
    except csv.Error as error:
        raise DocumentError(f"is no CSV at line {lines.line_num}: {error}") from None
    return rows


def _decoded(raw: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return text
    raise DocumentError("is neither UTF-8 nor GB18030 text")


def _no_constant(word: str) -> NoReturn:
    raise DocumentError(f"holds {word}, which is no JSON")


def _bounded(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise DocumentError(f"holds a number of {len(digits)} digits")
    return int(digits)


def _check_depth(found: object) -> None:
    level = [found]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    if any(isinstance(inner, dict | list) for inner in level):
        raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels")

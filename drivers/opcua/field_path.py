"""The path to one field of a structure, as the point table writes it. Pure.

Guarantees: every mistake is one clear sentence; what is read is written back the same.

    BuildInfo.ProductName      a field of a structure in a structure
    sub[2].value               a field of the third of an array of structures; from 0
    grid[1,2]                  an element of a matrix
    flow&.rate                 & before a character takes it literally (OPC 10000-4, A.2)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_INDEX = re.compile(r"\[\s*(\d{1,9}(?:\s*,\s*\d{1,9}){0,7})\s*\]")
_RESERVED = frozenset(".[]&")
MOST_STEPS = 16
"""Structures within structures; no real type needs more."""


@dataclass(frozen=True, slots=True)
class FieldStep:
    """One field of a path. index: of an element, from 0, one number for each dimension."""

    name: str
    index: tuple[int, ...] = ()


def parse_field_path(text: str) -> tuple[FieldStep, ...]:
    """Read a path; raises ValueError with what would be right."""
    steps: list[FieldStep] = []
    position = 0
    while True:
        step, position = _parse_step(text, position)
        steps.append(step)
        if position == len(text):
            break
        if text[position] != ".":
            raise ValueError(_wrong(text, f"a . is missing before {text[position:]!r}"))
        position += 1
    if len(steps) > MOST_STEPS:
        raise ValueError(_wrong(text, f"at most {MOST_STEPS} names, not {len(steps)}"))
    return tuple(steps)


def _parse_step(text: str, position: int) -> tuple[FieldStep, int]:
    name = ""
    while position < len(text) and text[position] not in ".[":
        if text[position] == "]":
            raise ValueError(_wrong(text, "] without ["))
        if text[position] == "&":
            position += 1
        name += text[position : position + 1]
        position += 1
    if not name:
        raise ValueError(_wrong(text, "a name is missing"))
    if position == len(text) or text[position] != "[":
        return FieldStep(name), position
    match = _INDEX.match(text, position)
    if match is None:
        raise ValueError(_wrong(text, "[ takes the place of one element from 0, as [3] or [1,2]"))
    return FieldStep(name, tuple(int(number) for number in match[1].split(","))), match.end()


def _wrong(text: str, what: str) -> str:
    return (
        f"must be field names with dots, as BuildInfo.ProductName or sub[2].value: {text!r}: {what}"
    )


def field_path_text(steps: tuple[FieldStep, ...]) -> str:
    """Write a path as `parse_field_path` reads it."""
    return ".".join(
        "".join(f"&{c}" if c in _RESERVED else c for c in step.name)
        + (f"[{','.join(str(number) for number in step.index)}]" if step.index else "")
        for step in steps
    )


__all__ = ["MOST_STEPS", "FieldStep", "field_path_text", "parse_field_path"]

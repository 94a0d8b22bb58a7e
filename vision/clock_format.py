"""How a clock on a picture is written. Pure, and needs nothing: the gateway checks it at start."""

from __future__ import annotations

import re
from dataclasses import dataclass

FIELDS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "y": 2}
"""Digits of each letter of strftime that is known."""


class ClockFormatError(ValueError):
    """The format says what no clock shows, or leaves out what is needed; one sentence."""


@dataclass(frozen=True, slots=True)
class Group:
    """Digits without anything between them. fields: letters of FIELDS.  gap: cells before it."""

    fields: str
    gap: tuple[float, float]

    @property
    def digits(self) -> int:
        """How many."""
        return sum(FIELDS[field] for field in self.fields)


def groups(written: str) -> tuple[Group, ...]:
    """Cut a format such as `%Y-%m-%d %H:%M:%S` into groups of digits.

    Letters between them may be anything as wide (a day of the week changes). Raises
    ClockFormatError: year, month, day, hour, minute and second must be there, each once.
    """
    found: list[Group] = []
    fields, gap, letters = "", (0.0, 0.0), 0.0
    for part in re.findall(r"%.|[^%]|%$", written):
        if part[0] != "%":
            letters += 1 if ord(part) < 0x2E80 else 2
            continue
        if part[1:] not in FIELDS:
            raise ClockFormatError(f"{part} is not known: %Y or %y, %m, %d, %H, %M, %S are")
        if letters and fields:
            found.append(Group(fields, gap))
            fields, gap = "", (0.1, 0.7 + 1.3 * letters)
        fields, letters = fields + part[1:], 0.0
    found.append(Group(fields, gap))
    said = "".join(sorted("".join(group.fields for group in found)))
    if said not in {"HMSYdm", "HMSdmy"}:
        raise ClockFormatError(
            "a clock needs %Y (or %y), %m, %d, %H, %M and %S, each once: a clock without seconds"
            " cannot be checked against its own running"
        )
    return tuple(found)

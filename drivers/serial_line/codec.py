"""Reads one frame into fields, as a description says. Pure.

Guarantees: one walk over the frame; whatever the bytes, the outcome is values or a FrameError, and
no value leaves a frame whose check sum is wrong or that has a byte too many. A field that is not
good has no value: NaN, 0 or empty text beside its quality.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from drivers.contract import SEVERITY_MASK, Quality
from drivers.serial_line import checksum
from drivers.serial_line.description import (
    MAX_WIDTH,
    QUALITY_CODES,
    Description,
    FieldRow,
    Item,
    unescaped,
)

Value = float | int | str
_NUMBER = re.compile(rb"([+-]?) *([0-9]{1,24}(?:\.[0-9]{0,24})?|\.[0-9]{1,24})")
_HEX = re.compile(rb"[0-9A-Fa-f]+")
_INT64 = range(-(2**63), 2**63)
_EMPTY: dict[str, Value] = {"int": 0, "text": ""}
_BAD = 0x8000


class FrameError(ValueError):
    """The bytes are no frame of this description."""


class ChecksumError(FrameError):
    """The frame has the right shape and a wrong check sum."""


@dataclass(frozen=True, slots=True)
class FieldValue:
    """Value of a field and its quality code (drivers/contract.py)."""

    value: Value
    quality: int


@dataclass(frozen=True, slots=True)
class _Step:
    item: Item
    literal: bytes
    until: bytes


class FrameFormat:
    """The frames of one device. address: its text where the pattern has {address}."""

    def __init__(self, description: Description, address: str = "") -> None:
        self.address = address
        self._rows = {row.name: row for row in description.field}
        self._checksum = description.frame.checksum
        self._steps = [_step(item, address) for item in description.frame.pattern]
        self._governed = [(row.name, row.governs) for row in description.field if row.governs]

    def parse(self, frame: bytes) -> dict[str, FieldValue]:
        """Read a whole frame; raises FrameError, and ChecksumError for a wrong check sum."""
        raw: list[tuple[Item, bytes]] = []
        at = 0
        summed: tuple[int, bytes] | None = None
        for step in self._steps:
            piece = self._piece(step, frame, at)
            if step.item.checksum:
                summed = at, piece
            elif step.item.field:
                raw.append((step.item, piece))
            at += len(piece)
        if at != len(frame):
            raise FrameError(f"{len(frame) - at} bytes too many")
        if summed is not None:
            self._check(frame, *summed)
        found = {item.field or "": _value(item, self._rows[item.field or ""], piece)
                 for item, piece in raw}  # fmt: skip
        self._govern(found)
        return found

    def _piece(self, step: _Step, frame: bytes, at: int) -> bytes:
        """Bytes of the frame that an item takes."""
        item = step.item
        if item.until is not None:
            end = frame.find(step.until, at)
            if end < 0 or end - at > MAX_WIDTH:
                raise FrameError(f"{item.field} has no end")
            return frame[at:end]
        if item.literal is not None:
            if not frame.startswith(step.literal, at):
                raise FrameError(f"{step.literal!r} is not at byte {at}")
            return step.literal
        width = item.skip or item.width or self._checksum.width
        if at + width > len(frame):
            raise FrameError(f"it ends after {len(frame)} bytes")
        return frame[at : at + width]

    def _check(self, frame: bytes, at: int, given: bytes) -> None:
        rule = self._checksum
        covered = frame[rule.first_byte : at]
        right = checksum.encoded(rule.kind, covered, rule.encoding, rule.order)
        if (given.upper() if rule.encoding == "hex" else given) != right:
            raise ChecksumError("the check sum is wrong")

    def _govern(self, found: dict[str, FieldValue]) -> None:
        """Let the fields that say a state lower the quality of the others."""
        own = {name: one.quality for name, one in found.items()}
        for name, governed in self._governed:
            for other in governed:
                if own[name] & SEVERITY_MASK > found[other].quality & SEVERITY_MASK:
                    found[other] = _judged(self._rows[other], found[other].value, own[name])


def _step(item: Item, address: str) -> _Step:
    literal = unescaped((item.literal or "").replace("{address}", address)).encode("latin-1")
    return _Step(item, literal, unescaped(item.until or "").encode("latin-1"))


def _judged(row: FieldRow, value: Value, quality: int) -> FieldValue:
    """Value with its quality; none where the quality is bad."""
    if quality & _BAD:
        return FieldValue(_EMPTY.get(row.kind, math.nan), quality)
    return FieldValue(value, quality)


def _value(item: Item, row: FieldRow, piece: bytes) -> FieldValue:
    """Read what a field's bytes say."""
    text = piece.decode("latin-1").strip(" ")
    quality = QUALITY_CODES[row.quality[text]] if text in row.quality else int(Quality.GOOD)
    if quality & _BAD:
        return _judged(row, math.nan, quality)
    if row.kind == "text":
        if not text.isprintable():
            raise FrameError(f"{row.name} is not printable")
        return FieldValue(text, quality)
    if row.kind == "map":
        if text not in row.values:
            return _judged(row, math.nan, Quality.BAD_OUT_OF_RANGE)
        return FieldValue(row.values[text], quality)
    number = _number(item, row, piece, text)
    if row.kind == "bool":
        if number not in (0, 1):
            raise FrameError(f"{row.name} is neither 0 nor 1")
        return FieldValue(float(number), quality)
    return FieldValue(number, quality)


def _number(item: Item, row: FieldRow, piece: bytes, text: str) -> float | int:
    if item.hex is not None:
        if not _HEX.fullmatch(piece):
            raise FrameError(f"{row.name} is no hexadecimal number")
        whole = int(piece, 16)
        if item.signed and whole >> (4 * len(piece) - 1):
            whole -= 1 << (4 * len(piece))
        return _whole(row, whole) if row.kind == "int" else float(whole)
    match = _NUMBER.fullmatch(text.encode("latin-1"))
    if match is None:
        raise FrameError(f"{row.name} is no number")
    digits = (match[1] + match[2]).decode()
    if row.kind == "int":
        if "." in digits:
            raise FrameError(f"{row.name} is no whole number")
        return _whole(row, int(digits))
    if item.decimals:
        if "." in digits:
            raise FrameError(f"{row.name} has a point, beside the {item.decimals} that is implied")
        return float(f"{digits}e-{item.decimals}")
    return float(digits)


def _whole(row: FieldRow, number: int) -> int:
    if number not in _INT64:
        raise FrameError(f"{row.name} does not fit 64 bits")
    return number


__all__ = ["ChecksumError", "FieldValue", "FrameError", "FrameFormat", "Value"]

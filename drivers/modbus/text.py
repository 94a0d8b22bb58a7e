"""Strings in registers: serial numbers, tags and versions as one column of text.

Guarantees: a string ends at its first NUL, and loses spaces at its end; bytes that are no ASCII
make it bad:sensor_fault, not a guess. Two characters a register, the first in the high byte unless
the order is BADC. Pure; text is read rarely, so there is one Python object a value here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from drivers.contract import Int32Array, Quality, UInt16Array

_TYPE = re.compile(r"text:([0-9]{1,3})")
MOST_CHARACTERS = 250
"""125 registers: a value is never torn over two requests."""


def characters(word: str) -> int:
    """Length that a type such as text:10 states; 0 if it is another type."""
    match = _TYPE.fullmatch(word)
    count = int(match[1]) if match else 0
    return count if count <= MOST_CHARACTERS else 0


class Piece(NamedTuple):
    """Where one string is in the buffer: block, first byte (-1: not read), characters, swapped."""

    block: int
    first: int
    characters: int
    swapped: bool


Texts = tuple[Int32Array, tuple[str, ...], UInt16Array]
"""Decoded strings: points, values, quality; as many of each."""


class TextColumn:
    """Decodes the text points of one plan, in the order of `points`."""

    def __init__(self, points: Int32Array, pieces: Sequence[Piece], buffer: bytearray) -> None:
        self.points = points
        self._pieces = pieces
        self._buffer = buffer

    def decode(self, failed: Mapping[int, Quality]) -> Texts:
        """Make texts and their quality; an empty text where there is none."""
        texts: list[str] = []
        quality = np.zeros(len(self._pieces), np.uint16)
        for at, piece in enumerate(self._pieces):
            text = ""
            if piece.first < 0:
                quality[at] = Quality.BAD_ILLEGAL_ADDRESS
            elif piece.block in failed:
                quality[at] = failed[piece.block]
            else:
                content = self._bytes(piece)
                if content.isascii():
                    text = content.decode("ascii").rstrip()
                else:
                    quality[at] = Quality.BAD_SENSOR_FAULT
            texts.append(text)
        return self.points, tuple(texts), quality

    def _bytes(self, piece: Piece) -> bytes:
        size = piece.characters + (piece.characters & 1)
        content = bytes(self._buffer[piece.first : piece.first + size])
        if piece.swapped:
            swapped = bytearray(content)
            swapped[0::2], swapped[1::2] = content[1::2], content[0::2]
            content = bytes(swapped)
        return content[: piece.characters].partition(b"\0")[0]

"""Check sums that devices put behind their frames: bytes in, bytes out. Pure.

Guarantees: each is its definition, bit by bit or byte by byte, without tables; frames are short.

xor and bcc are one: all bytes exclusive-or. sum8 is their sum modulo 256; lrc its two's complement
(Modbus over Serial Line V1.02 §2.5.2.2). crc16-modbus: the same document, §2.5.1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import xor
from typing import Literal

Kind = Literal["none", "xor", "bcc", "sum8", "lrc", "crc16-modbus"]
Encoding = Literal["hex", "binary"]
Order = Literal["high_first", "low_first"]


def _crc16_modbus(covered: bytes) -> int:
    crc = 0xFFFF
    for byte in covered:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


_COMPUTE: Mapping[Kind, tuple[int, Callable[[bytes], int]]] = {
    "none": (0, lambda _covered: 0),
    "xor": (1, lambda covered: reduce(xor, covered, 0)),
    "bcc": (1, lambda covered: reduce(xor, covered, 0)),
    "sum8": (1, lambda covered: sum(covered) & 0xFF),
    "lrc": (1, lambda covered: -sum(covered) & 0xFF),
    "crc16-modbus": (2, _crc16_modbus),
}


def width(kind: Kind, encoding: Encoding) -> int:
    """Bytes that a check sum takes in a frame."""
    return _COMPUTE[kind][0] * (2 if encoding == "hex" else 1)


def encoded(kind: Kind, covered: bytes, encoding: Encoding, order: Order = "high_first") -> bytes:
    """Compute the check sum of the covered bytes as it stands in a frame (hex in capitals)."""
    length, compute = _COMPUTE[kind]
    raw = compute(covered).to_bytes(length, "big" if order == "high_first" else "little")
    return raw.hex().upper().encode() if encoding == "hex" else raw


__all__ = ["Encoding", "Kind", "Order", "encoded", "width"]

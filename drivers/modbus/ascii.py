"""Modbus ASCII frames: hexadecimal text between a colon and a line end.

Guarantees: an answer is taken only if unit, function, byte count and LRC all are what the request
must get; anything before the colon, half a frame, our own echo and frames of other units are
stepped over.

    ":" | unit 2 | function 2 | content ≤ 504 | LRC 2 | CR LF        all but the ends as hex digits

Constraints, Modbus over Serial Line V1.02 §2.5.2: the LRC is the two's complement of the sum of the
bytes; characters of a frame may be up to a second apart. Pure.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from drivers.modbus.codec import ExceptionReplyError, MalformedReplyError, Request, adu_payload
from drivers.modbus.exchange import Outcome
from drivers.modbus.rtu import Found

_FRAME = re.compile(rb":([0-9A-Fa-f]{8,512})\r\n")  # a new colon begins anew


def lrc(adu: bytes) -> int:
    """Check sum of unit, function and content."""
    return -sum(adu) & 0xFF


def encode(request: Request) -> bytes:
    """Encode a request for the line."""
    adu = bytes((request.unit,)) + request.pdu
    return b":" + (adu + bytes((lrc(adu),))).hex().upper().encode() + b"\r\n"


def find(request: Request, stream: bytes) -> Found | None:
    """Find the answer to `request` in what has come since it was sent; None: wait for more."""
    for adu, check in _frames(request, stream):
        if check != lrc(adu):
            continue
        try:
            return Found(Outcome.READ, adu_payload(request, adu))
        except ExceptionReplyError as error:
            return Found(error.code, b"")
        except MalformedReplyError:
            return Found(Outcome.MALFORMED, b"")
    return None


def garbled(request: Request, stream: bytes) -> bool:
    """Tell whether a whole answer seems to have come, of which no byte can be trusted."""
    return any(check != lrc(adu) for adu, check in _frames(request, stream))


def _frames(request: Request, stream: bytes) -> Iterator[tuple[bytes, int]]:
    """Every whole frame of the unit and function that was asked, our echo left out."""
    own = encode(request)
    for match in _FRAME.finditer(stream):
        if match[0] == own or len(match[1]) % 2:
            continue
        adu = binascii.unhexlify(match[1])
        if adu[0] == request.unit and adu[1] & 0x7F == request.function:
            yield adu[:-1], adu[-1]
